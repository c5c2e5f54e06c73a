"""What a model and its fits are worth, as one page to read, print and send, without a server or a network."""

from slamjax.reports.one_report import Report as Report
from slamjax.reports.one_report import report as report

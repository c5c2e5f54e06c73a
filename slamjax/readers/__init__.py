"""Files in, Spectra out."""

from slamjax.readers.archive import is_table as is_table
from slamjax.readers.archive import matched as matched
from slamjax.readers.archive import read as read
from slamjax.readers.catalog import join_labels as join_labels
from slamjax.readers.registry import register_specutils as register_specutils
from slamjax.readers.table import count_rows as count_rows
from slamjax.readers.table import read_table as read_table
from slamjax.readers.table import write_table as write_table

"""Reading and writing: survey files, tables of spectra, label tables, catalogues."""

from slamjax.io.catalog import join_labels as join_labels
from slamjax.io.label_table import LabelTable as LabelTable
from slamjax.io.labels import read_labels as read_labels
from slamjax.io.labels import write_labels as write_labels
from slamjax.io.reading import expand_pattern as expand_pattern
from slamjax.io.reading import is_table as is_table
from slamjax.io.reading import read as read
from slamjax.io.rows import count_rows as count_rows
from slamjax.io.rows import has_rows as has_rows
from slamjax.io.rows import read_rows as read_rows
from slamjax.io.surveys.specutils_registry import register_specutils as register_specutils
from slamjax.io.table import read_table as read_table
from slamjax.io.table import write_table as write_table
from slamjax.io.xp_coefficients import is_coefficients as is_coefficients
from slamjax.io.xp_coefficients import read_xp_coefficients as read_xp_coefficients

"""Surveys of any size: pieces of input, fitted here or by a Dask cluster, with finished parts that are kept."""

from slamjax.survey.schema import LabelSchema as LabelSchema
from slamjax.survey.schema import label_schema as label_schema

"""Surveys of any size: pieces of input, fitted here or by a Dask cluster, with finished parts that are kept."""

from slamjax.survey.catalogs import fit_catalog as fit_catalog
from slamjax.survey.files import fit_files as fit_files
from slamjax.survey.hats import to_hats as to_hats
from slamjax.survey.run import SurveyReport as SurveyReport
from slamjax.survey.run import collect_shards as collect_shards
from slamjax.survey.run import fit_survey as fit_survey
from slamjax.survey.schema import LabelSchema as LabelSchema
from slamjax.survey.schema import label_schema as label_schema
from slamjax.survey.work import Reading as Reading

"""Surveys of any size: pieces of input, fitted or sampled here or by a Dask cluster; finished parts are kept."""

from slamjax.survey.catalogs import fit_catalog as fit_catalog
from slamjax.survey.files import fit_files as fit_files
from slamjax.survey.hats import to_hats as to_hats
from slamjax.survey.report import SurveyReport as SurveyReport
from slamjax.survey.run import collect_shards as collect_shards
from slamjax.survey.run import fit_survey as fit_survey
from slamjax.survey.run import sample_survey as sample_survey
from slamjax.survey.schema import LabelSchema as LabelSchema
from slamjax.survey.schema import label_schema as label_schema
from slamjax.survey.work import Reading as Reading

"""Spectra as a catalogue by sky pixel (HATS), and its labels by LSDB: what the survey benchmarks do with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slamjax
from slamjax.spectra.spectra import Spectra


def import_catalog(stars: Spectra, folder: Path, rows: int) -> None:
    """The catalogue ``xp`` of spectra with ra and dec; the schema file carries wavelengths and units into it."""
    from dask.distributed import Client
    from hats_import.catalog.arguments import ImportArguments
    from hats_import.pipeline import pipeline_with_client

    slamjax.write_table(stars, folder / "stars.parquet")
    arguments = ImportArguments(
        output_path=folder,
        output_artifact_name="xp",
        input_file_list=[folder / "stars.parquet"],
        file_reader="parquet",
        use_schema_file=folder / "stars.parquet",
        pixel_threshold=rows,
        highest_healpix_order=7,
        progress_bar=False,
    )
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        pipeline_with_client(arguments, client)


def write_labels_of(catalog: Any, model: Path, output: Path) -> None:
    """Fit a catalogue and write its labels, by the client that there is."""
    slamjax.fit_catalog(model, catalog).write_catalog(output, resume=True, progress_bar=False)


def rows_of(catalog: Any) -> Any:
    """All rows of a catalogue as a DataFrame, ordered by source_id."""
    return catalog.compute(progress_bar=False).sort_values("source_id")

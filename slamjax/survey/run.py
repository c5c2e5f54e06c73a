"""Surveys of any size: `fit_survey`, `sample_survey`, and the table of all shards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slamjax._util.checkpoint import Checkpoint
from slamjax._util.files import check_writable
from slamjax._util.progress import reporter
from slamjax.errors import SlamError
from slamjax.fitting import Fitter
from slamjax.fitting.parts import fitter_of
from slamjax.io import read_labels
from slamjax.model.model import Model
from slamjax.survey.best_fits import write_survey_best_fits
from slamjax.survey.collect import DamagedPart, collect
from slamjax.survey.engines import Fits, Samples
from slamjax.survey.report import Collected, SurveyReport, write_report
from slamjax.survey.runner import check_survey_output, run_survey
from slamjax.survey.work import Reading
from slamjax.typing import Progress

if TYPE_CHECKING:
    from slamjax.sampling import Sampler
    from slamjax.sampling.conditions import Prior


def fit_survey(
    model: Model | Fitter,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    reading: Reading | None = None,
    piece_size: int | None = None,
    shard: tuple[int, int] | None = None,
    spectra_out: str | os.PathLike[str] | None = None,
    client: Any = None,
    on_progress: Progress | bool | None = True,
) -> SurveyReport:
    """Fit any number of spectra, and write their labels, in bounded memory.

    The input is divided into pieces. Each finished one is kept in a folder beside the output, so that the same call
    continues where a run was stopped, with the same result; the folder goes when the output is written. A spectrum,
    file or piece that cannot be fitted has a row that says so (``flags``, ``problem``). What was done is written beside
    the output, to ``<output>.report.json``.

    Parameters
    ----------
    model : Model or Fitter
        A Model is fitted with the default options; a `slamjax.Fitter` holds others.
    inputs : path, glob pattern, ``@list``, or a sequence of those
        slamjax tables, or survey files as `slamjax.read` knows them; ``@list`` is a text file of paths.
    output : path
        FITS, ``.csv`` or ``.ecsv``; a name ending in ``.parquet`` or without an ending is a Parquet dataset.
    reading : Reading, optional
        How input is read, and which spectra are fitted.
    piece_size : int, optional
        Most spectra, or files, of a piece; by default 4096 (files: 512), or as many as the fitter's ``memory`` holds.
    shard : (i, N), optional
        Fit the i-th of N equal shares of the pieces only, and write no output: `slamjax.survey.collect_shards` does.
    spectra_out : path, optional
        Also write the best-fit spectra, as `slamjax.write_best_fits` does; the input is read once more for that.
    client : distributed.Client, optional
        Whose workers fit the pieces; they see the same files. By default this process does.
    on_progress : callable or bool
        Called with (spectra or files done, all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    SurveyReport

    Raises
    ------
    SlamError
        If the output cannot be written, the spectra do not suit the model, or parts beside the output are of another
        run.

    Examples
    --------
    >>> import os, tempfile
    >>> import slamjax
    >>> stars, new_stars = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> folder = tempfile.mkdtemp()
    >>> slamjax.write_table(new_stars[:6], os.path.join(folder, "new.fits"))
    >>> fitter = slamjax.Fitter(model, n_starts=1)
    >>> report = slamjax.fit_survey(fitter, os.path.join(folder, "new.fits"), os.path.join(folder, "labels.fits"))
    >>> report.collected.n, sorted(os.listdir(folder))
    (6, ['labels.fits', 'labels.fits.report.json', 'new.fits'])
    """
    engine = Fits(fitter_of(model))
    if spectra_out is not None:
        _check_spectra_output(spectra_out, Path(output), shard)
    report = run_survey(
        engine, inputs, output, reading=reading, piece_size=piece_size, shard=shard, client=client,
        on_progress=on_progress,
    )  # fmt: skip
    if spectra_out is not None:
        labels = read_labels(output)
        write_survey_best_fits(engine.fitter, inputs, labels, spectra_out, reading or Reading(), on_progress)
    return report


def _check_spectra_output(path: str | os.PathLike[str], output: Path, shard: tuple[int, int] | None) -> None:
    """Raise SlamError unless best-fit spectra can be written there, beside a table that is read again for them."""
    check_writable(path)
    if shard is not None:
        raise SlamError("best-fit spectra need the labels of all shards; leave spectra_out out")
    if output.suffix.lower() == ".csv":
        raise SlamError(f"best-fit spectra need labels with units, which {output} cannot hold; write FITS or ECSV")
    if Path(path).absolute() == output.absolute():
        raise SlamError(f"labels and best-fit spectra would both be written to {path}; give two names")


def sample_survey(
    model: Model | Sampler,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    prior: Prior | Sequence[Prior] = None,
    fixed: Mapping[str, float] | None = None,
    seed: int = 0,
    draws: str | os.PathLike[str] | None = None,
    reading: Reading | None = None,
    piece_size: int | None = None,
    shard: tuple[int, int] | None = None,
    client: Any = None,
    on_progress: Progress | bool | None = True,
) -> SurveyReport:
    """Sample the posteriors of any number of spectra, and write what sums them up, in bounded memory.

    As `fit_survey` in all else. A star's random numbers belong to its place in the input, so its draws are the same
    within rounding however the input is divided.

    Parameters
    ----------
    model : Model or Sampler
        A Model is sampled with the default options; a `slamjax.Sampler` holds others.
    inputs : path, glob pattern, ``@list``, or a sequence of those
        As of `fit_survey`.
    output : path
        Of the table that `slamjax.Posterior.table` gives, in a format of `fit_survey`.
    prior, fixed, seed : optional
        As of `slamjax.Sampler.sample`; values of single stars belong to spectra in memory and are refused.
    draws : path, optional
        A folder for the draws, too: one Parquet file for each piece, with ``row``, identifiers and for each label
        a list of its draws, chain by chain. Stars that could not be sampled are not in it.
    reading, shard, client, on_progress : optional
        As of `fit_survey`.
    piece_size : int, optional
        Most spectra, or files, of a piece; by default 1024 (files: 512), or as many as the sampler's ``memory`` holds.

    Returns
    -------
    SurveyReport

    Raises
    ------
    SlamError
        As `fit_survey` does, or if the folder for draws has others in it.

    Examples
    --------
    >>> import slamjax
    >>> sampler = slamjax.Sampler(model, sampler="importance")  # doctest: +SKIP
    >>> slamjax.sample_survey(sampler, "stars.fits", "posteriors.fits", draws="draws")  # doctest: +SKIP
    """
    from slamjax.sampling import Sampler

    sampler = model if isinstance(model, Sampler) else Sampler(model)
    folder = None if draws is None else Path(draws).absolute()
    engine = Samples(sampler, prior=prior, fixed=fixed, seed=seed, draws=folder)
    return run_survey(
        engine, inputs, output, reading=reading, piece_size=piece_size, shard=shard, client=client,
        on_progress=on_progress,
    )  # fmt: skip


def collect_shards(
    folders: Sequence[Path], output: str | os.PathLike[str], *, on_progress: Progress | bool | None = True
) -> Collected:
    """Write the label table of a survey from the parts of all its shards, which are then removed.

    The whole run's report is written beside it, ``<output>.report.json``; its rate is that of all shards together.

    Parameters
    ----------
    folders : sequence of paths
        Folders of finished parts; those beside the output are ``.NAME.shard-i-of-N.parts``.
    output : path
        As of `slamjax.fit_survey`.
    on_progress : callable or bool
        Called with (rows written, all rows). By default a line in terminals and notebooks; False for none.

    Raises
    ------
    SlamError
        If pieces are missing, which are named, or the folders are not the shards of one run.

    Examples
    --------
    >>> from pathlib import Path
    >>> import slamjax
    >>> folders = sorted(Path().glob(".labels.fits.shard-*.parts"))
    >>> slamjax.survey.collect_shards(folders, "labels.fits")  # doctest: +SKIP
    """
    target = Path(output)
    check_survey_output(target)
    if not folders:
        raise SlamError(
            f"there are no shards of {target}; run slamjax fit or sample with --shard and this output, or name folders"
        )
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise SlamError(f"{missing} is no folder; give folders of finished parts")
    with _all_of(folders) as kept:
        try:
            began = time.perf_counter()
            with reporter(on_progress) as report:
                report.stage("writing the table")
                collected = collect(kept, target, report)
        except DamagedPart as error:
            raise SlamError("a finished part is damaged; run its shard again with the same command") from error
        if collected.set_aside:  # their shards may try them again
            for one in kept:
                one.stay()
        writing, run = time.perf_counter() - began, kept[0].stamp()
        rate = collected.spectra / max(collected.ended - collected.began, 1e-9)
        write_report(target, run, collected, pieces=int(run["pieces"]), rate=rate, writing=writing)
    return collected


@contextmanager
def _all_of(folders: Sequence[Path]) -> Iterator[list[Checkpoint]]:
    """Checkpoints whose folders go if the block ends well, and stay if it does not."""
    with ExitStack() as stack:
        yield [stack.enter_context(Checkpoint(folder)) for folder in folders]

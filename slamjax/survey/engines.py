"""What is done to the spectra of a survey: they are fitted, or their posteriors are sampled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from slamjax._util.checkpoint import digest
from slamjax.errors import SlamError
from slamjax.fitting import Fitter
from slamjax.fitting.checkpoint import fitter_fingerprint
from slamjax.flags import Flag
from slamjax.forward.nuisances import UNITS
from slamjax.io import LabelTable
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra
from slamjax.survey.draws import begin_draws, has_draws, write_draws
from slamjax.survey.pieces import MOST_SPECTRA, Piece
from slamjax.survey.schema import label_schema
from slamjax.typing import Progress

if TYPE_CHECKING:
    from slamjax.sampling import Posterior, Sampler

Task = Literal["fit", "sample"]
#: Most spectra of a piece that is sampled: a star takes as long as hundreds of fits.
_MOST_SAMPLED = 1024
#: Bytes that a draw of a label takes while a piece is worked on.
_BYTES_PER_DRAW = 48


class Engine(Protocol):
    """Makes one row of a table of every spectrum; a process makes one engine and keeps its compiled programs.

    Attributes
    ----------
    task : its name, in a `slamjax.survey.work.Job` and in messages
    doing : what it does, in reports
    most : most spectra of a piece
    draws : folder of what is kept beside the table, if anything is
    """

    task: ClassVar[Task]
    doing: ClassVar[str]
    most: int
    draws: Path | None

    @property
    def model(self) -> Model: ...
    @property
    def memory(self) -> float: ...
    @property
    def options(self) -> dict[str, Any]:
        """What makes the same engine in another process, beside the model."""
        ...

    @property
    def seconds_preparing(self) -> float: ...

    def identity(self) -> dict[str, str]:
        """Digests of the model and of the options."""
        ...

    def check(self, spectra: Spectra) -> None:
        """Raise SlamError for spectra that do not suit the model."""
        ...

    def begin(self, run: Mapping[str, str]) -> None:
        """Make what pieces are kept in, before any is worked on."""
        ...

    def rows(self, spectra: Spectra, numbers: np.ndarray, on_progress: Progress | bool) -> tuple[LabelTable, Any]:
        """A row of each spectrum, and what is kept beside them; ``numbers`` (N, 2) are their places in the survey."""
        ...

    def keep(self, piece: Piece, beside: Sequence[Any]) -> int:
        """Keep what came beside the rows of a piece; how many rows that has."""
        ...

    def is_kept(self, number: int, n: int) -> bool:
        """Whether what a piece kept is still there."""
        ...

    def empty(self, n: int, carried: Mapping[str, str]) -> LabelTable:
        """Rows of which nothing is known, with columns of other types beside."""
        ...


class Fits:
    """Best labels, by a `slamjax.Fitter`."""

    task: ClassVar[Task] = "fit"
    doing: ClassVar[str] = "fitting"
    most = MOST_SPECTRA
    draws: Path | None = None

    def __init__(self, fitter: Fitter) -> None:
        self.fitter = fitter

    @classmethod
    def make(cls, model: Model, options: Mapping[str, Any]) -> Fits:
        return cls(Fitter(model, **options))

    @property
    def model(self) -> Model:
        return self.fitter.model

    @property
    def memory(self) -> float:
        return self.fitter.memory

    @property
    def options(self) -> dict[str, Any]:
        return self.fitter.options

    @property
    def seconds_preparing(self) -> float:
        return self.fitter.seconds_preparing

    def identity(self) -> dict[str, str]:
        return fitter_fingerprint(self.fitter)

    def check(self, spectra: Spectra) -> None:
        self.fitter.check(spectra)
        if self.fitter.prior is not None:
            self.fitter.prior.attached(spectra)

    def begin(self, run: Mapping[str, str]) -> None:
        pass

    def rows(self, spectra: Spectra, numbers: np.ndarray, on_progress: Progress | bool) -> tuple[LabelTable, Any]:
        return self.fitter.fit(spectra, on_progress), None

    def keep(self, piece: Piece, beside: Sequence[Any]) -> int:
        return 0

    def is_kept(self, number: int, n: int) -> bool:
        return True

    def empty(self, n: int, carried: Mapping[str, str]) -> LabelTable:
        table = label_schema(self.fitter, carried).empty(n)
        names = self.model.label_names
        for name in names:
            for ending in ("_err", "_err68", "_err95", "_std"):
                if name + ending in table.colnames:
                    table[name + ending][:] = np.inf * table[name + ending].unit
        place = np.arange(len(names))
        table["cov"][:] = np.nan
        table["cov"][:, place, place] = np.inf
        return table


class Samples:
    """Posteriors, by a `slamjax.Sampler`: the table has `slamjax.Posterior.table`, draws are kept beside it.

    Random numbers belong to a star's place in the survey, and components hold for stars of any brightness, so that
    draws do not depend on how a survey is divided.
    """

    task: ClassVar[Task] = "sample"
    doing: ClassVar[str] = "sampling"

    def __init__(
        self,
        sampler: Sampler,
        *,
        prior: Any = None,
        fixed: Mapping[str, Any] | None = None,
        seed: int = 0,
        draws: Path | None = None,
    ) -> None:
        self.sampler, self.prior, self.fixed, self.seed = sampler.for_any_spectra(), prior, fixed, seed
        self.draws = draws
        _refuse_arrays(sampler.model, prior, fixed)
        spec = sampler.spec
        per_star = spec.chains * spec.draws * len(sampler.variables) * _BYTES_PER_DRAW
        self.most = int(np.clip(sampler.memory * 2**30 / per_star, 1, _MOST_SAMPLED))

    @classmethod
    def make(cls, model: Model, options: Mapping[str, Any]) -> Samples:
        from slamjax.sampling import Sampler

        return cls(Sampler(model, **options["sampler"]), **{k: v for k, v in options.items() if k != "sampler"})

    @property
    def model(self) -> Model:
        return self.sampler.model

    @property
    def memory(self) -> float:
        return self.sampler.memory

    @property
    def options(self) -> dict[str, Any]:
        own = {"prior": self.prior, "fixed": self.fixed, "seed": self.seed, "draws": self.draws}
        return {"sampler": self.sampler.options, **own}

    @property
    def seconds_preparing(self) -> float:
        return self.sampler.seconds_preparing

    def identity(self) -> dict[str, str]:
        fitter = Fitter(self.model, nuisances=self.sampler.nuisances, memory=self.memory)
        return {
            **fitter_fingerprint(fitter),
            "sampler": digest(repr(self.sampler.spec)),
            "prior": digest(self.prior),
            "fixed": digest(self.fixed),
            "seed": str(self.seed),
            "draws": "" if self.draws is None else str(self.draws),
        }

    def check(self, spectra: Spectra) -> None:
        self.sampler.check(spectra)

    def begin(self, run: Mapping[str, str]) -> None:
        if self.draws is not None:
            begin_draws(self.draws, run)

    def rows(self, spectra: Spectra, numbers: np.ndarray, on_progress: Progress | bool) -> tuple[LabelTable, Any]:
        posterior = self.sampler.sample(
            spectra, prior=self.prior, fixed=self.fixed, seed=self.seed, numbers=numbers, on_progress=on_progress
        )
        return posterior.table(), posterior if self.draws is not None else None

    def keep(self, piece: Piece, beside: Sequence[Posterior | None]) -> int:
        given = [posterior for posterior in beside if posterior is not None]
        return 0 if self.draws is None else write_draws(self.draws, piece, given)

    def is_kept(self, number: int, n: int) -> bool:
        return self.draws is None or n == 0 or has_draws(self.draws, number)

    def empty(self, n: int, carried: Mapping[str, str]) -> LabelTable:
        from slamjax.sampling import Diagnostics, Posterior

        names = self.sampler.variables
        units = (*self.model.info.label_units, *(UNITS[name] for name in names[len(self.model.label_names) :]))
        unknown, alone = np.full((n, len(names)), np.nan), np.full(n, np.nan)
        stars = {"row": np.arange(n), **{name: np.zeros(n, kind) for name, kind in carried.items()}}
        stars["problem"] = np.full(n, "")
        lp = alone[None, None]
        flags = np.full(n, int(Flag.NO_DATA), np.int32)
        quality = Diagnostics(unknown, unknown, unknown)
        return Posterior(
            names, units, unknown[None, None], lp, np.isfinite(lp), quality, alone, np.full(n, ""), flags, stars
        ).table()  # fmt: skip


ENGINES: Mapping[Task, Callable[[Model, Mapping[str, Any]], Engine]] = {"fit": Fits.make, "sample": Samples.make}


def _refuse_arrays(model: Model, prior: Any, fixed: Mapping[str, Any] | None) -> None:
    """Raise SlamError for values of single stars: which ones is known of spectra in memory only."""
    from slamjax.sampling.conditions import PriorFactors, fixed_labels

    arrays = any(np.ndim(value) for value in (fixed or {}).values())
    try:
        arrays = arrays or bool(PriorFactors.from_option(model, prior, 1).per_star)
    except SlamError as error:
        if "batch shape" not in str(error):
            raise
        arrays = True
    if arrays:
        raise SlamError("prior or fixed has arrays, which belong to spectra in memory; give numbers")
    fixed_labels(model, fixed, 1)

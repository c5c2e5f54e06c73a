"""Best-fit spectra of a survey: its input once more, piece by piece, beside the table of its labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from slamjax._util.progress import reporter
from slamjax.errors import SlamError
from slamjax.fitting import Fitter
from slamjax.fitting.best_fits import best_fits, no_best_fits, write_blocks
from slamjax.fitting.parts import one_ahead
from slamjax.io import LabelTable
from slamjax.survey.pieces import Piece, paths_of, pieces_of
from slamjax.survey.work import Read, Reading, read_piece
from slamjax.typing import Progress


def write_survey_best_fits(
    fitter: Fitter,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    labels: LabelTable,
    path: str | os.PathLike[str],
    reading: Reading,
    on_progress: Progress | bool | None,
) -> None:
    """Write what `slamjax.write_best_fits` writes, in bounded memory; what cannot be read has rows of NaN."""
    pieces = pieces_of(paths_of(inputs), fitter)
    with reporter(on_progress) as told:
        told.stage("writing best-fit spectra")
        write_blocks(fitter.model, len(labels), _blocks(fitter, pieces, labels, reading), path, told)


def _blocks(fitter: Fitter, pieces: Sequence[Piece], labels: LabelTable, reading: Reading) -> Iterator[LabelTable]:
    """The rows of all pieces, in the order of the label table, whose ``row`` counts spectra of the input."""

    def read(piece: Piece) -> tuple[Piece, Read]:
        return piece, read_piece(reading, piece)

    rows, first = np.asarray(labels["row"]), 0
    for piece, found in one_ahead(read, pieces):
        for group in found.groups or [[("", "")] * piece.n]:
            its = labels[slice(*np.searchsorted(rows, [first, first + len(group)]))]
            spectra = None if isinstance(group, list) else group[np.asarray(its["row"]) - first]
            try:
                yield from [no_best_fits(fitter.model, its)] if spectra is None else best_fits(fitter, spectra, its)
            except SlamError:  # spectra that do not suit the model have rows without labels, too
                yield no_best_fits(fitter.model, its)
            first += len(group)

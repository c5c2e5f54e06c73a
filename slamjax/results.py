"""The label table that a fit gives, and what its flags mean."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table

from slamjax.errors import SlamError
from slamjax.spectra import Spectra

#: Columns of numbers that say which star it is.
_PLACES = ("ra", "dec")


class Flag(enum.IntFlag):
    """What is wrong with a row; 0 is good. ``Flag(row["flags"])`` prints the names."""

    NO_DATA = 1
    NOT_CONVERGED = 2
    AT_BOUND = 4
    OUTSIDE_TRAINING = 8
    FEW_PIXELS = 16
    HIGH_CHI2 = 32
    MULTIPLE_MINIMA = 64
    UNCONSTRAINED = 128
    NO_ERRORS = 256
    LOW_ESS = 512
    HIGH_RHAT = 1024
    DIVERGENCES = 2048
    NOT_SAMPLED = 4096
    NUISANCE_AT_BOUND = 8192
    UNSURE_VELOCITY = 16384


#: What each flag says, for tables and documents.
FLAG_MEANINGS: dict[Flag, str] = {
    Flag.NO_DATA: "no good pixel: labels are NaN and errors infinite",
    Flag.NOT_CONVERGED: "out of iterations before the steps became small",
    Flag.AT_BOUND: "a label ended at the edge of the training range; its error does not hold",
    Flag.OUTSIDE_TRAINING: "too few training stars near these labels: the emulator extrapolates",
    Flag.FEW_PIXELS: "fewer than half of the model's pixels were good",
    Flag.HIGH_CHI2: "chi2 a pixel far above that of stars the training had not seen: unlike any training star",
    Flag.MULTIPLE_MINIMA: "another start ended at other labels, beyond the errors of both, with nearly the same chi2",
    Flag.UNCONSTRAINED: "the spectrum does not constrain a label within the training range; its error is infinite",
    Flag.NO_ERRORS: "the spectrum states no errors though the training spectra did: label errors are too small",
    Flag.LOW_ESS: "the posterior's draws are worth fewer than 400 independent ones for a label; take more draws",
    Flag.HIGH_RHAT: "the posterior's chains disagree (R-hat above 1.03): its draws do not stand for it yet",
    Flag.DIVERGENCES: "more than one draw in a hundred of the posterior ended a diverging trajectory: it may be biased",
    Flag.NOT_SAMPLED: "no posterior: the fit that it starts from failed; draws are NaN",
    Flag.NUISANCE_AT_BOUND: "a velocity or a width ended at its bound; labels and errors may not hold",
    Flag.UNSURE_VELOCITY: "no radial velocity fits clearly better than all others: the labels may be of another shift",
}


def flag_names(flags: int) -> str:
    """Names of the flags that are set, such as ``"AT_BOUND, HIGH_CHI2"``; empty for a good row."""
    return ", ".join(str(flag.name) for flag in Flag if flags & flag)


def label_table(
    names: Sequence[str],
    units: Sequence[str],
    spectra: Spectra,
    *,
    labels: np.ndarray,
    covariance: np.ndarray,
    half95: np.ndarray,
    chi2: np.ndarray,
    n_pix: np.ndarray,
    snr: np.ndarray,
    n_iter: np.ndarray,
    flags: np.ndarray,
    noise_scale: np.ndarray,
    velocity: np.ndarray | None = None,
    nuisances: Mapping[str, np.ndarray] | None = None,
) -> QTable:
    """One row a star: where it came from, labels with errors and units, the quality of the fit, flags.

    Columns: ``row`` (0-based, in the input), the input's columns of words, integers and truths, its ``ra`` and ``dec``,
    ``rv`` and ``rv_err`` (km/s) as measured (``velocity``, (N, 2)) or as the input has them, then for each label
    <label>, <label>_err, <label>_err95 (half-width of the 95 % interval: more than 1.96 errors where held-out stars
    had heavier tails than a Gaussian) and, where the input has that label, <label>_ref; ``chi2``, ``n_pix``, ``snr``,
    ``n_iter``, ``flags``, ``noise_scale`` (the factor that this star's own Σ has over the noise model's) and ``cov``,
    the labels' covariance (L, L) in products of the labels' units. ``nuisances`` are columns behind those of the
    labels: velocities in km/s, the polynomial's coefficients.
    """
    table = QTable()
    table["row"] = spectra.rows
    for name, column in spectra.columns().items():
        if (
            name not in names
            and name not in (nuisances or {})
            and (column.dtype.kind in "iuSUb" or name in _PLACES)
            and name not in table.colnames
        ):
            table[name] = column
    known = spectra.columns()
    given = {*names, *(nuisances or {})}
    if velocity is None and "rv" in known and known["rv"].dtype.kind == "f" and "rv" not in given:
        unknown = np.full(len(spectra), np.nan)
        velocity = np.stack([known["rv"], known.get("rv_err", unknown)], axis=1)
    if velocity is not None:
        for k, name in enumerate(("rv", "rv_err")):
            table[name] = np.asarray(velocity[:, k], float) * u.km / u.s
    errors = np.sqrt(np.einsum("nll->nl", covariance))
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        table[name] = _with_unit(labels[:, k], unit)
        table[f"{name}_err"] = _with_unit(errors[:, k], unit)
        table[f"{name}_err95"] = _with_unit(half95[:, k], unit)
        if name in known and known[name].dtype.kind in "iuf":
            table[f"{name}_ref"] = _reference(spectra, name, unit)
    for name, values in (nuisances or {}).items():
        table[name] = values if name == "polynomial" else values * (u.km / u.s)
    table["chi2"] = chi2
    table["n_pix"] = n_pix.astype(np.int32)
    table["snr"] = snr
    table["n_iter"] = n_iter.astype(np.int32)
    table["flags"] = flags.astype(np.int32)
    table["noise_scale"] = noise_scale
    table["cov"] = covariance
    table.meta["labels"] = ",".join(names)
    return table


def write_labels(table: Table, path: object) -> None:
    """Write a label table as FITS, HDU LABELS, with the meaning of every flag in the header."""
    from astropy.io import fits

    from slamjax.files import atomic_path

    plain = table.copy()
    plain.meta.clear()
    for name in plain.colnames:
        if plain[name].dtype.kind == "U":  # FITS holds ASCII only; a label table must not fail for a star's name
            plain[name] = np.char.encode(np.asarray(plain[name]).astype(str), "ascii", "replace")
    sheet = fits.table_to_hdu(plain)
    sheet.name = "LABELS"
    sheet.header["LABELS"] = (table.meta.get("labels", ""), "labels, in the order of cov")
    for flag in Flag:
        sheet.header.add_comment(f"flags & {int(flag)}: {flag.name}: {FLAG_MEANINGS[flag]}")
    with atomic_path(str(path)) as temporary:
        fits.HDUList([fits.PrimaryHDU(), sheet]).writeto(temporary, overwrite=True, checksum=True)


def read_labels(path: object) -> QTable:
    """Read back what `write_labels` wrote."""
    from astropy.io import fits

    from slamjax.files import existing_file

    source = existing_file(str(path))
    try:
        with fits.open(source, memmap=False) as hdus:
            if "LABELS" not in hdus:
                raise SlamError(f"{source} has no HDU LABELS; it is not a table that slamjax fit has written")
            names = hdus["LABELS"].header.get("LABELS", "")
            table = QTable.read(hdus["LABELS"], mask_invalid=False)  # NaN says that a fit failed: nothing is masked
    except OSError as error:
        raise SlamError(f"{source} cannot be read as FITS ({error}); is it complete?") from error
    for name in table.colnames:
        table[name] = table[name].astype(table[name].dtype.newbyteorder("="))  # FITS is big-endian, JAX takes native
    table.meta.clear()
    table.meta["labels"] = names
    return table


def _reference(spectra: Spectra, name: str, unit: str) -> np.ndarray | u.Quantity:
    """The input's own value of a label, in the model's unit: a table may state another, or none."""
    values = spectra.values([name])[:, 0]
    own, wanted = _unit(spectra.table[name].unit), _unit(unit)
    if own is not None and wanted is not None:
        values = np.asarray(own.to(wanted, values))
    return _with_unit(values, unit)


def check_units(names: Sequence[str], units: Sequence[str], spectra: Spectra) -> None:
    """Raise if the input's labels are in units that cannot be those of the model; asked before a fit, not after it."""
    for name, unit in zip(names, units, strict=True):
        if name in spectra.table.colnames:
            own, wanted = _unit(spectra.table[name].unit), _unit(unit)
            if own is not None and wanted is not None and not own.is_equivalent(wanted):
                raise SlamError(
                    f"column {name!r} of {spectra.source} is in {own}, the model's label in {wanted}; "
                    "convert or drop it"
                )


def _unit(text: object) -> u.UnitBase | None:
    """A unit that astropy knows; catalogues also write such as ``log(cm.s**-2)``, which is kept as text elsewhere."""
    if text is None or text == "":
        return None
    unit = u.Unit(text, parse_strict="silent")
    return None if isinstance(unit, u.UnrecognizedUnit) else unit


def _with_unit(values: np.ndarray, unit: str) -> np.ndarray | u.Quantity:
    known = _unit(unit)
    return values if known is None else values * known

"""Spectra: what every stage takes and returns."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack, overload

import numpy as np
from astropy import units as u
from astropy.table import Table
from jaxtyping import Bool, Float, Int, Shaped

from slamjax._util.cards import html_card
from slamjax.errors import SlamError
from slamjax.spectra.checks import FRAMES, MEDIA, checked_fields, with_bad_pixels
from slamjax.spectra.columns import float_column, plain_column
from slamjax.spectra.covariance import refuse_covariance
from slamjax.spectra.flux_units import describe_flux_unit
from slamjax.spectra.flux_units import flux_unit as as_flux_unit
from slamjax.spectra.identifiers import identifier_columns, star_groups
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.line_spread import LineSpread, are_own, checked_fwhm, fwhm_at, same_fwhm
from slamjax.spectra.selection import Selection
from slamjax.spectra.summary import spectra_facts, spectra_title

Medium = Literal["vacuum", "air", "unknown"]
Frame = Literal["rest", "observed", "unknown"]


class Details(TypedDict, total=False):
    """The unit of flux, how errors go together, and where spectra come from."""

    flux_unit: u.UnitBase | str | None
    covariance: Any
    rows: Any
    source: str
    selection: str


@dataclass(frozen=True, eq=False, init=False)
class Spectra:
    """N spectra on one wavelength grid of P pixels, with a table of labels and metadata.

    A bad pixel has ``ivar = 0``. Pixels whose flux is not finite or whose ivar is negative or NaN become bad pixels, so
    that no NaN goes further; masked ones do, too. ``ivar = inf`` marks a good pixel without a known error (neither
    ``ivar`` nor ``error`` given); its photon noise becomes part of the model error that training estimates.

    Parameters
    ----------
    wave : (P,) array, strictly increasing
        Any array-like, a Quantity or a table's column.
    flux : (N, P) array, in any linear unit
        That of a Quantity or column is kept as ``flux_unit``.
    ivar : (N, P) array, optional
        Inverse variance of the flux.
    table : Table, DataFrame, or mapping of columns, of N rows, optional
        Labels, their errors (``<label>_err``), identifiers, any other metadata of the stars.
    wave_unit : astropy unit or str
        "nm", "Angstrom", "A", "micron", ... Needed unless ``wave`` brings a unit; if both are given, ``wave`` is
        converted.
    error : (N, P) array, optional
        Standard error of the flux, instead of ``ivar``. One that is not finite or not positive marks a bad pixel.
    medium : "vacuum", "air" or "unknown"
        Medium of the wavelengths.
    frame : "rest", "observed" or "unknown"
        The star's rest frame, or the barycentric or observer's frame.
    fwhm : float, (P,) or (N, P) array or Quantity, optional
        Full width at half maximum of the line-spread function, in ``wave_unit``, that of each pixel, or that of each
        pixel of each spectrum (NaN: unknown), by which fits convolve what they predict for it.
    flux_unit : astropy unit or str, optional
        Unit of the flux, for comparison with a model's: "erg/s/cm2/AA", "Jy", "" for dimensionless; None: not stated.
        A Quantity in another unit is converted.
    covariance : (N, P, P) array, optional
        Covariance of the flux of each spectrum's pixels, in squared units of flux. ``ivar`` is then 1 over its
        diagonal; an ``ivar`` that is given says only which pixels are bad. It is not kept where no two pixels are
        correlated. `slamjax.train`, `slamjax.fit` and `slamjax.sample` use all of it; what does not refuses the
        spectra, see `with_independent_pixels`.
    rows : (N,) int array, optional
        Row of each spectrum in its file (0-based), kept through selections.
    source, selection : str, optional
        File of the spectra and the expressions that selected them, for messages and provenance.

    Raises
    ------
    SlamError
        If shapes disagree, the wavelengths have no unit or do not increase, or a value is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> labels = {"teff": [4800.0, 5200.0], "logg": [2.5, 3.1]}  # or a Table, or a pandas DataFrame
    >>> spectra = Spectra(np.linspace(400, 700, 4), np.ones((2, 4)), error=np.full((2, 4), 0.1), table=labels,
    ...                   wave_unit="nm")
    >>> spectra
    Spectra(2 x 4 pixels, 400-700 nm unknown, unknown frame, table: teff, logg)
    >>> len(spectra), spectra.n_pix, spectra[1].values("teff")
    (2, 4, array([5200.]))
    """

    wave: Float[np.ndarray, " pixel"]
    flux: Float[np.ndarray, "star pixel"]
    ivar: Float[np.ndarray, "star pixel"]
    table: Table
    wave_unit: u.UnitBase
    medium: Medium
    frame: Frame
    fwhm: LineSpread | None
    flux_unit: u.UnitBase | None
    covariance: Float[np.ndarray, "star pixel pixel"] | None
    rows: Int[np.ndarray, " star"]
    source: str
    selection: str
    #: No run-time check of types: users may give any array-like, which `checked_fields` converts.
    __no_type_check__ = True

    def __init__(
        self,
        wave: Any,
        flux: Any,
        ivar: Any = None,
        table: Any = None,
        wave_unit: u.UnitBase | str | None = None,
        *,
        error: Any = None,
        medium: str = "unknown",
        frame: str = "unknown",
        fwhm: Any = None,
        **details: Unpack[Details],
    ) -> None:
        unknown = set(details) - set(Details.__annotations__)
        if unknown:
            raise TypeError(f"Spectra has no argument {min(unknown)!r}; errors are given as error= or ivar=")
        given = {"wave": wave, "flux": flux, "ivar": ivar, "error": error, "table": table, "wave_unit": wave_unit}
        given |= {"medium": medium, "frame": frame, "fwhm": fwhm, "rows": None, "source": "spectra", "selection": ""}
        self._set(checked_fields(given | {"flux_unit": None, "covariance": None} | details))

    def _set(self, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _with(self, **fields: Any) -> Spectra:
        """The same spectra with other fields, which are not checked again."""
        other = copy.copy(self)
        other._set(fields)
        return other

    def __len__(self) -> int:
        return self.flux.shape[0]

    @property
    def n_pix(self) -> int:
        """Number of pixels, P."""
        return self.flux.shape[1]

    @property
    def good(self) -> Bool[np.ndarray, "star pixel"]:
        """(N, P) bool: pixels that may be used."""
        return self.ivar > 0

    @property
    def has_errors(self) -> bool:
        """Whether the error of any pixel is known."""
        return bool(np.any(np.isfinite(self.ivar) & (self.ivar > 0)))

    @property
    def has_own_line_spreads(self) -> bool:
        """Whether each spectrum states a line spread of its own: ``fwhm`` is (N, P)."""
        return are_own(self.fwhm)

    def __repr__(self) -> str:
        return (
            f"Spectra({len(self)} x {self.n_pix} pixels, {self.wave[0]:g}-{self.wave[-1]:g} {self.wave_unit} "
            f"{self.medium}, {self.frame} frame, table: {', '.join(self.table.colnames) or 'empty'})"
        )

    def facts(self) -> dict[str, str]:
        """What these spectra are, in words, by topic."""
        return spectra_facts(self)

    def title(self) -> str:
        """What they are, in a line."""
        return spectra_title(self)

    def _repr_html_(self) -> str:
        return html_card(self.title(), self.facts())

    def __getitem__(self, rows: Any) -> Spectra:
        """Spectra of these rows: a slice, an index array, a mask, or one integer (N = 1)."""
        if isinstance(rows, (int, np.integer)):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"spectrum {rows} of {len(self)}")
            rows = [int(rows)]
        if isinstance(rows, list):
            rows = np.asarray(rows, dtype=bool if rows and isinstance(rows[0], (bool, np.bool_)) else int)
        fwhm = self.fwhm[rows] if self.has_own_line_spreads else self.fwhm  # type: ignore[index]
        covariance = None if self.covariance is None else self.covariance[rows]
        parts = {"table": self.table[rows], "rows": self.rows[rows], "fwhm": fwhm, "covariance": covariance}
        return self._with(flux=self.flux[rows], ivar=self.ivar[rows], **parts)

    def on_pixels(self, pixels: slice | np.ndarray) -> Spectra:
        """The same spectra on a subset of their pixels, given by a slice, indices or a mask."""
        fwhm = self.fwhm[..., pixels] if isinstance(self.fwhm, np.ndarray) else self.fwhm
        covariance = None if self.covariance is None else self.covariance[:, pixels][:, :, pixels]
        arrays = {"wave": self.wave[pixels], "flux": self.flux[:, pixels], "ivar": self.ivar[:, pixels]}
        return self._with(**arrays, fwhm=fwhm, covariance=covariance)

    def masked(self, bad: Bool[np.ndarray, "star pixel"]) -> Spectra:
        """The same spectra with further bad pixels."""
        ivar = np.where(bad, self.ivar.dtype.type(0), self.ivar)
        if self.covariance is None:
            return self._with(ivar=ivar)
        kept = (ivar > 0)[:, :, None] & (ivar > 0)[:, None, :]
        return self._with(ivar=ivar, covariance=np.where(kept, self.covariance, 0))

    def with_independent_pixels(self) -> Spectra:
        """The same spectra without covariances between pixels: ``ivar`` alone says how large errors are.

        Examples
        --------
        >>> import numpy as np
        >>> from slamjax import Spectra
        >>> covariance = np.array([[[4.0, 1.0], [1.0, 1.0]]])
        >>> Spectra([1, 2], [[5.0, 6.0]], covariance=covariance, wave_unit="pix").with_independent_pixels().ivar
        array([[0.25, 1.  ]])
        """
        return self._with(covariance=None)

    def fwhm_at(
        self, wave: Float[np.ndarray, " new_pixel"], unit: u.UnitBase | str
    ) -> float | Float[np.ndarray, "*star new_pixel"] | None:
        """The line spread at other wavelengths, both in ``unit``; a width of each pixel is interpolated."""
        return fwhm_at(self.fwhm, self.wave, wave, self.wave_unit.to(length_unit(unit)))

    def with_arrays(
        self,
        flux: Float[np.ndarray, "star pixel"],
        ivar: Float[np.ndarray, "star pixel"],
        flux_unit: u.UnitBase | None = None,
    ) -> Spectra:
        """The same stars and wavelengths with other flux and ivar; non-finite flux becomes a bad pixel.

        The flux is in the same unit, if no other ``flux_unit`` is given.

        Raises
        ------
        SlamError
            If the spectra have covariances between pixels.
        """
        refuse_covariance(self, "what changes flux pixel by pixel")
        flux, ivar = with_bad_pixels(flux, ivar)
        return self._with(flux=flux, ivar=ivar, flux_unit=self.flux_unit if flux_unit is None else flux_unit)

    def with_metadata(
        self,
        medium: str | None = None,
        frame: str | None = None,
        fwhm: Any = None,
        flux_unit: u.UnitBase | str | None = None,
    ) -> Spectra:
        """The same spectra with metadata that their file lacks.

        Parameters
        ----------
        medium : "vacuum" or "air", optional
        frame : "rest" or "observed", optional
        fwhm : float, (P,) or (N, P) array or Quantity, optional
            Line spread (full width at half maximum), in ``wave_unit``; it replaces a survey's nominal widths.
        flux_unit : astropy unit or str, optional

        Raises
        ------
        SlamError
            If a value is not allowed or contradicts the file.

        Examples
        --------
        >>> import numpy as np
        >>> from slamjax import Spectra
        >>> spectra = Spectra(np.linspace(400, 700, 4), np.ones((2, 4)), wave_unit="nm")
        >>> spectra.with_metadata(medium="air", fwhm=0.2).medium
        'air'
        """
        for name, given, stated, allowed in (
            ("medium", medium, self.medium, MEDIA[:-1]),
            ("frame", frame, self.frame, FRAMES[:-1]),
        ):
            if given is not None and given not in allowed:
                raise SlamError(f"{name} is {given!r}; give one of {', '.join(allowed)}")
            if given is not None and stated not in ("unknown", given):
                raise SlamError(f"{self.source} says that its {name} is {stated}, not {given}; leave {name} out")
        width = checked_fwhm(fwhm, self.wave_unit, self.flux.shape, self.source)
        if isinstance(width, float) and isinstance(self.fwhm, float) and not same_fwhm(width, self.fwhm):
            raise SlamError(f"{self.source} says that its line spread is {self.fwhm:g}, not {width:g}; leave fwhm out")
        unit = as_flux_unit(flux_unit)
        if unit is not None and self.flux_unit not in (None, unit):
            raise SlamError(
                f"{self.source} says that its flux is {describe_flux_unit(self.flux_unit)}, not "
                f"{describe_flux_unit(unit)}; leave flux_unit out"
            )
        return self._with(
            flux_unit=self.flux_unit if unit is None else unit,
            medium=medium or self.medium,
            frame=frame or self.frame,
            fwhm=self.fwhm if width is None else width,
        )

    def select(self, expression: str) -> Spectra:
        """The spectra whose table row satisfies an expression.

        Parameters
        ----------
        expression : str
            Such as ``"logg < 3 & teff > 4000"``; see `slamjax.spectra.selection.evaluate_selection`.

        Raises
        ------
        SlamError
            If the expression is wrong or no row satisfies it.

        Examples
        --------
        >>> from slamjax.datasets import load_xp_giants
        >>> train, _ = load_xp_giants()
        >>> cool = train.select("logg < 2 & teff < 4500")
        >>> bool(cool.values("teff").max() < 4500)
        True
        """
        selection = Selection(expression)
        kept = selection.keeps(self.columns(), len(self))
        if not kept.any():
            raise selection.keeps_none_of(f"the {len(self)} rows of {self.source}")
        both = f"({self.selection}) & ({expression})" if self.selection else expression
        return self[kept]._with(selection=both)

    def columns(self) -> dict[str, np.ndarray]:
        """The table's scalar columns as plain arrays; missing: NaN for a float, 0 for an integer, "" for a string."""
        return {name: plain_column(self.table[name]) for name in self.table.colnames if self.table[name].ndim == 1}

    @overload
    def values(self, names: str) -> Float[np.ndarray, " star"]: ...
    @overload
    def values(self, names: Sequence[str]) -> Float[np.ndarray, "star label"]: ...
    def values(self, names: str | Sequence[str]) -> Float[np.ndarray, " star"] | Float[np.ndarray, "star label"]:
        """Columns of the table as plain numbers, in the table's units; NaN where they are missing.

        Parameters
        ----------
        names : str or sequence of str
            One column, or several.

        Returns
        -------
        (N,) float64 array for a string, (N, L) for a sequence

        Raises
        ------
        SlamError
            If a column does not exist or holds no numbers.

        Examples
        --------
        >>> from slamjax.datasets import load_xp_giants
        >>> train, _ = load_xp_giants()
        >>> train.values("teff").shape, train.values(["teff", "logg"]).shape
        ((1000,), (1000, 2))
        """
        if isinstance(names, str):
            return self._numbers(names)
        self.require(names)
        return np.stack([self._numbers(name) for name in names], axis=1) if len(names) else np.empty((len(self), 0))

    def _numbers(self, name: str) -> Float[np.ndarray, " star"]:
        self.require([name])
        try:
            return float_column(self.table[name])
        except (TypeError, ValueError) as error:
            raise SlamError(f"column {name!r} of {self.source} holds no numbers; choose another") from error

    def require(self, names: Sequence[str]) -> None:
        """Raise SlamError unless every one of ``names`` is a column of the table."""
        missing = [name for name in names if name not in self.table.colnames]
        if missing:
            raise SlamError(
                f"{self.source} has no column {', '.join(map(repr, missing))}; "
                f"it has: {', '.join(self.table.colnames) or 'none'}"
            )

    def identifiers(self) -> list[str]:
        """Names of the columns that identify stars; see `slamjax.spectra.identifiers`."""
        return identifier_columns(self.columns())

    def star_groups(self) -> Int[np.ndarray, " star"]:
        """(N,) a number per spectrum, equal for spectra of one star: they belong in one cross-validation fold."""
        return star_groups(self.columns(), len(self))

    def digests(self) -> Shaped[np.ndarray, " star"]:
        """(N,) a 16-character digest of each spectrum's flux, equal for equal data. Reads all flux: call it once."""
        flux = np.ascontiguousarray(self.flux, dtype="<f8")
        return np.array([hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in flux], dtype="U16")

    def snr(self) -> Float[np.ndarray, " star"]:
        """(N,) median signal-to-noise ratio per pixel; NaN if no pixel is good or no errors are known.

        Examples
        --------
        >>> import numpy as np
        >>> from slamjax import Spectra
        >>> Spectra(np.arange(1.0, 4.0), np.ones((1, 3)), error=np.full((1, 3), 0.05), wave_unit="nm").snr()
        array([20.])
        """
        good = self.good & np.isfinite(self.ivar)
        ratio = np.where(good, self.flux * np.sqrt(np.where(good, self.ivar, 0)), np.nan)
        snr = np.full(len(self), np.nan, ratio.dtype)
        complete, partial = good.all(axis=1) & (self.n_pix > 0), good.any(axis=1)
        snr[complete] = np.median(ratio[complete], axis=1)  # NumPy goes row by row where there may be NaN
        snr[partial & ~complete] = np.nanmedian(ratio[partial & ~complete], axis=1)
        return snr

"""From spectra to a catalogue of labels by sky pixel and back: does every star keep its place, its name and its labels?

The embedded giants are made a HATS catalogue by hats-import, fitted by `slamjax.fit_catalog` with two Dask workers,
written, opened again by LSDB, and cross-matched with the spectra's catalogue.

Their table has no positions. The APOGEE names (2M, then right ascension and declination in J2000) are positions to 0.1
arc seconds; the Gaia source_id holds a HEALPix pixel of level 12, of 52 arc seconds, which checks them.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import LABELS, RECIPE, load_stars, parse_options, source_name
from benchmarks.survey.catalogue import import_catalog, rows_of, write_labels_of
from slamjax.spectra.spectra import Spectra
from slamjax.survey.clients import local

#: source_id over this is the HEALPix pixel of level 12 (Gaia DR3 documentation, gaia_source).
LEVEL_12 = 34359738368
#: Two positions of a star, from different sources, and those of two stars.
RADIUS = 1.0
#: Labels agree to this part of their errors.
CLOSE = 0.01


def main() -> None:
    options = parse_options(__doc__, n_pixel_rows=400, model=None)
    load, seconds = current_load(), {}
    train, stars = load_stars(options)
    placed, agreeing = with_positions(stars)
    with tempfile.TemporaryDirectory(prefix="slamjax-hats-") as name:
        folder = Path(name)
        with timed(seconds, "training"):
            model = chosen_model(train, options.model)
            model.write(folder / "giants.h5")
        with timed(seconds, "importing"):
            import_catalog(placed, folder, options.n_pixel_rows)
        partitions, table, matched, properties = round_trip(folder, seconds)
        with timed(seconds, "fitting at once"):
            direct = slamjax.fit(model, placed, on_progress=False)
    off = largest_difference(table, direct, model.label_names)
    rows = [
        ["stars; partitions", f"{len(placed)}; {partitions}"],
        ["2MASS names in the HEALPix pixel of their source_id", f"{agreeing:.1%}"],
        ["labels read back", f"{len(table)}"],
        [f"cross-matched within {RADIUS:g} arc second, same source_id", f"{matched}"],
        ["largest difference from one fit of all, in errors", f"{off:.1e}"],
        [f"labels within {CLOSE:g} of an error of that fit", f"{n_within(table, direct, model.label_names)}"],
        ["same flags", f"{same_flags(table, direct):.1%}"],
    ]
    draw(table, options.out / "hats_round_trip.png")
    stated = {name: text for name, text in properties.items() if name.startswith("slamjax")}
    results = {"measured": rows, "seconds": seconds, "properties": stated}
    settings = {"sample": source_name(options.data), "training": len(train), "test": len(stars)}
    print("; ".join(f"{what} {spent:.0f} s" for what, spent in seconds.items()))
    write_results(
        options.out, "hats_round_trip", settings, results, [markdown_table(["round trip", "measured"], rows)], load
    )


def chosen_model(train: Spectra, path: Path | None) -> slamjax.Model:
    """The model in a file, or a quadratic, which is trained in seconds."""
    if path is not None:
        return slamjax.Model.read(path)
    return slamjax.train(
        train, LABELS, emulator=slamjax.Polynomial(), recipe=RECIPE, noise="diagonal", on_progress=False
    )


def with_positions(stars: Spectra) -> tuple[Spectra, float]:
    """The spectra with ra and dec (degrees) of their 2MASS names, and the fraction that Gaia's pixel agrees with."""
    from hats.pixel_math import compute_spatial_index, spatial_index_to_healpix

    names = [str(name)[2:] for name in stars.table["apogee_id"]]
    texts = [f"{n[:2]}:{n[2:4]}:{n[4:6]}.{n[6:8]} {n[8:11]}:{n[11:13]}:{n[13:15]}.{n[15]}" for n in names]
    place = SkyCoord(texts, unit=(u.hourangle, u.deg))
    table = stars.table.copy()
    table["ra"], table["dec"] = place.ra.deg, place.dec.deg
    table["ra"].unit = table["dec"].unit = u.deg
    index = compute_spatial_index(place.ra.deg, place.dec.deg)
    same = spatial_index_to_healpix(index, target_order=12) == np.asarray(table["source_id"]) // LEVEL_12
    details = {"wave_unit": stars.wave_unit, "medium": stars.medium, "frame": stars.frame, "fwhm": stars.fwhm}
    placed = Spectra(stars.wave, stars.flux, stars.ivar, table, **details, flux_unit=stars.flux_unit)
    return placed, float(np.mean(same))


def round_trip(folder: Path, seconds: dict[str, float]) -> tuple[int, Any, int, dict[str, Any]]:
    """Partitions, the labels as they are read back, how many stars match themselves, and the properties."""
    import lsdb

    spectra = lsdb.open_catalog(folder / "xp")
    with local(2, dashboard=False), timed(seconds, "fitting and writing by two workers, their start included"):
        write_labels_of(spectra, folder / "giants.h5", folder / "xp_labels")
    with timed(seconds, "opening and cross-matching"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Right catalog does not have a margin cache")  # both have the same positions
        again = lsdb.open_catalog(folder / "xp_labels")
        table = rows_of(again)
        both = spectra[["ra", "dec", "source_id"]].crossmatch(
            again,
            n_neighbors=1,
            radius_arcsec=RADIUS,
            suffixes=("_of_spectra", "_of_labels"),
            suffix_method="all_columns",
        )
        pairs = both.compute(progress_bar=False)
    same = pairs["source_id_of_spectra"].to_numpy() == pairs["source_id_of_labels"].to_numpy()
    properties = again.hc_structure.catalog_info.extra_dict()
    return spectra.npartitions, table, int(np.sum(same)), properties


def _sorted(direct: Any) -> Any:
    return direct[np.argsort(np.asarray(direct["source_id"]), kind="stable")]


def largest_difference(table: Any, direct: Any, names: tuple[str, ...]) -> float:
    """Of all labels of all stars that both fits have, in errors."""
    return float(np.nanmax(_off(table, direct, names)))


def n_within(table: Any, direct: Any, names: tuple[str, ...]) -> int:
    """Stars whose labels all agree to `CLOSE`. A star with two minima of one χ² may be in the other one by rounding."""
    return int(np.sum(np.nan_to_num(_off(table, direct, names)).max(axis=0) <= CLOSE))


def _off(table: Any, direct: Any, names: tuple[str, ...]) -> np.ndarray:
    """(L, N) differences in errors."""
    direct = _sorted(direct)
    off = [np.abs(table[name].to_numpy() - direct[name].value) / direct[f"{name}_err"].value for name in names]
    return np.asarray(off)


def same_flags(table: Any, direct: Any) -> float:
    return float(np.mean(table["flags"].to_numpy() == np.asarray(_sorted(direct)["flags"])))


@contextmanager
def timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - began


def draw(table: Any, path: Path) -> None:
    """The stars on the sky, in Galactic coordinates, coloured by the metallicity that was read back."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    good = table[table["flags"] == 0]
    place = SkyCoord(good["ra"].to_numpy() * u.deg, good["dec"].to_numpy() * u.deg).galactic
    figure = plt.figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.add_subplot(projection="mollweide")
    # the Galactic centre in the middle, longitude to the left
    points = axes.scatter(
        -place.l.wrap_at("180d").rad, place.b.rad, c=good["fe_h"].to_numpy(), s=9, cmap="viridis", vmin=-0.8, vmax=0.4
    )
    axes.set_xticks(np.radians([-120, -60, 0, 60, 120]), ["120°", "60°", "0°", "300°", "240°"])
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    axes.set_title(f"{len(good)} giants of a catalogue by sky pixel, read back (Galactic coordinates)", fontsize=10)
    figure.colorbar(points, label="[Fe/H] (dex)", shrink=0.7, extend="both")
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()

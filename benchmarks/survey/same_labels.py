"""Are labels the same however a survey is divided? In odd pieces, other orders and batches, by workers, shards, LSDB.

XP-like stars; differences are in units of each star's own error, and the largest counts.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import vstack

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import LABELS, parse_options
from benchmarks.survey.catalogue import import_catalog, rows_of, write_labels_of
from benchmarks.survey.measured import apart
from benchmarks.survey.xp_like import write_model, write_stars
from slamjax.spectra.spectra import Spectra
from slamjax.survey import clients, collect_shards
from slamjax.survey.parts import shard_folders

#: Wanted: largest difference of a label, in its error.
WANTED = 1e-3
#: Labels that differ by more than this, in errors, at values of χ² that differ by less than this part are two minima of
#: which rounding decides: they are counted apart.
ELSEWHERE, SAME_CHI2 = 0.05, 1e-4


@dataclass(frozen=True)
class Labels:
    """Labels, errors, flags, iterations and χ² of stars, by source_id."""

    source_id: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    flags: np.ndarray
    n_iter: np.ndarray
    chi2: np.ndarray

    @classmethod
    def of(cls, table: Any) -> Labels:
        """Of a label table or a DataFrame."""

        def column(name: str) -> np.ndarray:
            return np.asarray(getattr(table[name], "value", table[name]))[order]

        order = np.argsort(np.asarray(table["source_id"]), kind="stable")
        values, errors = (
            np.stack([column(f"{name}{end}") for name in LABELS], 1).astype(float) for end in ("", "_err")
        )
        return cls(column("source_id"), values, errors, column("flags"), column("n_iter"), column("chi2"))


def differences(found: Labels, whole: Labels) -> dict[str, Any]:
    """The largest difference in errors and whose it is, and how many stars and flags differ."""
    assert np.array_equal(found.source_id, whole.source_id)
    off = np.abs(found.values - whole.values) / whole.errors
    off[np.isnan(found.values) & np.isnan(whole.values)] = 0  # both failed
    off = np.nan_to_num(off, nan=np.inf)
    ties = (off.max(axis=1) > ELSEWHERE) & (np.abs(found.chi2 / whole.chi2 - 1) < SAME_CHI2)
    tied = [f"{whole.source_id[k]}: {off[k].max():.1f}" for k in np.flatnonzero(ties)]
    off[ties] = 0
    star, label = np.unravel_index(int(np.argmax(off)), off.shape)
    return {
        "largest": float(off.max()),
        "star": int(whole.source_id[star]),
        "label": LABELS[label],
        "ties": tied,
        "iterations": (int(whole.n_iter[star]), int(found.n_iter[star])),
        "above": int(np.sum(off.max(axis=1) > WANTED)),
        "flags": int(np.sum(found.flags != whole.flags)),
        "other iterations": int(np.sum(found.n_iter != whole.n_iter)),
        "identical": float(np.mean(np.all(off == 0, axis=1))),
    }


def all_of(paths: list[str]) -> Spectra:
    """The spectra of all files, in random places on the sky."""
    parts = [slamjax.read_table(path) for path in paths]
    first = parts[0]
    table = vstack([part.table for part in parts])
    rng = np.random.default_rng(0)
    table["ra"] = rng.uniform(0, 360, len(table)) * u.deg
    table["dec"] = np.degrees(np.arcsin(rng.uniform(-1, 1, len(table)))) * u.deg
    flux, ivar = (np.concatenate([np.asarray(getattr(part, name)) for part in parts]) for name in ("flux", "ivar"))
    about = {"wave_unit": first.wave_unit, "medium": first.medium, "frame": first.frame, "flux_unit": first.flux_unit}
    return Spectra(first.wave, flux, ivar, table, **about)


def main() -> None:
    options = parse_options(__doc__ or "", n_stars=20_000, n_pixel_rows=1500)
    load, place, n = current_load(), options.cache / "survey", options.n_stars
    path = place / "xp.h5"
    place.mkdir(parents=True, exist_ok=True)
    apart(write_model, path)
    paths = write_stars(place / "same", n, options.seed)
    model = slamjax.Model.read(path)
    fitter = slamjax.Fitter(model)
    found: dict[str, Labels] = {}
    with tempfile.TemporaryDirectory(prefix="slamjax-same-") as name:
        folder = Path(name)

        def keep(how: str, table: Any) -> None:
            found[how] = Labels.of(table)
            if len(found) > 1:
                told = differences(found[how], found["one piece"])
                print(f"{how}: {told['largest']:.1e} ({told['label']} of star {told['star']})", flush=True)

        def run(how: str, size: int, *, by: slamjax.Fitter = fitter, of: Any = paths, **more: Any) -> None:
            out = folder / f"{how}.fits"
            slamjax.fit_survey(by, of, out, piece_size=size, **more)
            if out.exists():
                keep(how, slamjax.read_labels(out))

        fifty = -(-n // 50)
        run("one piece", n)
        run("the same again", n)
        run("fifty pieces", fifty)
        run("pieces of 1,024", 1024)
        run("pieces of 777", 777)
        run("pieces of 61", 61)
        run("small batches", n, by=slamjax.Fitter(model, memory=0.002))
        spectra = all_of(paths)
        shuffled = folder / "shuffled.parquet"
        slamjax.write_table(spectra[np.random.default_rng(options.seed).permutation(n)], shuffled)
        run("shuffled", fifty, of=[str(shuffled)])
        with clients.local(2, dashboard=False) as client:
            run("two workers", fifty, client=client)
        for k in (3, 1, 4, 2):
            run("four shards", -(-n // 40), shard=(k, 4))
        out = folder / "four shards.fits"
        collect_shards(shard_folders(out), out)
        keep("four shards", slamjax.read_labels(out))
        keep("LSDB, two workers", by_lsdb(path, spectra, folder, options.n_pixel_rows))
    whole = found.pop("one piece")
    results = {how: differences(labels, whole) for how, labels in found.items()}
    rows = [
        (
            how,
            f"{one['largest']:.1e}",
            f"{one['label']} of {one['star']}",
            one["above"],
            len(one["ties"]),
            one["flags"],
            one["other iterations"],
            f"{one['identical']:.1%}",
        )
        for how, one in results.items()
    ]
    header = ["run", "largest difference, errors", "of", f"stars above {WANTED:g}", "ties", "flags that differ"]
    header += ["stars with other iterations", "identical stars"]
    met = max(one["largest"] for one in results.values()) <= WANTED
    text = [
        f"{n:,} stars, compared with one piece:",
        markdown_table(header, rows),
        f"All differences are {'' if met else '**not** '}within {WANTED:g} of an error, but for ties: stars with "
        f"two minima whose χ² is the same to {SAME_CHI2:g} of it, so that rounding would decide.",
    ]
    write_results(options.out, "same_labels", {"stars": n}, {"differences": results}, text, load)


def by_lsdb(model: Path, spectra: Spectra, folder: Path, rows: int) -> Any:
    """Labels of the same stars in a catalogue by sky pixel, fitted and read again by LSDB."""
    import lsdb

    import_catalog(spectra, folder, rows)
    with clients.local(2, dashboard=False):
        write_labels_of(lsdb.open_catalog(folder / "xp"), model, folder / "xp_labels")
    return rows_of(lsdb.open_catalog(folder / "xp_labels"))


if __name__ == "__main__":
    main()

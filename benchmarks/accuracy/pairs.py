"""Two stars in one spectrum: how many pairs are found, and how many single stars are taken for pairs?

Real MILES spectra (`--miles`). Two halves of the library each train a model; stars of the other half are judged. Pairs
are sums of two real dwarfs of about the same [Fe/H]: the brighter one of 0.8 to 1.2 solar masses, the fainter one that
which is most like a star of q times its mass, by the main-sequence relations of Eker et al. (2018, MNRAS 479, 5491,
tables 4 and 5); light as radius² times the Planck function, so that its share varies with wavelength, which the fit
does not know. Both are shifted, and have photon noise. The threshold of ΔBIC was fixed before any of this was run;
beside it stands the one that half of the single stars would set, judged by the others. 5,000 to 5,600 Å.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

import slamjax
from benchmarks.accuracy.lamost import LABELS, SELECTION, SETTINGS, with_label_errors
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import fingerprint, parse_options
from slamjax._util.constants import LIGHT
from slamjax.fitting.pairs import TWO_STARS_BIC
from slamjax.spectra.spectra import Spectra
from slamjax.training.search import make_folds

RECIPE = slamjax.Recipe.make(wave_range=(5000, 5600), wave_unit="Angstrom", continuum="gaussian:50angstrom")
#: Wavelengths that are simulated, Å: shifted spectra reach beyond those that are fitted.
SIMULATED = (4950.0, 5650.0)
SNR = (20.0, 50.0, 100.0)
RATIOS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DIFFERENCES = (0.0, 50.0, 100.0, 200.0, 300.0)
#: Velocities of single stars and of the centres of pairs, km/s.
LARGEST_RV = 200.0
#: False pairs among single stars that are allowed.
WANTED = 0.01
DWARFS = "logg > 3.9 & teff > 3900 & teff < 6400"
#: Masses of the brighter stars.
PRIMARIES = (0.8, 1.2)
#: Differences of labels that count as one when stars are chosen.
SIMILAR = (100.0, 0.3, 0.15)
#: Solar Teff, K, and log g.
_SUN = 5772.0, 4.438


def main_sequence(mass: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radius (solar), Teff (K) and log g of masses (solar) from 0.45 to 1.5."""
    log_m = np.log10(mass)
    log_l = np.select(
        [mass <= 0.72, mass <= 1.05], [4.572 * log_m - 0.102, 5.743 * log_m - 0.007], 4.329 * log_m + 0.010
    )
    radius = 0.438 * mass**2 + 0.479 * mass + 0.075
    return radius, _SUN[0] * (10**log_l / radius**2) ** 0.25, _SUN[1] + log_m - 2 * np.log10(radius)


def brightness(radius: float, teff: float, wave: np.ndarray) -> np.ndarray:
    """Radius² times the Planck function, of wavelengths in Å, up to a constant."""
    return radius**2 / wave**5 / np.expm1(1.4388e8 / (wave * teff))


def at_velocity(stars: Spectra, flux: np.ndarray, rv: np.ndarray) -> np.ndarray:
    """Flux (N, P) shifted by velocities (N,)."""
    return np.stack([
        CubicSpline(stars.wave, one)(stars.wave / (1 + v / LIGHT)) for one, v in zip(flux, rv, strict=True)
    ])  # fmt: skip


def filled(stars: Spectra) -> np.ndarray:
    """Flux with a median in place of bad pixels."""
    return np.where(stars.good, stars.flux, np.median(stars.flux, axis=1, keepdims=True))


def noisy(stars: Spectra, flux: np.ndarray, snr: float, rng: np.random.Generator) -> Spectra:
    """Stars with this flux and photon noise of a given mean S/N."""
    level = np.median(flux, axis=1, keepdims=True)
    sigma = np.sqrt(np.maximum(flux / level, 0.05)) * level / snr
    return dataclasses.replace(
        stars, flux=flux + sigma * rng.normal(size=flux.shape), ivar=np.where(stars.good, sigma**-2.0, 0),
        frame="observed",
    )  # fmt: skip


def singles(stars: Spectra, snr: float, rng: np.random.Generator) -> Spectra:
    rv = rng.uniform(-LARGEST_RV, LARGEST_RV, len(stars))
    return noisy(stars, at_velocity(stars, filled(stars), rv), snr, rng)


def couples(
    stars: Spectra, ratio: float, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of brighter and of fainter stars, and shares of light (n, P) of the fainter ones."""
    labels = stars.values(LABELS)
    masses = np.linspace(0.45, 1.5, 400)
    of_mass = main_sequence(masses)[1]
    mass = np.interp(labels[:, 0], of_mass, masses)
    brighter = rng.choice(np.flatnonzero((mass > PRIMARIES[0]) & (mass < PRIMARIES[1])), n)
    shares, fainter = [], []
    for row in brighter:
        radius, teff, logg = main_sequence(np.array([mass[row], ratio * mass[row]]))
        wanted = np.array([teff[1], logg[1], labels[row, 2]])
        distance = np.sum(np.square((labels - wanted) / SIMILAR), axis=1)
        distance[row] = np.inf
        fainter.append(int(np.argmin(distance)))
        light = [brightness(r, t, stars.wave) for r, t in zip(radius, teff, strict=True)]
        shares.append(light[1] / (light[0] + light[1]))
    return brighter, np.array(fainter), np.array(shares)


def pairs_of(stars: Spectra, ratio: float, dv: float, n: int, rng: np.random.Generator) -> dict[str, Any]:
    """n pairs: their flux without noise, and what was put in."""
    brighter, fainter, share = couples(stars, ratio, n, rng)
    flux = filled(stars)
    flux = flux / np.median(flux, axis=1, keepdims=True)
    centre = rng.uniform(-LARGEST_RV, LARGEST_RV, n)
    sign = rng.choice([-1.0, 1.0], n)
    first, second = (
        at_velocity(stars, flux[rows] / smooth(flux[rows]), centre + sign * part * dv)
        for rows, part in ((brighter, -0.5), (fainter, 0.5))
    )
    total = ((1 - share) * first + share * second) * smooth(flux[brighter])
    return {"flux": total, "share": np.median(share, axis=1), "first": brighter, "second": fainter, "ratio": ratio,
            "dv": dv}  # fmt: skip


def smooth(flux: np.ndarray, degree: int = 8) -> np.ndarray:
    """A polynomial through each spectrum: what is light and what is lines."""
    x = np.linspace(-1, 1, flux.shape[1])
    basis = np.polynomial.chebyshev.chebvander(x, degree)
    return (basis @ np.linalg.lstsq(basis, flux.T, rcond=None)[0]).T


def trained(stars: Spectra, options: Any) -> slamjax.Model:
    """From the cache if it was trained before."""
    options.cache.mkdir(parents=True, exist_ok=True)
    file = options.cache / f"pairs-{fingerprint(stars, LABELS, (RECIPE, SETTINGS))}.h5"
    if not file.exists():
        slamjax.train(stars, LABELS, recipe=RECIPE, **SETTINGS).write(file)
    return slamjax.Model.read(file)


def main() -> None:
    options = parse_options(__doc__ or "", miles=None, n_pairs=40, times=2)
    if options.miles is None:
        raise SystemExit("give the MILES table by --miles")
    load = current_load()
    stars = slamjax.read_table(options.miles).select(SELECTION)
    stars = with_label_errors(stars[np.isfinite(stars.values(LABELS)).all(axis=1)])
    stars = stars.on_pixels((stars.wave > SIMULATED[0]) & (stars.wave < SIMULATED[1]))
    half = make_folds(stars.star_groups(), 2, options.seed)
    alone: dict[str, list[np.ndarray]] = {"set": [], "judged": []}
    found: list[dict[str, Any]] = []
    for k in range(2):
        model, others = trained(stars[half != k], options), stars[half == k]
        side = make_folds(others.star_groups(), 2, options.seed + 1)
        rng = np.random.default_rng(options.seed + k)
        for snr in SNR:
            some = others[np.tile(np.arange(len(others)), options.times)]
            delta = column(slamjax.fit_pairs(model, singles(some, snr, rng), on_progress=False), "delta_bic")
            every = np.column_stack([np.full(len(delta), snr), delta, some.values(LABELS)])
            of = np.tile(side, options.times)
            for name, part in (("set", 0), ("judged", 1)):
                alone[name].append(every[of == part])
            above = [np.nanquantile(alone["set"][-1][:, 1], share) for share in (0.9, 0.98, 0.99)]
            print(f"half {k + 1}: single stars of S/N {snr:g}, ΔBIC at 90, 98, 99 %: {above}", flush=True)
        dwarfs = others[side == 1].select(DWARFS)
        for snr in SNR:
            given = [pairs_of(dwarfs, q, dv, options.n_pairs, rng) for q in RATIOS for dv in DIFFERENCES]
            rows, flux = (np.concatenate([one[name] for one in given]) for name in ("first", "flux"))
            table = slamjax.fit_pairs(model, noisy(dwarfs[rows], flux, snr, rng), on_progress=False)
            for j, one in enumerate(given):
                some = table[j * options.n_pairs : (j + 1) * options.n_pairs]
                found.append(judged(some, one, dwarfs) | {"snr": snr, "ratio": one["ratio"], "dv": one["dv"]})
            print(f"half {k + 1}: pairs of S/N {snr:g} are fitted", flush=True)
    sets = {name: np.concatenate(parts) for name, parts in alone.items()}
    settings = {"library": len(stars), "pairs": 2 * options.n_pairs, "times": options.times, "seed": options.seed}
    results = {"singles": sets, "pairs": found, "threshold": TWO_STARS_BIC}
    write_results(options.out, "pairs", settings, results, told(sets, found), load)


def judged(table: Any, given: dict[str, Any], stars: Spectra) -> dict[str, Any]:
    """ΔBIC of pairs, and how far off the fitted velocities, labels and shares are."""
    labels = stars.values(LABELS)
    return {
        "delta_bic": column(table, "delta_bic"),
        "share": given["share"],
        "share_fitted": column(table, "light_2"),
        "teff_1": column(table, "teff_1") - labels[given["first"], 0],
        "teff_2": column(table, "teff_2") - labels[given["second"], 0],
        "found_dv": np.abs(column(table, "rv_2") - column(table, "rv_1")),
    }


def rate(delta: np.ndarray) -> float:
    """Share of ΔBIC above the threshold; where a fit did not converge nothing is said."""
    return float(np.mean(np.nan_to_num(delta, nan=-np.inf) > TWO_STARS_BIC))


def told(sets: dict[str, np.ndarray], found: list[dict[str, Any]]) -> list[str]:
    rows = []
    for snr in SNR:
        of = {name: each[each[:, 0] == snr, 1] for name, each in sets.items()}
        rows.append((f"{snr:g}", *(f"{100 * rate(each):.1f} % of {len(each):,}" for each in of.values()),
                     float(np.nanquantile(of["judged"], 0.99))))  # fmt: skip
    every = np.concatenate([each[:, 1] for each in sets.values()])
    own = float(np.nanquantile(sets["set"][:, 1], 1 - WANTED / 2))
    false = float(np.mean(np.nan_to_num(sets["judged"][:, 1], nan=-np.inf) > own))
    tables = [
        f"Single stars with ΔBIC above {TWO_STARS_BIC:g} (wanted: at most {WANTED:.0%}): {100 * rate(every):.2f} % of "
        f"{len(every):,}. Half of them would set the threshold that {WANTED / 2:.1%} of them exceed at {own:.1f}; of "
        f"the others {100 * false:.2f} % exceed that.\n\n"
        + markdown_table(["S/N", "one half", "the other", "99 % of ΔBIC below"], rows)
    ]
    for snr in SNR:
        grid = []
        for ratio in RATIOS:
            cells, share = [], 0.0
            for dv in DIFFERENCES:
                these = [one for one in found if (one["snr"], one["ratio"], one["dv"]) == (snr, ratio, dv)]
                cells.append(f"{100 * rate(np.concatenate([one['delta_bic'] for one in these])):.0f} %")
                share = float(np.median(np.concatenate([one["share"] for one in these])))
            grid.append((f"{ratio:g}", f"{share:.2f}", *cells))
        heads = ["mass ratio", "light of the fainter", *(f"Δv {dv:g} km/s" for dv in DIFFERENCES)]
        tables.append(f"Pairs found, S/N {snr:g}:\n\n" + markdown_table(heads, grid))
    tables.append(quality(found))
    return tables


def quality(found: list[dict[str, Any]]) -> str:
    """What the fits of the pairs that were found are worth."""
    rows = []
    for ratio in RATIOS:
        these = [one for one in found if one["ratio"] == ratio and one["dv"] >= 200]
        hit = np.concatenate([one["delta_bic"] > TWO_STARS_BIC for one in these])
        if hit.sum() < 5:
            continue
        off = {name: np.concatenate([one[name] for one in these])[hit] for name in ("teff_1", "teff_2", "share_fitted")}
        share = np.concatenate([one["share"] for one in these])[hit]
        dv = np.concatenate([one["found_dv"] - one["dv"] for one in these])[hit]
        rows.append((f"{ratio:g}", int(hit.sum()), robust_width(dv), robust_width(off["teff_1"]),
                     robust_width(off["teff_2"]), float(np.median(off["share_fitted"] - share))))  # fmt: skip
    heads = ["mass ratio", "pairs", "Δv, km/s", "Teff of the brighter, K", "of the fainter, K", "share: fitted − given"]
    return "Pairs found with Δv of 200 km/s or more: robust scatter of what is fitted.\n\n" + markdown_table(
        heads, rows
    )


if __name__ == "__main__":
    main()

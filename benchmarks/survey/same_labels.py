"""Are labels the same however a survey is divided? One piece, fifty, two workers, four shards joined.

XP-like stars; differences are in units of each star's own error, and the largest counts.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import LABELS, parse_options
from benchmarks.survey.xp_like import write_model, write_stars
from slamjax.survey import clients, collect_shards
from slamjax.survey.parts import shard_folders

#: Wanted: largest difference of a label, in its error.
WANTED = 1e-3


def differences(found: slamjax.LabelTable, whole: slamjax.LabelTable) -> tuple[float, float, int]:
    """The largest difference in errors, the share of stars above the wanted one, and how many flags differ."""
    assert np.array_equal(found["row"], np.arange(len(whole)))
    assert np.array_equal(found["source_id"], whole["source_id"])
    off = np.stack([np.abs((found[name] - whole[name]) / whole[f"{name}_err"]).value for name in LABELS], axis=1)
    both_failed = np.isnan(found[LABELS[0]]) & np.isnan(whole[LABELS[0]])
    off = np.where(both_failed[:, None], 0, np.nan_to_num(off, nan=np.inf)).max(axis=1)
    return float(off.max()), float(np.mean(off > WANTED)), int(np.sum(found["flags"] != whole["flags"]))


def main() -> None:
    options = parse_options(__doc__, n_stars=20_000)
    load, place, n = current_load(), options.cache / "survey", options.n_stars
    model = place / "xp.h5"
    place.mkdir(parents=True, exist_ok=True)
    write_model(model)
    paths = write_stars(place / "same", n, options.seed)
    fitter = slamjax.Fitter(slamjax.Model.read(model))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(how: str, size: int, **more: object) -> None:
            out = folder / f"{how}.fits"
            slamjax.fit_survey(fitter, paths, out, piece_size=size, **more)
            if out.exists():
                found[how] = slamjax.read_labels(out)

        run("one piece", n)
        run("fifty pieces", -(-n // 50))
        with clients.local(2) as client:
            run("two workers", -(-n // 50), client=client)
        for k in (3, 1, 4, 2):
            run("four shards", -(-n // 40), shard=(k, 4))
        out = folder / "four shards.fits"
        collect_shards(shard_folders(out), out)
        found["four shards"] = slamjax.read_labels(out)
    whole = found.pop("one piece")
    results = {how: differences(labels, whole) for how, labels in found.items()}
    rows = [(how, f"{most:.1e}", f"{share:.2%}", flags) for how, (most, share, flags) in results.items()]
    text = [
        f"{n:,} stars, compared with one piece:\n\n"
        + markdown_table(["run", "largest difference, errors", f"stars above {WANTED:g}", "flags that differ"], rows)
    ]
    write_results(options.out, "same_labels", {"stars": n}, {"differences": results}, text, load)


if __name__ == "__main__":
    main()

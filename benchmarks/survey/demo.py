"""A survey in three minutes: how many XP-like stars a second do two workers label, and does every star keep its labels?

Trains a model of the embedded giants, labels XP-like stars from Parquet by two processes, with the rate of the bare
Fitter beside it, and takes a catalogue by sky pixel (HATS) to one of labels and back. What it made is left in `--out`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import slamjax
from benchmarks.common.reporting import cell, markdown_table
from benchmarks.common.stars import LABELS, PUBLISHED, RECIPE, load_stars, parse_options
from benchmarks.survey.catalogue import import_catalog
from benchmarks.survey.hats_round_trip import CLOSE, draw, n_within, round_trip, timed, with_positions
from benchmarks.survey.measured import apart, in_gib, survey
from benchmarks.survey.throughput import bare
from benchmarks.survey.xp_like import write_stars
from slamjax.survey import clients

#: Stars of a piece.
PIECE = 1000


def main() -> None:
    options = parse_options(__doc__ or "", n_stars=20_000, bare_stars=2000, n_pixel_rows=400, workers=2)
    began, seconds, out = time.perf_counter(), dict[str, float](), options.out
    out.mkdir(parents=True, exist_ok=True)
    train, stars = load_stars(options)
    with tempfile.TemporaryDirectory(prefix="slamjax-demo-") as name:
        folder = Path(name)
        print(f"training a model of {len(train):,} giants", flush=True)
        with timed(seconds, "training"):
            model = slamjax.train(train, LABELS, emulator=PUBLISHED, recipe=RECIPE, noise="lowrank", on_progress=False)
        model.write(folder / "giants.h5")
        shutil.copy(folder / "giants.h5", out / "giants.h5")
        print(f"making {options.n_stars:,} XP-like stars", flush=True)
        with timed(seconds, "making stars"):
            few, paths = (
                write_stars(folder / str(n), n, options.seed) for n in (PIECE * options.workers, options.n_stars)
            )
        print(f"labels by {options.workers} processes", flush=True)
        with timed(seconds, "the survey, with the start of its workers"), clients.local(options.workers) as client:
            survey(client, folder / "giants.h5", few, folder / "few.parquet", piece_size=PIECE)
            run = survey(client, folder / "giants.h5", paths, out / "survey_labels.parquet", piece_size=PIECE)
        print("the bare Fitter", flush=True)
        with timed(seconds, "the bare Fitter"):
            alone = apart(bare, folder / "giants.h5", paths, min(options.bare_stars, options.n_stars))
        print("a catalogue by sky pixel, and back", flush=True)
        placed, _ = with_positions(stars)
        with timed(seconds, "importing a catalogue"):
            import_catalog(placed, folder, options.n_pixel_rows)
        partitions, table, matched, _ = round_trip(folder, seconds)
        direct = slamjax.fit(model, placed, on_progress=False)
        same = n_within(table, direct, model.label_names)
        draw(table, out / "survey_sky.png")
        shutil.rmtree(out / "survey_hats", ignore_errors=True)
        shutil.copytree(folder / "xp_labels", out / "survey_hats")
    rows = [
        ["stars of the survey", f"{run['stars']:,}"],
        [f"stars a second, {options.workers} processes", cell(run["rate"])],
        ["stars a second, the bare Fitter", cell(alone)],
        ["rate against the bare Fitter", f"{run['rate'] / alone:.2f}"],
        ["peak GiB: workers, client", in_gib(run["gib"])],
        ["stars of the catalogue; partitions", f"{len(placed)}; {partitions}"],
        ["stars that find themselves again", f"{matched} of {len(table)}"],
        [f"the same labels as by one fit, to {CLOSE:g} of an error", f"{same} of {len(table)}"],
        *([what, f"{spent:.0f} s"] for what, spent in seconds.items()),
        ["all together", f"{time.perf_counter() - began:.0f} s"],
    ]
    made = {
        "survey_labels.parquet": "labels of the survey (pandas, polars, slamjax.read_labels)",
        "survey_labels.parquet.report.json": "what the run did",
        "survey_hats": "labels as a catalogue by sky pixel (LSDB)",
        "survey_sky.png": "its stars on the sky",
        "giants.h5": "the model",
        "survey_summary.md": "this summary",
    }
    text = "\n\n".join(
        [
            "# A small survey",
            markdown_table(["what", "measured"], rows),
            "\n".join(f"- `{name}`: {what}" for name, what in made.items()),
        ]
    )
    (out / "survey_summary.md").write_text(text + "\n")
    print(f"\n{text}\n\nall of it in {out.resolve()}")


if __name__ == "__main__":
    main()

"""Options of sampling, which `sample` and `calibrate` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from slamjax.cli.groups import default
from slamjax.sampling import sample
from slamjax.sampling.sampler import Sampler

_PANEL = "Sampler"


@dataclass(frozen=True)
class SamplerSpec:
    sampler: Annotated[
        Sampler,
        typer.Option(
            help="Importance sampling, with NUTS where it falls short (auto), or one method.",
            rich_help_panel=_PANEL,
        ),
    ] = default(sample, "sampler")
    draws: Annotated[int, typer.Option(help="Draws per chain.", rich_help_panel=_PANEL)] = default(sample, "draws")
    chains: Annotated[int, typer.Option(help="Chains per star.", rich_help_panel=_PANEL)] = default(sample, "chains")
    warmup: Annotated[
        int, typer.Option(help="Warm-up steps before the draws of a chain (NUTS, HMC).", rich_help_panel=_PANEL)
    ] = default(sample, "warmup")

"""Options of who works: this process, processes of this machine, or a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from slamjax.cli.console import say_error
from slamjax.errors import SlamError

_PANEL = "Workers"


@dataclass(frozen=True)
class Cluster:
    """Who works: one of these, or this process."""

    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Work in N processes of this machine.", rich_help_panel=_PANEL),
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", help="Work by the workers of a Dask cluster.", rich_help_panel=_PANEL),
    ] = None
    slurm: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG.toml", help="Work in SLURM jobs, as this file says.", rich_help_panel=_PANEL),
    ] = None

    @property
    def chosen(self) -> list[str]:
        """The options that were given."""
        return [f"--{name}" for name in ("workers", "scheduler", "slurm") if getattr(self, name) is not None]

    @contextmanager
    def client(self, output: Path) -> Iterator[Any]:
        """A client of the chosen cluster; None for this process."""
        chosen = self.chosen
        if len(chosen) > 1:
            raise SlamError(f"{chosen[0]} and {chosen[1]} exclude each other; give one of them")
        if not chosen:
            yield None
            return
        from slamjax.survey import clients

        cluster: Any = None
        if self.workers is not None:
            cluster = clients.local(self.workers)
        elif self.scheduler is not None:
            cluster = clients.remote(self.scheduler)
        elif self.slurm is not None:
            cluster = clients.slurm(self.slurm)
        with cluster as client:
            say_error(f"dashboard: {client.dashboard_link}", style="dim")
            yield client

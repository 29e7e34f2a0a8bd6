"""The command `experiment`: run one of the experiments, or list them."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.errors import UnrollError
from training.cli.options import friendly_errors, parse_settings, say

if TYPE_CHECKING:
    from training.experiments.harness.outcome import AnyExperiment


def experiment(
    name: Annotated[str, typer.Argument(help="Name of the experiment; see --list.")] = "",
    list_all: Annotated[bool, typer.Option("--list", help="List the experiments.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny settings: runs in seconds, proves nothing.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override a setting: --set seeds=5")] = None,
    out: Annotated[Path, typer.Option(help="Folder for tables/NAME.md and figures/NAME.svg.")] = Path("experiments"),
) -> None:
    """Run an experiment that checks a textbook claim, and write a table and a figure.

    unroll experiment --list
    """
    overrides = parse_settings(settings or [])
    with friendly_errors():
        if importlib.util.find_spec("training.experiments") is None:
            raise UnrollError(
                "experiments are not part of the installed package: run this command in a checkout of the repository"
            )
        from training.experiments.catalogue import EXPERIMENTS

        if list_all or not name:
            for each in EXPERIMENTS.values():
                typer.echo(f"{each.name:<14}{each.question}")
            return
        if name not in EXPERIMENTS:
            close = difflib.get_close_matches(name, EXPERIMENTS, n=1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise UnrollError(f"unknown experiment {name!r}{hint} Choose one of {', '.join(EXPERIMENTS)}")
        _run(EXPERIMENTS[name], quick, overrides, out)


def _run(chosen: AnyExperiment, quick: bool, overrides: dict[str, Any], out: Path) -> None:
    """Run on one thread, so that times are comparable; print the tables, write the files."""
    from training.evaluation.torch_runner import one_thread
    from training.experiments.harness.publish import Facts, publish

    settings = with_overrides(chosen.quick if quick else chosen.full, overrides)
    say(chosen.question)
    started = time.process_time()
    with one_thread():
        outcome = chosen.run(settings, say)
    facts = Facts(chosen.name, settings, quick, time.process_time() - started)
    for table in outcome.tables:
        typer.echo(table.markdown() + "\n")
    for path in publish(outcome, facts, out):
        typer.echo(f"wrote {path}")


def with_overrides(settings: Any, overrides: dict[str, Any]) -> Any:
    """Settings with overrides applied. Lists in TOML become tuples.

    Raises:
        UnrollError: unknown setting, or a value of another type.
    """
    fields = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    changed = {key: tuple(value) if isinstance(value, list) else value for key, value in overrides.items()}
    for key, value in changed.items():
        if key not in fields:
            raise UnrollError(f"unknown setting {key!r}; choose one of {', '.join(fields)}")
        wanted = (int, float) if isinstance(fields[key], float) else type(fields[key])
        if not isinstance(value, wanted):
            raise UnrollError(f"{key} is {value!r}, but must have the type of {fields[key]!r}")
    return dataclasses.replace(settings, **changed)

"""The command `evaluate-keywords`: score a speech recogniser as a keyword spotter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from training.cli.names import bundle_at
from training.cli.options import AsJson, BundleArgument, ModelsFolder, friendly_errors, say


def evaluate_keywords(
    bundle: BundleArgument,
    table: Annotated[Path, typer.Argument(help="Tab-separated: stream, keyword, start_s, end_s; sounds beside it.")],
    keywords: Annotated[
        list[str] | None, typer.Option("--keyword", help="A keyword; repeatable.", show_default="all in the table")
    ] = None,
    most_per_hour: Annotated[float, typer.Option("--per-hour", min=0, help="False alarms allowed in an hour.")] = 1.0,
    picture: Annotated[Path | None, typer.Option(help="File for the curve, such as curve.png.")] = None,
    as_json: AsJson = False,
    models: ModelsFolder = Path("models"),
) -> None:
    """Find keywords in streams of sound: the share found against false alarms an hour.

    unroll evaluate-keywords digits-speech-en streams.tsv --per-hour 1 --picture curve.png

    The table has a row for each keyword said; a stream without any has one row with an empty keyword. A keyword counts
    as found if it is told of between its start and half a second after its end; everything else is a false alarm.
    The threshold is the best for these streams: measure it on others than those it will be judged by.
    """
    with friendly_errors():
        from training.evaluation.speech.keyword_report import score_keywords

        scores = score_keywords(bundle_at(bundle, models), table, keywords or (), most_per_hour, picture)
        if as_json:
            typer.echo(json.dumps(scores, ensure_ascii=False))
            return
        for key, value in scores.items():
            typer.echo(f"{key:<22} {value:.4g}" if isinstance(value, float) else f"{key:<22} {value}")
        if picture is not None:
            say(f"the curve: {picture}")

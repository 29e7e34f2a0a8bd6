"""The command `import`: a model that was trained elsewhere becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.errors import UnrollError
from training.cli.options import AsJson, ModelsFolder, friendly_errors, say
from training.fit.places import check_writable

AxesOption = Annotated[
    list[str] | None,
    typer.Option("--axes", help="Axes of an input, if they cannot be told: x=batch,time,5. Repeatable."),
]
DescribeOption = Annotated[
    list[str] | None,
    typer.Option("--describe", help='What an input or output holds: x="acceleration in m/s2". Repeatable.'),
]


def import_model(
    model: Annotated[Path, typer.Argument(help="ONNX file, such as model.onnx.")],
    name: Annotated[str, typer.Option("--name", help="Name of the bundle.", show_default="that of the file")] = "",
    models: ModelsFolder = Path("models"),
    axes: AxesOption = None,
    examples: Annotated[
        Path | None,
        typer.Option("--examples", help="Inputs to record, an .npz with an array [rows, ...] for each input."),
    ] = None,
    describe: DescribeOption = None,
    description: Annotated[str, typer.Option("--description", help="What the model is, for its card.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence of the weights.")] = "",
    language: Annotated[str, typer.Option("--language", help="Language of its texts.")] = "",
    max_steps: Annotated[int, typer.Option("--max-steps", min=1, help="Longest input in steps of time.")] = 512,
    inspect: Annotated[bool, typer.Option("--inspect", help="Print what was understood; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import a recurrent model that was trained elsewhere, and publish it as a bundle.

    What it is:     unroll import model.onnx --inspect

    As a bundle:    unroll import model.onnx --name my-lstm

    LSTM, GRU and Elman recurrences become state, so that inputs can be streamed. Batch and time are made free, lengths
    are added where padding would be read, and every answer is compared with that of the original before anything is
    published. No code of the file runs. See training/docs/importing.md for what can be imported.
    """
    with friendly_errors():
        from training.importing.import_model import open_file, parse_axes
        from training.importing.record import BundleFacts, publish_arrays
        from training.importing.report import report, report_json

        facts = BundleFacts(
            name=name or _name_of(model),
            source=model.name,
            description=description,
            language=language,
            licence=licence,
            max_input_tokens=max_steps,
            descriptions=_descriptions(describe or []),
        )
        if not inspect:
            check_writable(models, "--models")
        understanding = open_file(model, parse_axes(axes or []))
        if inspect:
            typer.echo(report_json(understanding) if as_json else report(understanding))
            return
        say(report(understanding))
        typer.echo(publish_arrays(understanding, facts, models, examples).path)


def _name_of(model: Path) -> str:
    """The name of a bundle from that of a file: lower case, with hyphens."""
    return "-".join("".join(char if char.isalnum() else " " for char in model.stem.lower()).split()) or "imported"


def _descriptions(settings: list[str]) -> dict[str, str]:
    pairs = [setting.partition("=") for setting in settings]
    for setting, (name, _, text) in zip(settings, pairs, strict=True):
        if not name or not text:
            raise UnrollError(f"--describe {setting}: it is NAME=TEXT, such as x=acceleration")
    return {name: text for name, _, text in pairs}

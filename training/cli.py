"""The commands that need the training extra. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import json
import signal
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer
from rich.console import Console

from service.bundle.manifest import TaskName
from service.errors import UnrollError
from training.datasets.options import Format, ReadOptions, TagField

app = typer.Typer(no_args_is_help=True, add_completion=False)
console = Console(stderr=True, highlight=False)

TASKS: tuple[TaskName, ...] = get_args(TaskName)
READING = "How to read the files"

FormatOption = Annotated[
    Format | None, typer.Option(help="Say the format instead of having it found.", rich_help_panel=READING)
]
TextColumn = Annotated[str | None, typer.Option(help="CSV, TSV, JSONL: the text's column.", rich_help_panel=READING)]
LabelColumn = Annotated[str | None, typer.Option(help="CSV, TSV, JSONL: the label's column.", rich_help_panel=READING)]
SourceColumn = Annotated[str | None, typer.Option(help="Translation: the source's column.", rich_help_panel=READING)]
TargetColumn = Annotated[str | None, typer.Option(help="Translation: the target's column.", rich_help_panel=READING)]
TagFieldOption = Annotated[
    TagField | None, typer.Option(help="CoNLL-U: which field is the tag.", rich_help_panel=READING)
]
TagColumn = Annotated[
    int | None, typer.Option(help="CoNLL: the tag's column, from 1; -1 is the last.", rich_help_panel=READING)
]
ModelsFolder = Annotated[Path, typer.Option("--models", help="Where bundles are published.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe by name or .toml file, or a task for files of your own.")],
    train_file: Annotated[str, typer.Option("--train", help="Your labelled file (or folder, or a.en,a.de).")] = "",
    dev_file: Annotated[str, typer.Option("--dev", help="Your dev file; without it a part of train is kept.")] = "",
    name: Annotated[str, typer.Option(help="What the model shall be called.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a value of the recipe: --set training.epochs=5")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder for run folders.")] = Path("runs"),
    models: ModelsFolder = Path("models"),
    export_after: Annotated[bool, typer.Option("--export/--no-export", help="Publish the bundle at the end.")] = True,
    overwrite: Annotated[bool, typer.Option(help="Start anew where a run of this name is.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Check recipe and data, print the effective recipe, stop.")] = False,
    device: Device = "auto",
    format: FormatOption = None,  # noqa: A002 - the option is called --format
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    source_column: SourceColumn = None,
    target_column: TargetColumn = None,
    tag_field: TagFieldOption = None,
    tag_column: TagColumn = None,
) -> None:
    """Train a model and publish it as a bundle.

    From a shipped recipe:   unroll train pos-en

    From your own files:     unroll train tagging --train a.conllu --dev b.conllu --name mine

    Tasks: tagging (CoNLL-U, CoNLL columns, seq.in/seq.out folders), classification (CSV, TSV, JSONL), translation
    (TSV, CSV, two line-aligned files), generation (plain text).
    """
    from training.config import find_recipe, load_recipe

    read = read_options(
        format=format,
        text_column=text_column,
        label_column=label_column,
        source_column=source_column,
        target_column=target_column,
        tag_field=tag_field,
        tag_column=tag_column,
    )
    overrides = parse_settings(settings or [])
    with friendly_errors():
        if recipe in TASKS:
            from training.own_data import own_recipe

            if not train_file:
                raise UnrollError(f"--train is missing: which file shall {recipe} learn from?")
            chosen = own_recipe(cast(TaskName, recipe), name, train_file, dev_file, read, overrides)
        else:
            if train_file or dev_file:
                raise UnrollError(f"--train and --dev go with a task ({', '.join(TASKS)}), not with a recipe")
            overrides |= {"name": name} if name else {}
            chosen = load_recipe(find_recipe(recipe), overrides)
        from training.run import choose_device, prepare_run, start_run

        prepared = prepare_run(chosen)
        if prepared.data.remark:
            console.print(prepared.data.remark)
        if dry_run:
            typer.echo(chosen.model_dump_json(indent=2, exclude_none=True))
            return
        run = start_run(prepared, runs / chosen.name, overwrite)
        _train_and_publish(run, choose_device(device), models if export_after else None, resume=False)


@app.command()
def resume(
    run_folder: Annotated[Path, typer.Argument(help="The run folder, such as runs/pos-en.")],
    models: ModelsFolder = Path("models"),
    export_after: Annotated[bool, typer.Option("--export/--no-export", help="Publish the bundle at the end.")] = True,
    device: Device = "auto",
) -> None:
    """Go on with a run that was stopped, with the very updates that would have come without the stop."""
    with friendly_errors():
        from training.run import choose_device, open_run

        run = open_run(run_folder)
        _train_and_publish(run, choose_device(device), models if export_after else None, resume=True)


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(help="The run folder, such as runs/pos-en.")],
    models: ModelsFolder = Path("models"),
    fp32: Annotated[bool, typer.Option("--fp32", help="Store weights in single precision: twice the size.")] = False,
) -> None:
    """Write the best weights of a run as a bundle: graphs, tokenizer, examples, card; verified, then published."""
    with friendly_errors():
        from training.run import open_run

        _publish(open_run(run_folder), models, half=not fp32)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle folder, such as models/pos-en/1.")],
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="Compare with torch too, from the run it was made of.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that a bundle's graphs do what they must, at several batch sizes and lengths."""
    with friendly_errors():
        from training.verify import verify_bundle

        network = None
        if run_folder is not None:
            from training.run import trained_network

            network = trained_network(run_folder)
        report = verify_bundle(bundle, network)
        facts = {"passed": report.passed, "checks": report.checks, "failures": report.failures}
        typer.echo(json.dumps(facts) if as_json else report.summary())
        if not report.passed:
            raise typer.Exit(1)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle folder, such as models/pos-en/1.")],
    file: Annotated[str, typer.Argument(help="A labelled file, a seq.in/seq.out folder, or a.en,a.de.")],
    as_json: AsJson = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Records run together; changes no score.")] = 32,
    parameter: Annotated[
        list[str] | None, typer.Option(help="A parameter of the request: --parameter num_beams=1")
    ] = None,
    format: FormatOption = None,  # noqa: A002 - the option is called --format
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    source_column: SourceColumn = None,
    target_column: TargetColumn = None,
    tag_field: TagFieldOption = None,
    tag_column: TagColumn = None,
) -> None:
    """Score a bundle on a labelled file, through onnxruntime.

    Percentages: accuracy, f1 (spans as conlleval counts them), bleu, chrf (sacrebleu). Loss is in nats per token.
    """
    read = read_options(
        format=format,
        text_column=text_column,
        label_column=label_column,
        source_column=source_column,
        target_column=target_column,
        tag_field=tag_field,
        tag_column=tag_column,
    )
    with friendly_errors():
        from training.evaluate import evaluate_bundle

        parameters = parse_settings(parameter or [])
        scores = evaluate_bundle(bundle, file, read, batch_size=batch_size, parameters=parameters)
        if as_json:
            typer.echo(json.dumps(scores, ensure_ascii=False))
            return
        for key, value in scores.items():
            typer.echo(f"{key:<22} {value:.4f}" if isinstance(value, float) else f"{key:<22} {value}")


def read_options(**given: Any) -> ReadOptions:
    """Only what the user said; the rest is left to the readers, or to the data set's own options."""
    return ReadOptions(**{name: value for name, value in given.items() if value is not None})


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """`key=value` pairs; a value is read as TOML (numbers, true, quoted text), else taken as text."""
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{setting!r} is not of the form key=value")
        try:
            parsed[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed[key] = value
    return parsed


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Deliberate errors become one line and an exit code; everything else stays a traceback, for it is a bug."""
    try:
        yield
    except UnrollError as error:
        console.print(f"[bold red]error:[/] {_escaped(str(error))}", soft_wrap=True)
        # A shell expects 128 + signal of a command that a signal ended.
        stopped_by = getattr(error, "signal_number", None)
        sys.exit(2 if stopped_by is None else 128 + int(signal.Signals(stopped_by)))


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _train_and_publish(run: Any, device: Any, models: Path | None, *, resume: bool) -> None:
    from training.run import describe, train_run

    console.print(describe(run, device))
    progress = train_run(run, device, resume=resume)
    console.print(f"best epoch {progress.best_epoch} after {progress.seconds / 60:.1f} minutes; run: {run.folder.path}")
    if models is not None:
        _publish(run, models)


def _publish(run: Any, models: Path, half: bool = True) -> None:
    from training.data import may_ship
    from training.run import publish_run

    console.print("writing graphs, verifying, scoring on dev through onnxruntime ...")
    exported = publish_run(run, models, console.print, half)
    if not may_ship(run.recipe):
        console.print("[yellow]note:[/] the licence of this data set is unclear; do not give the bundle away")
    typer.echo(f"published {exported.path}  (largest parity difference {exported.report.max_difference:.1e})")

"""The commands that need the training extra. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console

from service.bundle.manifest import TaskName, VariantName
from service.errors import UnrollError
from training.cli_options import (
    AsJson,
    ColumnOption,
    Device,
    ExportAfter,
    FormatOption,
    ModelsFolder,
    RunFolderArgument,
    console,
    friendly_errors,
    parse_settings,
    read_options,
    say,
)
from training.datasets.options import ReadOptions

if TYPE_CHECKING:
    import torch

    from training.config import Recipe
    from training.run import Run

app = typer.Typer(no_args_is_help=True, add_completion=False)

TASKS: tuple[TaskName, ...] = get_args(TaskName)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe by name or .toml file, or a task for files of your own.")],
    train_file: Annotated[str, typer.Option("--train", help="Your labelled file, folder, or a.en,a.de.")] = "",
    dev_file: Annotated[str, typer.Option("--dev", help="Your dev file; without it a part of train is kept.")] = "",
    name: Annotated[str, typer.Option(help="What the model shall be called.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a value of the recipe: --set training.epochs=5")
    ] = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    runs: Annotated[Path, typer.Option(help="Folder for run folders.")] = Path("runs"),
    models: ModelsFolder = Path("models"),
    export_after: ExportAfter = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew where a run of this name is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check recipe and data, print the recipe, stop.")] = False,
    device: Device = "auto",
) -> None:
    """Train a model and publish it as a bundle.

    From a shipped recipe:   unroll train pos-en

    From your own files:     unroll train tagging --train a.conllu --dev b.conllu --name mine

    Tasks: tagging (CoNLL-U, CoNLL columns, seq.in/seq.out folders), classification (CSV, TSV, JSONL), translation
    (TSV, CSV, two line-aligned files), generation (plain text).
    """
    read = read_options(file_format, columns)
    overrides = parse_settings(settings or [])
    with friendly_errors():
        chosen = _choose_recipe(recipe, name, train_file, dev_file, read, overrides)
        from training.run import choose_device, prepare_run, start_run

        chosen_device = choose_device(device)
        prepared = prepare_run(chosen)
        if prepared.data.remark:
            say(prepared.data.remark)
        if dry_run:
            typer.echo(chosen.model_dump_json(indent=2, exclude_none=True))
            return
        run = start_run(prepared, runs / chosen.name, overwrite)
        _train_and_publish(run, chosen_device, models if export_after else None, resuming=False)


@app.command()
def resume(
    run_folder: RunFolderArgument,
    models: ModelsFolder = Path("models"),
    export_after: ExportAfter = True,
    device: Device = "auto",
) -> None:
    """Go on with a run that was stopped, with the very updates that would have come without the stop."""
    with friendly_errors():
        from training.run import choose_device, open_run

        run = open_run(run_folder)
        _train_and_publish(run, choose_device(device), models if export_after else None, resuming=True)


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="The run folder, such as runs/pos-en; or a bundle, to add a form to.")],
    models: ModelsFolder = Path("models"),
    fp32: Annotated[bool, typer.Option("--fp32", help="Store weights in single precision: twice the size.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Add graphs with 8-bit weights, if dev scores as well.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Accept the bundle in bf16, if dev scores as well.")] = False,
) -> None:
    """Write the best weights of a run as a bundle: graphs, tokenizer, examples, card; verified, then published.

    A faster form is added to a bundle that is published already by `unroll export --int8 models/pos-en/1`.
    """
    asked: dict[VariantName, bool] = {"bf16": bf16, "int8": int8}
    wanted = [name for name, is_asked in asked.items() if is_asked]
    with friendly_errors():
        from service.bundle.load import MANIFEST_FILE

        bundle = source
        if not (source / MANIFEST_FILE).is_file():
            from training.run import open_run

            bundle = _publish(open_run(source), models, half=not fp32)
        elif not wanted or fp32:
            raise UnrollError(f"{source} is a bundle already; --int8 or --bf16 adds a faster form to it")
        for name in wanted:
            _add_variant(bundle, name)


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
        from training.run import trained_network
        from training.verify import verify_bundle

        report = verify_bundle(bundle, None if run_folder is None else trained_network(run_folder))
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
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", help="A parameter of the request: --parameter num_beams=1")
    ] = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
) -> None:
    """Score a bundle on a labelled file, through onnxruntime.

    Percentages: accuracy, f1 (spans as conlleval counts them), bleu, chrf (sacrebleu). Loss is in nats per token.
    """
    read = read_options(file_format, columns)
    with friendly_errors():
        from training.evaluate import evaluate_bundle

        asked = parse_settings(parameters or [])
        scores = evaluate_bundle(bundle, file, read, batch_size=batch_size, parameters=asked)
        if as_json:
            typer.echo(json.dumps(scores, ensure_ascii=False))
            return
        for key, value in scores.items():
            typer.echo(f"{key:<22} {value:.4f}" if isinstance(value, float) else f"{key:<22} {value}")


@app.command("check-data")
def check_data(
    task: Annotated[str, typer.Argument(help=f"What the data is for: {', '.join(TASKS)}.")],
    train_file: Annotated[str, typer.Option("--train", help="The training file, folder, or a.en,a.de.")],
    dev_file: Annotated[str | None, typer.Option("--dev", help="The dev file.")] = None,
    test_file: Annotated[str | None, typer.Option("--test", help="The test file.")] = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    as_json: AsJson = False,
) -> None:
    """Look for faults before training: file and line of each, balance, lengths, unknown words, repeats, leaks."""
    read = read_options(file_format, columns)
    known = {name: name for name in TASKS}
    if task not in known:
        raise typer.BadParameter(f"there is no task {task!r}; there are {', '.join(TASKS)}")
    with friendly_errors():
        from training import check_data as checking

        report = checking.run(known[task], train_file, dev_file, test_file, read)
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            checking.render(report, Console())
        raise typer.Exit(report.exit_code)


def _choose_recipe(
    recipe: str, name: str, train_file: str, dev_file: str, read: ReadOptions, overrides: dict[str, Any]
) -> Recipe:
    """A shipped recipe or TOML file, or the defaults of a task for the user's own files."""
    from training.config import find_recipe, load_recipe
    from training.own_data import own_recipe

    tasks = {task: task for task in TASKS}
    if recipe in tasks:
        if not train_file:
            raise UnrollError(f"--train is missing: which file shall {recipe} learn from?")
        return own_recipe(tasks[recipe], name, train_file, dev_file, read, overrides)
    if train_file or dev_file:
        raise UnrollError(f"--train and --dev go with a task ({', '.join(TASKS)}), not with a recipe")
    return load_recipe(find_recipe(recipe), overrides | ({"name": name} if name else {}))


def _train_and_publish(run: Run, device: torch.device, models: Path | None, *, resuming: bool) -> None:
    from training.run import describe, train_run

    say(describe(run, device))
    progress = train_run(run, device, resume=resuming)
    say(f"best epoch {progress.best_epoch} after {progress.seconds / 60:.1f} minutes; run: {run.folder.path}")
    if models is not None:
        _publish(run, models)


def _publish(run: Run, models: Path, half: bool = True) -> Path:
    from training.data import may_ship
    from training.run import publish_run

    say("writing graphs, verifying, scoring on dev through onnxruntime ...")
    exported = publish_run(run, models, say, half)
    if not may_ship(run.recipe):
        console.print("[yellow]note:[/] the licence of this data set is unclear; do not give the bundle away")
    typer.echo(f"published {exported.path}  (largest parity difference {exported.report.max_difference:.1e})")
    return exported.path


def _add_variant(bundle: Path, name: VariantName) -> None:
    from training.quantise import add_variant

    say(f"{name}: writing, then scoring dev in fp32 and in {name} ...")
    add_variant(bundle, name, say)
    typer.echo(f"accepted {bundle} in {name}")

"""The commands that need the training extra. Each imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from service.bundle.manifest import VariantName
from service.errors import UnrollError
from training.cli.experiment import experiment
from training.cli.options import (
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
from training.cli.recipe import TASKS, DevFile, NameOption, RecipeArgument, SetOption, TrainFile, choose_recipe
from training.cli.series import leave_one_out, seeds
from training.cli.tuning import RunsFolder, find_lr, search

if TYPE_CHECKING:
    import torch

    from training.fit.distributed import Workers
    from training.pipeline.run import Prepared, Run

app = typer.Typer(no_args_is_help=True, add_completion=False)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start anew where a run of this name is.")]


app.command()(experiment)
app.command("find-lr")(find_lr)
app.command()(search)
app.command()(seeds)
app.command("leave-one-out")(leave_one_out)


@app.command()
def train(
    recipe: RecipeArgument,
    train_file: TrainFile = "",
    dev_file: DevFile = "",
    name: NameOption = "",
    settings: SetOption = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    runs: RunsFolder = Path("runs"),
    models: ModelsFolder = Path("models"),
    export_after: ExportAfter = True,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the data, try a few updates, say what a run needs; write nothing.")
    ] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="As --set training.deterministic=true: repeatable on a GPU too.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Train a model and publish it as a bundle.

    From a shipped recipe:   unroll train pos-en

    From your own files:     unroll train tagging --train a.conllu --dev b.conllu --name mine

    On several GPUs:         torchrun --nproc-per-node 4 -m training train pos-en
    """
    read = read_options(file_format, columns)
    wishes = [*(settings or []), *(["training.deterministic=true"] if deterministic else [])]
    with friendly_errors():
        chosen, records = choose_recipe(recipe, name, train_file, dev_file, read, wishes)
        from training.fit.distributed import joined_workers
        from training.pipeline.run import choose_device, prepare_run, shared_run, start_run

        chosen_device = choose_device(device)
        if dry_run:
            _rehearse(prepare_run(chosen, train=records), chosen_device)
            return
        with joined_workers(chosen_device) as workers:
            workers.check_batch_size(chosen.training.batch_size)
            path = runs / chosen.name
            prepare = partial(prepare_run, chosen, train=records)
            run = shared_run(lambda: start_run(_said(prepare()), path, overwrite), path, workers)
            _train_and_publish(run, chosen_device, models if export_after else None, workers)


@app.command()
def resume(
    run_folder: RunFolderArgument,
    models: ModelsFolder = Path("models"),
    export_after: ExportAfter = True,
    device: Device = "auto",
) -> None:
    """Go on with a run that was stopped, with the very updates that would have come without the stop."""
    with friendly_errors():
        from training.fit.distributed import joined_workers
        from training.pipeline.run import choose_device, open_run, shared_run

        chosen_device = choose_device(device)
        with joined_workers(chosen_device) as workers:
            run = shared_run(lambda: open_run(run_folder), run_folder, workers)
            _train_and_publish(run, chosen_device, models if export_after else None, workers, resuming=True)


@app.command()
def retrain(
    run_folder: RunFolderArgument,
    into: Annotated[Path | None, typer.Option(help="Where to; RUN_FOLDER-again unless told otherwise.")] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Do a finished run again from its folder alone, on data that is checked to be the same, and compare the weights.

    Exits with 1 where they differ. On a CPU, with the same libraries and threads, they are equal to the bit.
    """
    with friendly_errors():
        from training.fit.distributed import ALONE
        from training.pipeline.retrain import begin_again, compare_runs
        from training.pipeline.run import choose_device

        path = into or run_folder.with_name(f"{run_folder.name}-again")
        _train_and_publish(begin_again(run_folder, path, overwrite), choose_device(device), None, ALONE)
        comparison = compare_runs(run_folder, path)
        typer.echo(comparison.summary())
        if not comparison.is_equal:
            raise typer.Exit(1)


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
            from training.pipeline.run import open_run

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
        from training.pipeline.run import trained_network
        from training.publish.verify import verify_bundle

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
    analysis: Annotated[
        Path | None, typer.Option(help="Write confusion matrix, errors by kind and attention into this folder.")
    ] = None,
) -> None:
    """Score a bundle on a labelled file, through onnxruntime.

    Percentages: accuracy, f1 (spans as conlleval counts them), bleu, chrf (sacrebleu). Loss is in nats per token.
    """
    read = read_options(file_format, columns)
    with friendly_errors():
        from training.evaluation.evaluate import analyse_bundle, evaluate_bundle

        asked = parse_settings(parameters or [])
        if analysis is None:
            scores = evaluate_bundle(bundle, file, read, batch_size=batch_size, parameters=asked)
        else:
            scores = analyse_bundle(bundle, file, analysis, read, batch_size=batch_size, parameters=asked, say=say)
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
        from training.data import check as checking

        report = checking.run(known[task], train_file, dev_file, test_file, read)
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            checking.render(report, Console())
        raise typer.Exit(report.exit_code)


def _rehearse(prepared: Prepared, device: torch.device) -> None:
    """The recipe on stdout, what a run of it needs on stderr."""
    from training.pipeline.dry_run import rehearse

    typer.echo(_said(prepared).recipe.model_dump_json(indent=2, exclude_none=True))
    say(rehearse(prepared, device).summary())


def _said(prepared: Prepared) -> Prepared:
    """The same, once its remark about the data is told."""
    if prepared.data.remark:
        say(prepared.data.remark)
    return prepared


def _train_and_publish(
    run: Run, device: torch.device, models: Path | None, workers: Workers, *, resuming: bool = False
) -> None:
    from training.pipeline.run import describe, train_run

    if not workers.is_first:
        train_run(run, device, resuming, workers)
        return
    say(describe(run, device) + (f", by {workers.count} workers" if workers.count > 1 else ""))
    progress = train_run(run, device, resuming, workers)
    say(f"best epoch {progress.best_epoch} after {progress.seconds / 60:.1f} minutes; run: {run.folder.path}")
    if models is not None:
        _publish(run, models)


def _publish(run: Run, models: Path, half: bool = True) -> Path:
    from training.pipeline.run import publish_run, sources_of_start
    from training.preprocessing.load_records import may_ship

    say("writing graphs, verifying, scoring on dev through onnxruntime ...")
    exported = publish_run(run, models, say, half)
    if not may_ship(run.recipe, sources_of_start(run)):
        console.print("[yellow]note:[/] the licence of this data set is unclear; do not give the bundle away")
    typer.echo(f"published {exported.path}  (largest parity difference {exported.report.max_difference:.1e})")
    return exported.path


def _add_variant(bundle: Path, name: VariantName) -> None:
    from training.publish.variants import add_variant

    say(f"{name}: writing, then scoring dev in fp32 and in {name} ...")
    add_variant(bundle, name, say)
    typer.echo(f"accepted {bundle} in {name}")

"""Training commands. Each imports its libraries when it runs, so that `--help` stays fast."""

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
    RunsFolder,
    console,
    friendly_errors,
    parse_settings,
    read_options,
    say,
)
from training.cli.recipe import TASKS, DevFile, NameOption, RecipeArgument, SetOption, TrainFile, choose_recipe
from training.cli.series import leave_one_out, seeds
from training.cli.tuning import find_lr, search

if TYPE_CHECKING:
    import torch

    from training.fit.distributed import Workers
    from training.pipeline.run import Prepared, Run

app = typer.Typer(no_args_is_help=True, add_completion=False)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")]


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
        bool,
        typer.Option("--dry-run", help="Read the data, try a few updates, estimate a full run; write nothing."),
    ] = False,
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="Reproducible to the bit on a GPU too, but slower."),
    ] = False,
    device: Device = "auto",
) -> None:
    """Train a model and publish it as a bundle.

    Shipped recipe:    unroll train pos-en

    Your own files:    unroll train tagging --train a.conllu --dev b.conllu --name mine

    Several GPUs:      torchrun --nproc-per-node 4 -m training train pos-en
    """
    overrides = [*(settings or []), *(["training.deterministic=true"] if deterministic else [])]
    with friendly_errors():
        chosen, records = choose_recipe(recipe, name, train_file, dev_file, read, overrides)
        from training.fit.distributed import joined_workers
        from training.pipeline.run import choose_device, prepare_run, shared_run, start_run

        chosen_device = choose_device(device)
        if dry_run:
            _dry_run(prepare_run(chosen, train=records), chosen_device)
            return
        with joined_workers(chosen_device) as workers:
            workers.check_batch_size(chosen.training.batch_size)
            path = runs / chosen.name
            prepare = partial(prepare_run, chosen, train=records)
            run = shared_run(lambda: start_run(_with_remark(prepare()), path, overwrite), path, workers)
            _train_and_publish(run, chosen_device, models if export_after else None, workers)


@app.command()
def resume(
    run_folder: RunFolderArgument,
    models: ModelsFolder = Path("models"),
    export_after: ExportAfter = True,
    device: Device = "auto",
) -> None:
    """Resume an interrupted run. The weights become the same as without the interruption.

    unroll resume runs/pos-en
    """
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
    into: Annotated[Path | None, typer.Option(help="Folder of the new run.  [default: RUN_FOLDER-again]")] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Repeat a finished run from its folder, on the same data (verified by digest), and compare the weights.

    unroll retrain runs/pos-en

    Exits with 1 if the weights differ. On a CPU, with the same libraries and number of threads, they are bit-identical.
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
    source: Annotated[Path, typer.Argument(help="Run folder, such as runs/pos-en; or a bundle to add a variant to.")],
    models: ModelsFolder = Path("models"),
    fp32: Annotated[bool, typer.Option("--fp32", help="Store weights in single precision: twice the size.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Add 8-bit graphs, if the dev score holds.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Allow bf16 for the bundle, if the dev score holds.")] = False,
) -> None:
    """Export the best weights of a run as a bundle (graphs, tokenizer, examples, model card), verify and publish it.

    unroll export runs/pos-en

    Add a faster variant to a published bundle: unroll export --int8 models/pos-en/1
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
            raise UnrollError(f"{source} is a bundle already; add a faster variant with --int8 or --bf16")
        for name in wanted:
            _add_variant(bundle, name)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, such as models/pos-en/1.")],
    run_folder: Annotated[
        Path | None, typer.Option("--run", help="Also compare with PyTorch: the run that was exported.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify the graphs of a bundle at several batch sizes and sequence lengths.

    unroll verify models/pos-en/1 --run runs/pos-en
    """
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
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, such as models/pos-en/1.")],
    file: Annotated[str, typer.Argument(help="Labelled file, folder with seq.in and seq.out, or a.en,a.de.")],
    as_json: AsJson = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Records per batch; does not change scores.")] = 32,
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", help="Request parameter, such as num_beams=1; repeatable.")
    ] = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    analysis: Annotated[
        Path | None, typer.Option(help="Folder for a confusion matrix, errors by kind and attention maps.")
    ] = None,
) -> None:
    """Evaluate a bundle on a labelled file with onnxruntime.

    unroll evaluate models/pos-en/1 dev.conllu

    Percentages: accuracy, f1 (spans counted as in conlleval), bleu and chrf (sacrebleu). The loss is in nats per token.
    """
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
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(TASKS)}.")],
    train_file: Annotated[str, typer.Option("--train", help="Training file, folder, or a.en,a.de.")],
    dev_file: Annotated[str | None, typer.Option("--dev", help="Dev file.")] = None,
    test_file: Annotated[str | None, typer.Option("--test", help="Test file.")] = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    as_json: AsJson = False,
) -> None:
    """Check labelled files before training: faults by line, label balance, lengths, duplicates, leaks between splits.

    unroll check-data tagging --train a.conllu --dev b.conllu
    """
    known = {name: name for name in TASKS}
    if task not in known:
        raise typer.BadParameter(f"unknown task {task!r}; choose one of {', '.join(TASKS)}")
    with friendly_errors():
        from training.data import check as checking

        report = checking.run(known[task], train_file, dev_file, test_file, read)
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            checking.render(report, Console())
        raise typer.Exit(report.exit_code)


def _dry_run(prepared: Prepared, device: torch.device) -> None:
    """Print the recipe to stdout, and what a run of it needs to stderr."""
    from training.pipeline.dry_run import dry_run

    typer.echo(_with_remark(prepared).recipe.model_dump_json(indent=2, exclude_none=True))
    say(dry_run(prepared, device).summary())


def _with_remark(prepared: Prepared) -> Prepared:
    """Print the remark about the data, if any, to stderr."""
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

    say("writing graphs, verifying, scoring dev with onnxruntime ...")
    exported = publish_run(run, models, say, half)
    if not may_ship(run.recipe, sources_of_start(run)):
        console.print("[yellow]note:[/] the licence of the data is unclear: do not redistribute the bundle")
    typer.echo(f"published {exported.path}  (largest parity difference {exported.report.max_difference:.1e})")
    return exported.path


def _add_variant(bundle: Path, name: VariantName) -> None:
    from training.publish.variants import add_variant

    say(f"{name}: writing, then scoring dev in fp32 and in {name} ...")
    add_variant(bundle, name, say)
    typer.echo(f"accepted {bundle} in {name}")

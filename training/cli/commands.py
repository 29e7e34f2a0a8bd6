"""Training commands. Each imports its libraries when it runs, so that `--help` stays fast."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from service.bundle.manifest import VariantName
from service.errors import UnrollError
from training.cli.check_data import check_data
from training.cli.experiment import experiment
from training.cli.foreign.import_command import import_model
from training.cli.keywords import evaluate_keywords
from training.cli.names import bundle_at, run_at
from training.cli.options import (
    AsJson,
    BundleArgument,
    ColumnOption,
    Device,
    ExportAfter,
    FormatOption,
    ModelsFolder,
    RunFolderArgument,
    RunsFolder,
    friendly_errors,
    parse_settings,
    read_options,
    say,
)
from training.cli.parser_graphs import add_to_parser
from training.cli.recipe import (
    DevFile,
    Files,
    FreezeOption,
    FromOption,
    NameOption,
    OldDevOption,
    RecipeArgument,
    ReplayOption,
    ReplayShareOption,
    SetOption,
    Start,
    TrainFile,
    choose,
)
from training.cli.running import (
    Attempt,
    Beginning,
    ExamplesFile,
    ExamplesFromDev,
    Publication,
    PublishIfBetter,
    example_settings,
    publish,
    reopened,
    train_and_publish,
    train_choice,
    with_remark,
)
from training.cli.series import leave_one_out, seeds
from training.cli.synthesize import synthesize_app
from training.cli.tuning import find_lr, search
from training.fit.places import check_writable
from training.fit.run_lock import locked_run

app = typer.Typer(no_args_is_help=True, add_completion=False)

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the run folder of the same name; published bundles stay.")
]
ResumeIfBegun = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue the run of this name and recipe if there is one, else begin it: for restarted jobs."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read the data, try a few updates, estimate a full run; write nothing.")
]
Deterministic = Annotated[
    bool, typer.Option("--deterministic", help="Reproducible to the bit on a GPU too, but slower.")
]


app.command("check-data")(check_data)
app.command()(experiment)
app.command("import")(import_model)
app.command("evaluate-keywords")(evaluate_keywords)
app.command("find-lr")(find_lr)
app.command()(search)
app.command()(seeds)
app.command("leave-one-out")(leave_one_out)
app.add_typer(synthesize_app, name="synthesize")


@app.command()
def train(
    recipe: RecipeArgument = "",
    train_file: TrainFile = "",
    dev_file: DevFile = "",
    name: NameOption = "",
    settings: SetOption = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    start_from: FromOption = None,
    freeze: FreezeOption = "",
    replay: ReplayOption = "",
    replay_share: ReplayShareOption = None,
    old_dev: OldDevOption = "",
    runs: RunsFolder = Path("runs"),
    models: ModelsFolder = Path("models"),
    export_after: ExportAfter = True,
    only_if_better: PublishIfBetter = False,
    examples: ExamplesFile = None,
    examples_from_dev: ExamplesFromDev = False,
    overwrite: Overwrite = False,
    go_on: ResumeIfBegun = False,
    dry_run: DryRun = False,
    deterministic: Deterministic = False,
    device: Device = "auto",
) -> None:
    """Train a model and publish it as a bundle.

    Shipped recipe:    unroll train pos-en

    Your own files:    unroll train tagging --train a.conllu --dev b.conllu --name mine

    A published model: unroll train --from ner-en --train a.conllu --dev b.conllu

    Publishes models/NAME/1, or the next free version; --publish-if-better only where a cheap baseline is beaten (exit
    status 1 otherwise).

    Several GPUs:      torchrun --nproc-per-node 4 -m training train pos-en

    Several machines:  see "Several nodes" in training/docs/clusters.md
    """
    overrides = [*(settings or []), *(["training.deterministic=true"] if deterministic else [])]
    with friendly_errors():
        overrides += example_settings(examples, examples_from_dev)
        files = Files(name, train_file, dev_file, read_options(file_format, columns))
        start = Start(start_from, freeze, replay, replay_share, old_dev)
        choice = Attempt(lambda: choose(recipe, files, overrides, start, models, runs))
        if dry_run:
            _dry_run(choice, device)
            return
        places = Publication(models if export_after else None, only_if_better)
        train_choice(choice, device, partial(Beginning, runs=runs, places=places, overwrite=overwrite, resume=go_on))


@app.command()
def resume(
    run_folder: RunFolderArgument,
    models: ModelsFolder = Path("models"),
    export_after: ExportAfter = True,
    only_if_better: PublishIfBetter = False,
    device: Device = "auto",
    runs: RunsFolder = Path("runs"),
) -> None:
    """Resume an interrupted run. The weights become the same as without the interruption.

    unroll resume pos-en

    Publishes a run that was finished but not published; leaves one alone that was.
    """
    with friendly_errors():
        from training.fit.distributed import joined_workers
        from training.pipeline.run import choose_device
        from training.pipeline.shared_run import shared_run

        chosen_device = choose_device(device)
        places = Publication(models if export_after else None, only_if_better)
        with joined_workers(chosen_device) as workers, ExitStack() as held:
            path = workers.from_first(lambda: run_at(run_folder, runs))
            run = shared_run(lambda: reopened(path, places, held), path, workers)
            train_and_publish(run, chosen_device, workers, places, resuming=True)


@app.command()
def retrain(
    run_folder: RunFolderArgument,
    into: Annotated[Path | None, typer.Option(help="Folder of the new run.  [default: RUN_FOLDER-again]")] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    runs: RunsFolder = Path("runs"),
) -> None:
    """Repeat a finished run from its folder, on the same data (verified by digest), and compare the weights.

    unroll retrain runs/pos-en

    Exits with 1 if the weights differ. On a CPU, with the same libraries and number of threads, they are bit-identical.
    """
    with friendly_errors():
        from training.fit.distributed import ALONE
        from training.pipeline.retrain import begin_again, compare_runs
        from training.pipeline.run import choose_device

        original = run_at(run_folder, runs)
        path = into or original.with_name(f"{original.name}-again")
        check_writable(path, "--into")
        with locked_run(path):
            train_and_publish(begin_again(original, path, overwrite), choose_device(device), ALONE)
        comparison = compare_runs(original, path)
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
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Add the hidden state to a bundle that was published without it.")
    ] = False,
    lemmas: Annotated[
        bool, typer.Option("--lemmas", help="Add lemmas to the bundle of a parser that was published without them.")
    ] = False,
    segmenter: Annotated[
        bool, typer.Option("--segmenter", help="Train the cutting of raw text for a parser's bundle; add it.")
    ] = False,
    language_model: Annotated[
        Path | None,
        typer.Option(help="Run of a language model that a speech recogniser is published with, for beam search."),
    ] = None,
    grammar: Annotated[
        str, typer.Option(help="Give the bundle of a translation a grammar, by name or file, that answers parse by.")
    ] = "",
    runs: RunsFolder = Path("runs"),
) -> None:
    """Export the best weights of a run as a bundle (graphs, tokenizer, examples, model card), verify and publish it.

    unroll export runs/pos-en

    A published version is never replaced: the next free one is taken.

    Add a faster variant to a published bundle: unroll export --int8 models/pos-en/1

    Let an older bundle give embeddings, its weights unchanged: unroll export --hidden models/pos-en/1

    Let a parser give the lemmas of its treebank, all else unchanged: unroll export --lemmas models/parse-en/1

    Let it cut raw text into sentences and words, too: unroll export --segmenter models/parse-en/1

    A speech recogniser with a language model: unroll export runs/speech-en --language-model runs/speech-lm-en

    Let a translation write only what a grammar parses, weights unchanged: unroll export --grammar sql models/sql-en/1
    """
    asked: dict[VariantName, bool] = {"bf16": bf16, "int8": int8}
    wanted = [name for name, is_asked in asked.items() if is_asked]
    with friendly_errors():
        from service.bundle.load import MANIFEST_FILE

        if grammar:
            _add_grammar(bundle_at(source, models), grammar)
            return
        bundle = source
        if hidden:
            bundle = _add_hidden_state(bundle_at(source, models))
        elif lemmas or segmenter:
            bundle = add_to_parser(bundle_at(source, models), lemmas, segmenter)
        elif not (source / MANIFEST_FILE).is_file():
            from training.pipeline.pretrained.fused_language_model import adopt_language_model
            from training.pipeline.run import open_run

            check_writable(models, "--models")
            run = open_run(run_at(source, runs))
            if language_model is not None:
                adopt_language_model(run.folder, run_at(language_model, runs))
            bundle = publish(run, models, half=not fp32)
        elif not wanted or fp32:
            raise UnrollError(f"{source} is a bundle already; add a faster variant with --int8 or --bf16")
        for name in wanted:
            _add_variant(bundle, name)


@app.command()
def verify(
    bundle: BundleArgument,
    run_folder: Annotated[
        Path | None,
        typer.Option("--run", help="Also compare with PyTorch: the exported run, by name or path."),
    ] = None,
    as_json: AsJson = False,
    models: ModelsFolder = Path("models"),
    runs: RunsFolder = Path("runs"),
) -> None:
    """Verify the graphs of a bundle at several batch sizes and sequence lengths.

    unroll verify pos-en --run pos-en
    """
    with friendly_errors():
        from training.pipeline.run import trained_network
        from training.publish.verify import verify_bundle

        network = None if run_folder is None else trained_network(run_at(run_folder, runs))
        report = verify_bundle(bundle_at(bundle, models), network)
        facts = {"passed": report.passed, "checks": report.checks, "failures": report.failures}
        typer.echo(json.dumps(facts) if as_json else report.summary())
        if not report.passed:
            raise typer.Exit(1)


@app.command()
def evaluate(
    bundle: BundleArgument,
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
    models: ModelsFolder = Path("models"),
) -> None:
    """Evaluate a bundle on a labelled file with onnxruntime.

    unroll evaluate pos-en dev.conllu

    Columns and format are those of the training unless options or the file say otherwise. Scores have 95 % confidence
    intervals where they are shares.

    Percentages: accuracy, f1 (spans counted as in conlleval), bleu and chrf (sacrebleu). The loss is in nats per token.
    """
    with friendly_errors():
        from training.evaluation.evaluate import analyse_bundle, evaluate_bundle

        read, asked = read_options(file_format, columns), parse_settings(parameters or [])
        path = bundle_at(bundle, models)
        if analysis is None:
            scores = evaluate_bundle(path, file, read, batch_size=batch_size, parameters=asked)
        else:
            scores = analyse_bundle(path, file, analysis, read, batch_size=batch_size, parameters=asked, say=say)
        if as_json:
            typer.echo(json.dumps(scores, ensure_ascii=False))
            return
        for key, value in scores.items():
            typer.echo(f"{key:<22} {_shown(value)}")


def _shown(value: Any) -> str:
    """A score as text."""
    if isinstance(value, dict):
        return "; ".join(f"{name} {low:.1f} to {high:.1f}" for name, (low, high) in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _dry_run(choice: Attempt, device: str) -> None:
    """Print the recipe to stdout, and what a run of it needs to stderr."""
    from training.pipeline.dry_run import dry_run
    from training.pipeline.run import choose_device, prepare_run

    chosen_device, chosen = choose_device(device), choice.outcome()
    prepared = with_remark(prepare_run(chosen.recipe, train=chosen.train))
    typer.echo(prepared.recipe.model_dump_json(indent=2, exclude_none=True))
    say(dry_run(prepared, chosen_device).summary())


def _add_hidden_state(bundle: Path) -> Path:
    from training.publish.hidden_state import add_hidden_state

    say(f"{bundle}: adding the hidden state, then verifying ...")
    published = add_hidden_state(bundle)
    typer.echo(f"{published} gives its hidden state; every other output is unchanged")
    return published


def _add_grammar(bundle: Path, name_or_path: str) -> None:
    from training.config.grammar import read_grammar
    from training.publish.additions.grammar import add_grammar

    say(f"{bundle}: adding the grammar, then scoring and verifying ...")
    added = add_grammar(bundle, read_grammar(name_or_path), say)
    typer.echo(
        f"{added.path} answers what its grammar parses; its weights are unchanged, and {added.num_changed} of its "
        f"{added.num_examples} recorded answers changed"
    )


def _add_variant(bundle: Path, name: VariantName) -> None:
    from training.publish.variants import add_variant

    say(f"{name}: writing, then scoring dev in fp32 and in {name} ...")
    add_variant(bundle, name, say)
    typer.echo(f"accepted {bundle} in {name}")

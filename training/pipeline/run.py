"""A run from recipe to published bundle, in order of execution.

prepare_run recipe -> records -> vocabulary
start_run   network -> run folder
Trainer.fit (see trainer.py)
publish_run best weights -> graphs -> verified -> scored through onnxruntime beside a baseline -> models/
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from service.bundle.load import MANIFEST_FILE, load_bundle, read_manifest
from service.bundle.manifest import DataSource, Score, TrainingFacts
from service.errors import UnrollError
from service.inference.runtime.ort_runner import OrtRunner
from training.config.recipe import Recipe
from training.data.records import Record
from training.evaluation.analysis.interval import in_words
from training.evaluation.analysis.report import write_analysis
from training.evaluation.dev_scorer import DevScorer
from training.evaluation.evaluate import evaluate_records
from training.evaluation.predictions import Prediction
from training.evaluation.task import Question, TrainingTask
from training.fit.checkpoint import Progress, load_weights, read_progress
from training.fit.coordination import WorkersLost
from training.fit.distributed import ALONE, Workers
from training.fit.environment import hardware, library_versions, torch_settings
from training.fit.places import check_room, refusal
from training.fit.run_folder import RunFolder
from training.fit.trackers import open_trackers
from training.fit.trainer import DevScore, Trainer
from training.networks.build import build_network
from training.networks.network import Network
from training.onnx_graph.manifest_draft import draft_bundle
from training.pipeline.data_remarks import check_learnable, hints, remarks
from training.pipeline.fine_tuning.begin import adopt_parent, vocabulary_from, weights_from
from training.pipeline.fine_tuning.parent import Parent, open_parent
from training.pipeline.fine_tuning.scores import parent_facts, scores_after
from training.pipeline.pretrained.character_models import read_character_models
from training.pipeline.pretrained.fused_language_model import (
    adopt_language_model,
    fused,
    fused_draft,
    language_model_of,
    sources_of_language_model,
)
from training.pipeline.pretrained.starting_weights import (
    adopt_weights,
    check_fits,
    sources_of_starting_weights,
    starting_vocabulary,
)
from training.pipeline.pretrained.word_vectors import sources_of_vectors, starting_vectors
from training.pipeline.room import room_of
from training.pipeline.verdict import NotPublished, Verdict, judge, strongest
from training.preprocessing.batching import TrainingSet
from training.preprocessing.load_records import RunData, load_data
from training.preprocessing.tensor_file import CheckpointFault
from training.preprocessing.vocabulary import Vocabulary
from training.publish.export import Exported, export_bundle
from training.tasks.catalogue import training_task
from training.tasks.invented import invented_records

DEVICES = ("auto", "cpu", "cuda")

Say = Callable[[str], None]

#: How PyTorch says that memory is used up, or that a size is beyond any memory.
_OF_MEMORY = re.compile(r"allocate memory|out of memory|not enough memory|[Ss]torage size|overflow", re.IGNORECASE)


@dataclass(frozen=True)
class Prepared:
    """Recipe, data and vocabulary of a run, before the network and the folder exist."""

    task: TrainingTask[Any]
    recipe: Recipe
    data: RunData
    vocabulary: Vocabulary
    parent: Parent | None = None


@dataclass(frozen=True)
class Run:
    """An open run: data, network and folder."""

    task: TrainingTask[Any]
    recipe: Recipe
    data: RunData
    vocabulary: Vocabulary
    folder: RunFolder
    network: Network


def prepare_run(recipe: Recipe, original: Vocabulary | None = None, train: Sequence[Record] | None = None) -> Prepared:
    """Read the data and fit the vocabulary on its training part.

    `train` holds the records of the recipe's own training file if it has been read already. Character models come from
    `original`, the vocabulary of a run that is repeated, or else from the folders that the recipe names.
    """
    task = training_task(recipe)
    data = load_data(task, recipe, train)
    check_learnable(data)
    data = replace(data, remark="\n".join(filter(None, (data.remark, *remarks(data), *hints(recipe, data)))))
    if recipe.start.model:
        parent = open_parent(recipe.start)
        grown = vocabulary_from(parent, recipe, data.train)
        data = replace(data, remark="\n".join(filter(None, (data.remark, *grown.remarks))))
        return Prepared(task, recipe, data, grown.vocabulary, parent)
    vectors = starting_vectors(recipe.tokenizer.vectors) if recipe.tokenizer.vectors else None
    if start := task.start_from(recipe):
        vocabulary = starting_vocabulary(recipe, Path(start), data.train)
    else:
        vocabulary = task.fit_vocabulary(recipe, data.train, vectors)
    folders = task.character_models(recipe)
    if folders:
        vocabulary = _with_character_models(vocabulary, folders, original)
    return Prepared(task, recipe, data, vocabulary)


def _with_character_models(vocabulary: Vocabulary, folders: Sequence[str], original: Vocabulary | None) -> Vocabulary:
    """The vocabulary with pretrained character models and their character ids."""
    if original is not None:
        models, alphabet = original.character_models, original.tokenizers["characters"]
    else:
        models, alphabet = read_character_models(folders)
    return replace(vocabulary, tokenizers={**vocabulary.tokenizers, "characters": alphabet}, character_models=models)


def start_run(prepared: Prepared, path: Path, overwrite: bool = False) -> Run:
    """Create the network and the folder of a new run.

    Raises:
        UnrollError: the network does not fit into memory, the folder holds a run, or its disk has too little room.
    """
    recipe, vocabulary = prepared.recipe, prepared.vocabulary
    with memory_in_words("the network"):
        network = build_network(prepared.task, recipe, vocabulary)
    start = prepared.task.start_from(recipe)
    if start:
        check_fits(network, Path(start))
    if prepared.parent:
        weights_from(prepared.parent, network, recipe, vocabulary)
    check_room(path, room_of(network), "--runs")
    folder = RunFolder.create(path, recipe, vocabulary, prepared.data.source, overwrite)
    if start:
        adopt_weights(folder, Path(start))
    if prepared.parent:
        adopt_parent(folder, prepared.parent, recipe, network, prepared.data.dev)
    if language_model := prepared.task.language_model(recipe):
        adopt_language_model(folder, Path(language_model))
    return Run(prepared.task, recipe, prepared.data, vocabulary, folder, network)


@contextmanager
def memory_in_words(what: str) -> Iterator[None]:
    """Turn PyTorch's errors about memory into an UnrollError that says what to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not _OF_MEMORY.search(str(error)):
            raise
        raise UnrollError(
            f"{what} does not fit into memory ({str(error).strip().splitlines()[0][:200]}): try a smaller "
            "training.batch_size, or smaller sizes in [network]"
        ) from error


def open_run(path: Path) -> Run:
    """Open an existing run folder, without loading weights."""
    folder = RunFolder(path)
    recipe, vocabulary = folder.recipe(), folder.vocabulary()
    task = training_task(recipe)
    data = load_data(task, recipe)
    folder.check_data(data.source)
    return Run(task, recipe, data, vocabulary, folder, build_network(task, recipe, vocabulary))


def trained_network(path: Path) -> Network:
    """The network of a run with its best weights, without the data."""
    folder = RunFolder(path)
    recipe = folder.recipe()
    network = build_network(training_task(recipe), recipe, folder.vocabulary())
    load_weights(folder.best_weights, network)
    language_model = language_model_of(folder)
    return fused(network, trained_network(language_model.path)) if language_model else network


def describe(run: Run, device: torch.device) -> str:
    """A run in one line, shown before it starts."""
    parameters = sum(parameter.numel() for parameter in run.network.parameters())
    return (
        f"{run.recipe.name}: {run.recipe.task} on {run.data.source.name}, {len(run.data.train):,} train and "
        f"{len(run.data.dev):,} dev records, {parameters:,} weights, on {device.type}, in {run.folder.path}"
    )


def choose_device(wanted: str = "auto") -> torch.device:
    """CUDA if there is a GPU, else the CPU. Raises UnrollError for CUDA without a GPU and for unknown names."""
    if wanted not in DEVICES:
        raise UnrollError(f"--device {wanted}: there are {', '.join(DEVICES)}")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UnrollError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def train_run(run: Run, device: torch.device, resume: bool = False, workers: Workers = ALONE) -> Progress:
    """Train to the end, from the start or from the folder's checkpoint."""
    data = run.task.training_set(run.recipe, run.vocabulary, run.data.train)
    scorer = DevScorer(run.task, run.recipe, run.vocabulary, run.data.dev)
    return fit(run, data, scorer, device, resume, workers)


def fit(
    run: Run,
    data: TrainingSet,
    score: Callable[[Network], DevScore],
    device: torch.device,
    resume: bool = False,
    workers: Workers = ALONE,
) -> Progress:
    """`train_run` with other batches and another dev score."""
    # On a CPU oneDNN caches a kernel with its buffers per shape, 1024 by default, and batches of text have more shapes
    # than that. A translator held 1.8 GB after 360 updates and 3.8 GB at the end of its run; with this bound 1.3 GB
    # after 360, at 0 to 9 % less speed.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    config = run.recipe.training
    with ExitStack() as stack:
        stack.enter_context(_stops_in_words(run.folder))
        stack.enter_context(memory_in_words("a batch"))
        stack.enter_context(torch_settings(config.threads, config.deterministic))
        if workers.is_first:
            run.folder.trackers = stack.enter_context(open_trackers(run.folder.path, run.recipe))
        if run.folder.starting_weights.is_file():
            load_weights(run.folder.starting_weights, run.network)
        trainer = Trainer(run.network, data, config, run.folder, score, device, workers)
        if resume:
            trainer.resume(run.folder.checkpoint)
        return trainer.fit()


@contextmanager
def _stops_in_words(folder: RunFolder) -> Iterator[None]:
    """Turn what ends a run, such as a full disk, into an UnrollError that says how to go on."""
    try:
        yield
    except OSError as error:
        raise UnrollError(f"the run has stopped: {refusal(error)}; then {folder.how_to_go_on()}") from error
    except (CheckpointFault, WorkersLost) as error:
        raise UnrollError(f"the run has stopped: {error}; then {folder.how_to_go_on()}") from error


def publish_run(run: Run, models_root: Path, say: Say, half: bool = True, *, only_if_better: bool = False) -> Exported:
    """Export, verify and score the best weights of a run, and publish them as a new version.

    Raises:
        ParityFailed: graphs and network differ.
        NotPublished: the score is not better than the baseline, with `only_if_better`.
        UnrollError: the disk is full or not writable; the weights are kept, and can be exported later.
    """
    try:
        exported = _export(run, models_root, say, half, only_if_better)
        run.folder.note_published(exported.path, load_bundle(exported.path).digest)
    except OSError as error:
        again = f"`unroll export {shlex.quote(str(run.folder.path))}`"
        raise UnrollError(f"not published: {refusal(error)}; the weights are kept, {again} publishes them") from error
    return exported


def _export(run: Run, models_root: Path, say: Say, half: bool, only_if_better: bool) -> Exported:
    load_weights(run.folder.best_weights, run.network.cpu())
    options = run.task.options(run.recipe, run.vocabulary)
    draft, network = draft_bundle(run.recipe, run.vocabulary, options, training_facts(run)), run.network
    if language_model := language_model_of(run.folder):
        draft = fused_draft(draft, language_model)
        network = fused(network, trained_network(language_model.path))
    return export_bundle(
        network,
        draft,
        questions_of(run),
        models_root,
        half=half,
        score=lambda staged: scores_after(
            run.folder, run.task, run.recipe, staged, score_bundle(staged, run, say, only_if_better), say
        ),
    )


def published_before(folder: RunFolder, models_root: Path) -> Path | None:
    """The bundle under `models_root` that was published from a run; None if there is none, or none any more."""
    noted = [Path(entry["path"]) for entry in folder.published() if "path" in entry]
    name, config = folder.recipe().name, folder.recipe().model_dump(mode="json")
    root = models_root.absolute()
    for path in (*reversed(noted), *sorted((root / name).glob("*"))):
        is_there = path.parents[1] == root and (path / MANIFEST_FILE).is_file()
        # Earlier versions noted nothing.
        if is_there and (path in noted or read_manifest(path).training.config == config):
            return models_root / name / path.name
    return None


def questions_of(run: Run) -> list[Question]:
    """The inputs of the bundle's examples: those of the recipe; of dev if it is public, or if the recipe says so.

    Records of a user's own files stay out of the bundle: its examples are invented.
    """
    recipe = run.recipe
    if recipe.data.dataset or recipe.examples or recipe.examples_from_dev:
        return run.task.questions(recipe, run.data.dev)
    return run.task.questions(recipe, invented_records(recipe, run.data.train, run.data.dev))


def score_bundle(bundle_path: Path, run: Run, say: Say, only_if_better: bool = False) -> tuple[Score, ...]:
    """Scores of the bundle on dev through onnxruntime, each with its interval and the strongest baseline; the verdict.

    Raises:
        NotPublished: the score is not better than the baseline, with `only_if_better`.
    """
    bundle = load_bundle(bundle_path)
    runner = OrtRunner(bundle, "cpu", threads=1)
    task, predictions = run.task, list[Prediction[Any]]()
    asked, dev = task.analysis_parameters, run.data.dev
    scores = evaluate_records(task, bundle, runner, dev, parameters=asked, progress=True, keep=predictions.append)
    page = write_analysis(run.folder.path / "analysis", run.recipe.name, task.analyse(predictions))
    if page is not None:
        say(f"what it gets wrong: {page}")
    tokenizer = bundle.tokenizers.get("text")
    encode = tokenizer.encode if tokenizer else None
    baselines = task.baselines(run.data.train, dev, encode, bundle.manifest.options)
    deciding = task.deciding_measure(scores, run.recipe.training.chosen_by)
    baseline = strongest(baselines, deciding)
    crude = [other for other in baselines if other is not baseline]
    reported = []
    for name in filter(scores.__contains__, task.reported):
        own = task.own_baselines.get(name)
        cheap, rival = (scores.get(own.measure), own.name) if own else (baseline.measures.get(name), baseline.name)
        cruder = ", ".join(f"{other.name} {other.measures[name]:.4g}" for other in crude if name in other.measures)
        interval = task.interval(name, predictions)
        signature = str(scores.get(f"{name}_signature", cruder))
        detail = "; ".join(filter(None, (in_words(interval) if interval else "", signature)))
        reported.append(Score(measure=name, value=scores[name], baseline=cheap, baseline_name=rival, detail=detail))
        beside = f" ({rival}: {cheap:.4g}{', ' * bool(cruder)}{cruder})" if cheap is not None else ""
        spread = f" [{in_words(interval)}]" if interval else ""
        say(f"dev {name} {scores[name]:.4g}{spread}{beside}")
    if deciding:
        verdict = judge(deciding, scores[deciding], task.interval(deciding, predictions), baseline)
        _tell(verdict, run, say, only_if_better)
    return tuple(reported)


def _tell(verdict: Verdict, run: Run, say: Say, only_if_better: bool) -> None:
    """Say the verdict, and what may help where it is not good. Raises NotPublished, see `score_bundle`."""
    say(verdict.sentence)
    if verdict.outcome not in ("better", "unknown"):
        for hint in hints(run.recipe, run.data):
            say(f"hint: {hint}")
    if only_if_better and not verdict.beats_baseline:
        path = shlex.quote(str(run.folder.path))
        raise NotPublished(
            f"not published, as it does not beat the baseline; `unroll export {path}` publishes it all the same"
        )


def sources_of_start(run: Run) -> tuple[DataSource, ...]:
    """Data sources of pretrained weights: vectors, character models, first weights and language model of speech."""
    models = run.vocabulary.character_models
    of_words = (*sources_of_vectors(run.recipe.tokenizer.vectors), *(models.sources if models else ()))
    return (*of_words, *sources_of_starting_weights(run.folder), *sources_of_language_model(run.folder))


def training_facts(run: Run) -> TrainingFacts:
    """Origin of the weights, for manifest and card."""
    progress = read_progress(run.folder.checkpoint)
    return TrainingFacts(
        parent=parent_facts(run.folder),
        data=(run.data.source, *sources_of_start(run)),
        recipe=run.recipe.name,
        config=run.recipe.model_dump(mode="json"),
        seed=run.recipe.seed,
        epochs=progress.best_epoch,
        minutes=round(progress.seconds / 60, 1),
        hardware=hardware(run.recipe.training.threads),
        library_versions=library_versions(),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )

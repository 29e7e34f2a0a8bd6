"""Score a bundle on labelled records with the service's own task code: through onnxruntime, without torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.bundle.load import Bundle, load_bundle
from service.tasks.core.task import Runner
from training.data.formats.faults import DataFault
from training.data.formats.options import ReadOptions
from training.data.public.catalogue import NAMED_DATASETS
from training.data.read import read_records
from training.data.records import Record
from training.evaluation.analysis.report import write_analysis
from training.evaluation.answers import Advance, Job, Scores
from training.evaluation.predictions import Keep, Prediction, forget
from training.evaluation.task import EvaluationTask
from training.evaluation.tasks.catalogue import evaluation_task


def evaluate_bundle(
    bundle_path: Path,
    data_path: str | Path,
    options: ReadOptions | None = None,
    runner: Runner | None = None,
    *,
    batch_size: int = 32,
    parameters: Mapping[str, Any] | None = None,
    progress: bool = True,
    keep: Keep = forget,
) -> Scores:
    """Score a bundle on a file, a `seq.in/seq.out/label` folder or two line-aligned files (`a.en,a.de`).

    `runner` defaults to onnxruntime; anything with `run(graph, feeds)` will do. `parameters` are those of a request
    (`num_beams` and the like). `keep` is called with the prediction for each record. What `options` leave open is read
    as in the training of the bundle, if the file can be read so. The scores have `interval_95` where it is known.

    Raises:
        BundleError: the bundle cannot be used.
        DataFault: the file cannot be read; names the line.
        InvalidInput: a parameter is wrong.
    """
    bundle = load_bundle(Path(bundle_path))
    task = evaluation_task(bundle.manifest)
    records = _read(task, bundle, data_path, options or ReadOptions())
    if runner is None:
        from service.inference.runtime.ort_runner import OrtRunner

        runner = OrtRunner(bundle, threads=0)
    predictions: list[Prediction[Any]] = []

    def keep_too(prediction: Prediction[Any]) -> None:
        predictions.append(prediction)
        keep(prediction)

    scores = evaluate_records(
        task, bundle, runner, records, batch_size=batch_size, parameters=parameters, progress=progress, keep=keep_too
    )
    found = {name: task.interval(name, predictions) for name in task.reported if name in scores}
    intervals = {name: list(interval) for name, interval in found.items() if interval}
    return {**scores, "interval_95": intervals} if intervals else scores


def _read(task: EvaluationTask[Any], bundle: Bundle, data_path: str | Path, options: ReadOptions) -> list[Record]:
    """The records of a file, read as those of training were; as the file itself suggests where that fails."""
    name, wanted = task.name, task.read_options(bundle, options)
    remembered = _remembered(bundle, wanted)
    if remembered == wanted:
        return read_records(name, data_path, wanted)
    try:
        return read_records(name, data_path, remembered)
    except DataFault as fault:
        try:
            return read_records(name, data_path, wanted)
        except DataFault:
            raise fault from None


def _remembered(bundle: Bundle, options: ReadOptions) -> ReadOptions:
    """The options, completed with those of the training: of the recipe, or of the public data set."""
    data = bundle.manifest.training.config.get("data")
    if not isinstance(data, dict):
        return options
    entry = NAMED_DATASETS.get(str(data.get("dataset", "")))
    of_set = entry.options.model_dump(exclude_defaults=True) if entry else {}
    of_recipe = data.get("read")
    known = {**of_set, **(of_recipe if isinstance(of_recipe, dict) else {})}
    given = options.model_fields_set
    usable = {key: value for key, value in known.items() if key in ReadOptions.model_fields and key not in given}
    kept = {key: value for key, value in usable.items() if value != ReadOptions.model_fields[key].default}
    return ReadOptions.model_validate({**options.model_dump(exclude_unset=True), **kept})


def analyse_bundle(
    bundle_path: Path,
    data_path: str | Path,
    folder: Path,
    options: ReadOptions,
    *,
    batch_size: int,
    parameters: Mapping[str, Any],
    say: Callable[[str], None],
) -> Scores:
    """The scores of `evaluate_bundle`; also writes tables, pictures and a page about the errors into `folder`."""
    manifest = load_bundle(bundle_path).manifest
    task = evaluation_task(manifest)
    predictions: list[Prediction[Any]] = []
    asked = {**task.analysis_parameters, **parameters}
    scores = evaluate_bundle(
        bundle_path, data_path, options, batch_size=batch_size, parameters=asked, keep=predictions.append
    )
    page = write_analysis(folder, manifest.name, task.analyse(predictions))
    say(f"there is nothing to analyse for {manifest.task}" if page is None else f"what it gets wrong: {page}")
    return scores


def evaluate_records(
    task: EvaluationTask[Any],
    bundle: Bundle,
    runner: Runner,
    records: Sequence[Record],
    *,
    batch_size: int = 32,
    parameters: Mapping[str, Any] | None = None,
    progress: bool = False,
    keep: Keep = forget,
) -> Scores:
    """Measures by name: shares in percent, losses in nats per token; `count` is the number of records.

    Every record counts: long ones are cut (`truncated`, `windowed`), and refused ones are wrong (`refused`). Only the
    keys of the task are present.
    """
    with _progress_bar("evaluate", progress) as advance:
        scores = task.score(Job(bundle, runner, parameters or {}, batch_size, advance, keep), records)
    return {"task": bundle.manifest.task, "model": bundle.manifest.name, "count": len(records), **scores}


def _progress_bar(title: str, wanted: bool) -> AbstractContextManager[Advance]:
    return _shown_bar(title) if wanted and sys.stderr.isatty() else _no_bar()


@contextmanager
def _no_bar() -> Iterator[Advance]:
    yield lambda _percent: None


@contextmanager
def _shown_bar(title: str) -> Iterator[Advance]:
    """A progress bar on standard error. Yields a function that sets the percentage done."""
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn(), TextColumn("%"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(title, total=100)
        yield lambda percent: bar.update(row, completed=percent)

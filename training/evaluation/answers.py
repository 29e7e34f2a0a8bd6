"""Score a bundle on a labelled file with the service's own task code: through onnxruntime, without torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import ClassificationOptions, ForecastingOptions, FramesSpec, TaggingOptions
from service.bundle.tokenizer import TextTokenizer
from service.errors import InvalidInput, UnrollError
from service.tasks.catalogue import predicts, task_of
from service.tasks.core.parameters import check_parameters
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import MAX_CHARACTERS_PER_TOKEN, PredictInput, Runner
from training.data.formats.options import ReadOptions
from training.data.read import read_records
from training.data.records import (
    CaptionedPicture,
    LabelledSignal,
    LabelledText,
    Passage,
    Record,
    SentencePair,
    TaggedSentence,
)
from training.evaluation.caption_scores import caption_scores
from training.evaluation.forecast_scores import forecast_scores
from training.evaluation.out_of_scope import sentence
from training.evaluation.predictions import Keep, Prediction, forget
from training.evaluation.scoring import (
    LEAST_CHARACTERS,
    accuracy,
    classification_scores,
    joint_scores,
    negative_log_likelihoods,
    perplexity,
    perplexity_per_word,
    span_scores,
    translation_scores,
)
from training.preprocessing.signal_values import shortened_signals
from training.preprocessing.windows import one_series

#: A prediction for what the model refused to read: no label is spelt like this, so it counts as wrong.
REFUSED = ""
_WINDOW_TOKENS = 256

Scores = dict[str, Any]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """What every task's scoring needs: the model, the way to run it, and how."""

    bundle: Bundle
    runner: Runner
    parameters: Mapping[str, Any]
    batch_size: int
    advance: Advance
    keep: Keep = forget


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
    (`num_beams` and the like). `keep` is handed each record with what the model said of it.

    Raises:
        BundleError: the bundle cannot be used.
        DataFault: the file cannot be read; names the line.
        InvalidInput: a parameter is wrong.
    """
    bundle = load_bundle(Path(bundle_path))
    records = read_records(bundle.manifest.task, data_path, _fitting(bundle, options or ReadOptions()))
    if runner is None:
        from service.inference.runtime.ort_runner import OrtRunner

        runner = OrtRunner(bundle, threads=0)
    return evaluate_records(
        bundle, runner, records, batch_size=batch_size, parameters=parameters, progress=progress, keep=keep
    )


def _fitting(bundle: Bundle, options: ReadOptions) -> ReadOptions:
    """How to read what this bundle takes: a forecaster knows its columns, a classifier of windows how they were cut."""
    known = bundle.manifest.options
    if isinstance(known, ClassificationOptions) and isinstance(known.signal, FramesSpec):
        return options.model_copy(update=_cut_as_in_training(bundle, options))
    if not isinstance(known, ForecastingOptions):
        return options
    return options.model_copy(update={"channel_columns": known.channels, "target_column": ",".join(known.targets)})


def _cut_as_in_training(bundle: Bundle, options: ReadOptions) -> dict[str, Any]:
    """What the bundle's own recipe says of windows, where the caller says nothing."""
    data = bundle.manifest.training.config.get("data")
    read = data.get("read", {}) if isinstance(data, dict) else {}
    keys = () if options.window_rows else ("window_rows", "stride_rows", "channel_columns")
    return {key: read[key] for key in keys if read.get(key)}


def evaluate_records(
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

    No record is left out: too long ones are cut (`truncated`, `windowed`), and what the model refuses is wrong
    (`refused`). Only keys that belong to the task are there.
    """
    with _progress_bar("evaluate", progress) as advance:
        job = Job(bundle, runner, parameters or {}, batch_size, advance, keep)
        match bundle.manifest.task:
            case "tagging":
                scores = _score_tagging(job, cast("Sequence[TaggedSentence]", records))
            case "classification":
                scores = _score_classification(job, cast("Sequence[LabelledText | LabelledSignal]", records))
            case "translation":
                scores = _score_translation(job, cast("Sequence[SentencePair]", records))
            case "captioning":
                scores = _score_captioning(job, cast("Sequence[CaptionedPicture]", records))
            case "forecasting":
                scores = forecast_scores(bundle, runner, one_series(records), batch_size, advance)
            case "generation":
                scores = _score_generation(job, cast("Sequence[Passage]", records))
    return {"task": bundle.manifest.task, "model": bundle.manifest.name, "count": len(records), **scores}


def _score_tagging(job: Job, records: Sequence[TaggedSentence]) -> Scores:
    """Sentences longer than the model reads at once are cut into windows, so that every word gets a tag."""
    limit = job.bundle.manifest.limits.max_input_tokens
    windows = [
        (row, record.words[start : start + limit])
        for row, record in enumerate(records)
        for start in range(0, len(record.words), limit)
    ]
    answers = _answers(job, [words for _, words in windows])
    predicted: list[list[str]] = [[] for _ in records]
    for (row, words), answer in zip(windows, answers, strict=True):
        predicted[row] += [REFUSED] * len(words) if answer is None else [token.tag for token in answer.tokens]
    # The first window of a text speaks for it, so that the last to be entered stays.
    of_text = {row: answer for (row, _), answer in zip(windows[::-1], answers[::-1], strict=True)}
    labels = [_text_label(of_text[row]) for row in range(len(records))]
    for record, tags, label in zip(records, predicted, labels, strict=True):
        job.keep(Prediction(record, tags=tags, label=label))
    gold = [record.tags for record in records]
    all_gold = [tag for tags in gold for tag in tags]
    scores: Scores = {"accuracy": accuracy(all_gold, [tag for tags in predicted for tag in tags])}
    options = job.bundle.manifest.options
    if isinstance(options, TaggingOptions) and options.scheme == "bio":
        scores.update(span_scores(gold, predicted)._asdict())
    if job.bundle.manifest.text_labels and any(record.label for record in records):
        scores.update(joint_scores(records, predicted, labels))
    return {
        **scores,
        "tokens": len(all_gold),
        "windowed": sum(len(record.words) > limit for record in records),
        "refused": answers.count(None),
        "unknown_labels": _unknown(job.bundle, all_gold),
    }


def _text_label(answer: Any) -> str:
    """The label of the whole text; none from a tagger of words alone, nor where the text was refused."""
    return REFUSED if answer is None else answer.label or REFUSED


def _score_classification(job: Job, records: Sequence[LabelledText | LabelledSignal]) -> Scores:
    values, truncated = _read_values(job.bundle, records)
    answers = _answers(job, values)
    gold = [record.label for record in records]
    predicted = [REFUSED if answer is None else answer.label for answer in answers]
    confidences = [0.0 if answer is None else answer.score for answer in answers]
    for record, label in zip(records, predicted, strict=True):
        job.keep(Prediction(record, label=label))
    outside = _outside(job.bundle)
    scores: Scores = {**classification_scores(gold, predicted, confidences, outside)}
    if "threshold_at_95" in scores:
        done = sentence(scores["threshold_at_95"], scores["taken_in_scope_at_95"], outside)
        scores["recall_oos_at_95_signature"] = done
    return {
        **scores,
        "truncated": truncated,
        "refused": answers.count(None),
        "unknown_labels": _unknown(job.bundle, gold),
    }


def _outside(bundle: Bundle) -> str:
    """The label of texts that fit none of the others."""
    options = bundle.manifest.options
    return options.outside_label if isinstance(options, ClassificationOptions) else ""


def _read_values(
    bundle: Bundle, records: Sequence[LabelledText | LabelledSignal]
) -> tuple[Sequence[PredictInput], int]:
    """What the model is asked, cut where it is too long, and how often it was."""
    texts = [record.text for record in records if isinstance(record, LabelledText)]
    if texts:
        return _shortened(bundle, bundle.tokenizers["text"], texts)
    return shortened_signals(bundle, [record for record in records if isinstance(record, LabelledSignal)])


def _score_translation(job: Job, records: Sequence[SentencePair]) -> Scores:
    tokenizer = job.bundle.tokenizers["source"]
    texts, truncated = _shortened(job.bundle, tokenizer, [record.source for record in records])
    answers = _answers(job, texts)
    hypotheses = [REFUSED if answer is None else answer.text for answer in answers]
    for record, answer, text in zip(records, answers, hypotheses, strict=True):
        job.keep(Prediction(record, text=text, attention=answer and answer.attention))
    scores = translation_scores([record.target for record in records], hypotheses)
    return {**scores._asdict(), "truncated": truncated, "refused": answers.count(None)}


def _score_captioning(job: Job, records: Sequence[CaptionedPicture]) -> Scores:
    answers = _answers(job, [record.value for record in records])
    captions = [REFUSED if answer is None else answer.text for answer in answers]
    for record, answer, text in zip(records, answers, captions, strict=True):
        job.keep(Prediction(record, text=text, attention=answer and answer.attention))
    scores = caption_scores([record.caption for record in records], captions)
    return {**scores, "refused": answers.count(None)}


def _score_generation(job: Job, records: Sequence[Passage]) -> Scores:
    """Every token of a passage but its first is predicted from all that stands before it."""
    tokenizer = job.bundle.tokenizers["text"]
    nats, num_tokens = 0.0, 0
    for record in records:
        for losses in _window_losses(job, tokenizer.encode(record.text)):
            nats += float(losses.sum())
            num_tokens += losses.size
    if num_tokens == 0:
        raise UnrollError("the text is too short: a loss needs at least two tokens")
    loss = nats / num_tokens
    num_characters = sum(len(record.text) for record in records)
    of_characters = num_tokens >= LEAST_CHARACTERS * num_characters
    return {
        "loss": loss,
        "perplexity": perplexity(loss),
        **({} if of_characters else perplexity_per_word(nats, [record.text for record in records])),
        "loss_per_character": nats / num_characters,
        "tokens": num_tokens,
        "characters": num_characters,
    }


def _window_losses(job: Job, ids: Sequence[int]) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    """Nats of the tokens of one text, window by window; the state goes from each window to the next."""
    specs = job.bundle.manifest.state
    size = min(_WINDOW_TOKENS, job.bundle.manifest.limits.max_input_tokens)
    tokens = np.asarray(ids, dtype=np.int64)[None, :]
    state = RecurrentState.zeros(specs, 1)
    for start in range(0, tokens.shape[1] - 1, size):
        targets = tokens[:, start + 1 : start + 1 + size]
        window = tokens[:, start : start + targets.shape[1]]
        lengths = np.asarray([window.shape[1]], dtype=np.int64)
        outputs = job.runner.run("prompt", {"tokens": window, "lengths": lengths, **state.arrays})
        state = RecurrentState.from_outputs(specs, outputs)
        yield negative_log_likelihoods(outputs["logits"], targets)
        job.advance(100 * (start + window.shape[1]) // tokens.shape[1])


def _answers(job: Job, values: Sequence[PredictInput]) -> list[Any]:
    """The service's answer to each value, in order; None where the value is refused.

    Batches hold values of near length, the longest first, so that too little memory shows at once.
    """
    task = task_of(job.bundle)
    assert predicts(task), "this measure is of whole answers"
    parameters = check_parameters(task.parameters_type, job.parameters)
    examples = [_preprocessed(task, value, parameters) for value in values]
    order = sorted((i for i, example in enumerate(examples) if example), key=lambda i: -examples[i].length)
    answers: list[Any] = [None] * len(values)
    for start in range(0, len(order), job.batch_size):
        rows = order[start : start + job.batch_size]
        outputs = task.run(job.runner, [examples[i] for i in rows])
        for i, output in zip(rows, outputs, strict=True):
            answers[i] = task.postprocess(examples[i], output)
        job.advance(100 * (start + len(rows)) // len(order))
    return answers


def _preprocessed(task: PredictTask[Any, Any], value: PredictInput, parameters: Any) -> Any:
    """The example of a value; None if the service would refuse it for what it holds.

    Raises:
        InvalidInput: it is the parameters that are wrong.
    """
    try:
        return task.preprocess(value, parameters)
    except InvalidInput as error:
        if error.field[:1] == ("parameters",):
            raise
        return None


def _shortened(bundle: Bundle, tokenizer: TextTokenizer, texts: Sequence[str]) -> tuple[list[str], int]:
    """Texts cut at the end until the model can read them, and how many had to be."""
    limit = bundle.manifest.limits.max_input_tokens
    short = [_cut_to(text, limit, tokenizer) for text in texts]
    return short, sum(len(after) != len(before) for after, before in zip(short, texts, strict=True))


def _cut_to(text: str, limit: int, tokenizer: TextTokenizer) -> str:
    """The start of the text, at most `limit` tokens long."""
    text = text[: limit * MAX_CHARACTERS_PER_TOKEN]
    while (num_tokens := len(tokenizer.encode(text))) > limit:
        text = text[: len(text) * limit // num_tokens]
    return text


def _unknown(bundle: Bundle, gold: Sequence[str]) -> list[str]:
    """Labels of the file that the model cannot give; they all count as wrong."""
    return sorted(set(gold) - set(bundle.manifest.labels))


def _progress_bar(what: str, wanted: bool) -> AbstractContextManager[Advance]:
    return _shown_bar(what) if wanted and sys.stderr.isatty() else _no_bar()


@contextmanager
def _no_bar() -> Iterator[Advance]:
    yield lambda _percent: None


@contextmanager
def _shown_bar(what: str) -> Iterator[Advance]:
    """A bar on standard error; call what it yields with the percentage done."""
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("%"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(what, total=100)
        yield lambda percent: bar.update(row, completed=percent)

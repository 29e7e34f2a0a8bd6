"""Transcription: speech in, its words out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from service.bundle.manifest import Manifest
from service.bundle.task_options import TaskOptions, TranscriptionOptions, WaveformSpec
from service.tasks.core.task import PredictInput
from training.config.recipe import Recipe
from training.data.records import Utterance
from training.evaluation.analysis.ctc_alignment import Alignment, PlacedWord, RecordingRunner, draw_alignment
from training.evaluation.analysis.findings import AttentionPicture, Findings
from training.evaluation.analysis.interval import Interval, bootstrap, ratio, wilson
from training.evaluation.analysis.report import NUM_PICTURES
from training.evaluation.analysis.transcripts import rate_tables, word_confusions, word_errors
from training.evaluation.answers import REFUSED, Job, Scores, answers
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.baselines.transcription import most_frequent_text, nearest_utterance
from training.evaluation.predictions import Prediction
from training.evaluation.speech.error_rates import Compared, edit_rates, rates_of, speaker_rates
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.preprocessing.load_records import RunData
from training.preprocessing.signal_values import at_rate


def options_of(manifest: Manifest) -> TranscriptionOptions:
    """What the model reads and how it writes."""
    return options_as(manifest.options, TranscriptionOptions)


def _purpose(manifest: Manifest) -> str:
    options = options_of(manifest)
    units = {"character": "letter by letter", "subword": "in parts of words", "word": "word by word"}[options.unit]
    when = "while one speaks" if manifest.reads_chunks else "from a whole recording"
    return f"Writes down what is said in a sound, {units}, {when}."


def _commands(manifest: Manifest, service: str) -> list[str]:
    """The command for a file, and the request that it makes."""
    name, is_sound = manifest.name, isinstance(options_of(manifest).signal, WaveformSpec)
    command = f"unroll predict --model {name} {'sound.wav' if is_sound else 'frames.csv'}"
    if not is_sound:
        return [command, f"curl -s {service}/predict -H 'Content-Type: application/json' -d @request.json"]
    body = f'{{"model": "{name}", "inputs": {{"wav": "%s"}}}}'
    return [
        command,
        f"printf '{body}' \"$(base64 -w0 sound.wav)\" \\",
        f"  | curl -s {service}/predict -H 'Content-Type: application/json' -d @-",
    ]


def _limits(manifest: Manifest) -> list[str]:
    options, most = options_of(manifest), manifest.limits.max_input_tokens
    signal = options.signal
    if not isinstance(signal, WaveformSpec):
        frames, width = most * options.frames_per_step, len(signal.features)
        return [f"- At most {frames:,} frames of {width} numbers; more are refused."]
    most_s = most * signal.samples_per_step / signal.sample_rate_hz
    lines = [
        f"- It hears {signal.sample_rate_hz:,} samples a second; sound of another rate is resampled. "
        f"A recording of more than {most_s:g} s is refused, not cut."
    ]
    if manifest.reads_chunks:
        lines.append(f"- A stream may last longer. It is cut into utterances of {options.max_utterance_s:g} s at most.")
    return lines


class TranscriptionEvaluation(EvaluationTask[Utterance]):
    """Scores transcripts by edit distance to what was said."""

    name = "transcription"
    card = CardTexts(
        purpose=_purpose,
        intended_use=(
            "Speech like that which it was trained on: the same language, alike voices, rooms and microphones, and "
            "words of the same field. It writes words that sound alike, also where none of them was said: look at the "
            "confidence, and have a person read what matters."
        ),
        limits=_limits,
        commands=_commands,
    )
    reported = ("wer", "cer", "sentence_error")
    # Characters first: of the first epochs that write anything at all, hardly a word is right.
    dev_measures = ("cer", "wer")
    deciding = ("wer",)
    int8_graphs = ("encoder",)
    # Greedy decoding, for the same reasons as in translation.
    quick_parameters: ClassVar = {"num_beams": 1}
    analysis_parameters: ClassVar = {"words": True}

    def prepare(self, recipe: Recipe, data: RunData) -> RunData:
        """Sounds at the sample rate of the recipe, so that they are not resampled in every epoch."""
        if recipe.signal.kind != "waveform":
            return data
        rate_hz = recipe.signal.sample_rate_hz
        return replace(data, train=at_rate(data.train, rate_hz), dev=at_rate(data.dev, rate_hz))

    def score(self, job: Job, records: Sequence[Utterance]) -> Scores:
        """Utterances longer than the input limit are cut at the end; what was said there counts as left out."""
        values, num_cut = shortened_utterances(job.bundle.manifest, records)
        found = answers(job, values)
        texts = [REFUSED if answer is None else answer.text for answer in found]
        drawn = _alignments(job, records, values, found) if job.parameters.get("words") else {}
        for row, (record, text) in enumerate(zip(records, texts, strict=True)):
            job.keep(Prediction(record, text=text, attention=drawn.get(row)))
        compared = [Compared(record.text, text, record.group) for record, text in zip(records, texts, strict=True)]
        return {
            **rates_of(compared),
            **edit_rates(compared),
            **speaker_rates(compared),
            "words": sum(each.num_words for each in compared),
            "truncated": num_cut,
            "refused": found.count(None),
        }

    def baselines(
        self,
        train: Sequence[Utterance],
        dev: Sequence[Utterance],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """The most frequent text, and that of the utterance that sounds most alike."""
        return [most_frequent_text(train, dev), nearest_utterance(train, dev)]

    def interval(self, measure: str, predictions: Sequence[Prediction[Utterance]]) -> Interval | None:
        """Of rates by utterance, whose words depend on each other."""
        if not predictions or measure not in self.reported:
            return None
        compared = [_compared(p) for p in predictions]
        if measure == "sentence_error":
            return wilson(sum(each.edits.total > 0 for each in compared), len(compared))
        if measure == "wer":
            return bootstrap([(each.edits.total, each.num_words) for each in compared], ratio)
        return bootstrap([(each.character_errors, each.num_characters) for each in compared], ratio)

    def analyse(self, predictions: Sequence[Prediction[Utterance]]) -> Findings | None:
        """Words by kind of error, error rates by speaker, and the alignment of a few utterances."""
        if not predictions:
            return None
        compared = [_compared(p) for p in predictions]
        pictures = [
            AttentionPicture(f"said: {p.record.text}; heard: {p.text}", partial(draw_alignment, p.attention))
            for p in predictions
            if p.attention is not None
        ]
        return Findings(
            len(predictions), word_errors(compared), word_confusions(compared), pictures, rate_tables(compared)
        )


def _alignments(
    job: Job, records: Sequence[Utterance], values: Sequence[PredictInput], found: Sequence[Any]
) -> dict[int, Alignment]:
    """Some utterances by row, wrong ones and right ones, each run once more alone to see what the network gave."""
    options, tokenizer = options_of(job.bundle.manifest), job.bundle.tokenizers["text"]
    tokens = [tokenizer.token(token_id) for token_id in range(tokenizer.vocabulary_size)]
    answered = [row for row, answer in enumerate(found) if answer is not None and answer.text]
    wrong = [row for row in answered if found[row].text.split() != records[row].text.split()]
    right = [row for row in answered if row not in set(wrong)]
    drawn = {}
    for row in sorted([*wrong[: NUM_PICTURES // 2], *right[: NUM_PICTURES // 2]]):
        recorder = RecordingRunner(job.runner)
        (answer,) = answers(replace(job, runner=recorder, advance=lambda _percent: None), [values[row]])
        placed = [each for each in answer.words or () if each.start_s is not None]  # frames may have no known rate
        words = [PlacedWord(each.word, each.start_s, each.end_s) for each in placed]
        drawn[row] = Alignment(records[row], words, tokens, recorder.probabilities, options.step_ms / 1000)
    return drawn


def _compared(prediction: Prediction[Utterance]) -> Compared:
    return Compared(prediction.record.text, prediction.text, prediction.record.group)


def shortened_utterances(manifest: Manifest, records: Sequence[Utterance]) -> tuple[list[PredictInput], int]:
    """Utterances cut at the end to the input limit, and the number that had to be cut."""
    options, most = options_of(manifest), manifest.limits.max_input_tokens
    limits = [_max_values(options, most, record) for record in records]
    pairs = list(zip(records, limits, strict=True))
    values: list[Any] = [record._replace(values=record.values[:limit]).value for record, limit in pairs]
    return values, sum(len(record.values) > limit for record, limit in pairs)


def _max_values(options: TranscriptionOptions, most: int, record: Utterance) -> int:
    """The longest input of a model that reads `most` steps: frames, or samples of sound at the record's rate."""
    signal = options.signal
    if not isinstance(signal, WaveformSpec):
        return most * options.frames_per_step
    return most * signal.samples_per_step * record.sample_rate_hz // signal.sample_rate_hz

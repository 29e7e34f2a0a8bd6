"""Speech recognition: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch

from service.bundle.load import Bundle
from service.bundle.padding import FloatArray, pad_floats, pad_ids
from service.bundle.task_options import FramesSpec, TranscriptionOptions, WaveformSpec
from service.bundle.tokenizer import TextTokenizer
from service.tasks.core.task import Runner
from training.config.networks import TranscriberConfig
from training.config.recipe import Recipe, TokenizerConfig
from training.config.signals import SignalKind
from training.data.records import Utterance
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.transcription import TranscriptionEvaluation
from training.evaluation.torch_runner import one_thread
from training.networks.inputs.streaming_front_end import StreamingFrontEnd
from training.networks.network import Network
from training.networks.transcriber import Transcriber
from training.networks.transducer import Transducer
from training.preprocessing.batches import TranscriptionBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor, lengths_tensor
from training.preprocessing.scales.signal_scale import fit_signal_scale
from training.preprocessing.signal_values import json_form
from training.preprocessing.vocabulary import Vocabulary, fit_characters, fit_subwords, fit_words
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import beside, example_questions, sample_lines

#: On connected digits two forward layers without these write blanks only after 320 updates; with them they read.
_STACK: Final[dict[str, Any]] = {"connection": "residual", "layer_norm": True}
_DEFAULTS: dict[SignalKind, dict[str, Any]] = {
    "frames": {
        "signal": {"kind": "frames", "channels": [128], "kernel_size": 7, "stride": 3, "normalise_each": True},
        "augment": {"noise": 0.2, "time_masks": 2, "time_mask_part": 0.1, "feature_masks": 1},
        "tokenizer": {"unit": "character"},
        "network": {"hidden_size": 160, "layers": 3, "bidirectional": True, "dropout": 0.3, **_STACK},
        "training": {"epochs": 80, "patience": 25, "batch_size": 16, "ema_decay": 0.995},
        "limits": {"max_input_tokens": 6000},
    },
    "waveform": {
        "signal": {"kind": "waveform", "channels": [64, 128], "running_mean": True},
        "augment": {"speed": 0.1, "noise": 0.1, "time_masks": 2, "time_mask_part": 0.05, "feature_masks": 2},
        "tokenizer": {"unit": "character"},
        "network": {"hidden_size": 256, "layers": 2, "dropout": 0.2, **_STACK},
        "training": {"epochs": 60, "patience": 20, "batch_size": 16, "ema_decay": 0.995},
        "limits": {"max_input_tokens": 15_000},
    },
}
_MS_PER_S = 1000.0


class TranscriptionTask(TranscriptionEvaluation, TrainingTask[Utterance]):
    """Speech in, its transcript out."""

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[Utterance], vectors: WordVectors | None = None
    ) -> Vocabulary:
        """Tokens of the transcripts, and the scale of each feature, computed in one thread as for other signals."""
        with one_thread():
            scale = fit_signal_scale(recipe.signal, records)
        return Vocabulary({"text": transcript_tokenizer(recipe.tokenizer, records)}, signal_scale=scale)

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[Utterance], *, is_dev: bool = False
    ) -> TranscriptionSet:
        flush = flush_steps(recipe) * recipe.signal.values_per_step
        size = recipe.training.batch_size
        return TranscriptionSet(
            records, vocabulary.tokenizers["text"], recipe.signal.values_per_step, flush, size, recipe.seed
        )

    def start_from(self, recipe: Recipe) -> str:
        return recipe.network_as(TranscriberConfig).start_from

    def language_model(self, recipe: Recipe) -> str:
        return recipe.network_as(TranscriberConfig).language_model

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        config = recipe.network_as(TranscriberConfig)
        front_end = StreamingFrontEnd(recipe.signal, recipe.augment, vocabulary.require_signal_scale(), config.dropout)
        kind = Transducer if config.decoder == "transducer" else Transcriber
        return kind(config, front_end, vocabulary.size("text"))

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> TranscriptionOptions:
        config, signal = recipe.network_as(TranscriberConfig), recipe.signal
        is_sound = signal.kind == "waveform"
        per_step = signal.values_per_step
        spec = (
            WaveformSpec(sample_rate_hz=signal.sample_rate_hz, samples_per_step=per_step)
            if is_sound
            else FramesSpec(features=vocabulary.require_signal_scale().features)
        )
        return TranscriptionOptions(
            signal=spec,
            frames_per_step=1 if is_sound else per_step,
            step_ms=_MS_PER_S * per_step / signal.sample_rate_hz if is_sound else 0.0,
            unit=recipe.tokenizer.unit,
            decoder=config.decoder,
            max_symbols_per_step=config.max_symbols_per_step,
            flush_steps=flush_steps(recipe),
            endpoint_ms=config.endpoint_ms,
            max_utterance_s=config.max_utterance_s,
            num_beams=config.num_beams,
            language_model_weight=config.language_model_weight,
            token_bonus=config.token_bonus,
        )

    def samples(self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[Utterance]) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, json_form, _line)

    def questions(self, recipe: Recipe, records: Sequence[Utterance]) -> list[Question]:
        return example_questions(recipe, records, json_form)

    def defaults(self, records: Sequence[Utterance]) -> dict[str, Any]:
        """Those of frames, or those of sound at the sample rate of most records; the others are resampled."""
        found = deepcopy(_DEFAULTS[records[0].kind])  # overrides are written into it
        if records[0].kind == "frames":
            return found
        rates = Counter(record.sample_rate_hz for record in records)
        usual = min(rates, key=lambda rate_hz: (-rates[rate_hz], rate_hz))
        return found | {"signal": {**found["signal"], "sample_rate_hz": usual}}


class TranscriptionSet(Bucketed):
    """Utterances with the tokens of their transcripts, and `flush` zeros after each.

    CTC needs a step for each token, and one more between two equal ones: utterances that are too short are left out.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: TextTokenizer,
        values_per_step: int,
        flush: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self._flush = flush
        encoded = [(record.values, tokenizer.encode(record.text)) for record in utterances]
        self._examples = [
            (values, tokens)
            for values, tokens in encoded
            if (len(values) + flush) // values_per_step >= needed_steps(tokens)
        ]
        self.num_left_out = len(encoded) - len(self._examples)
        super().__init__([len(values) for values, _ in self._examples], batch_size, seed)

    def batch(self, indices: Order) -> TranscriptionBatch:
        values, tokens = zip(*(self._examples[i] for i in indices), strict=True)
        flushed = [self._flushed(value) for value in values]
        return TranscriptionBatch(
            values=torch.from_numpy(pad_floats(flushed)),
            lengths=lengths_tensor(flushed),
            tokens=ids_tensor(pad_ids(tokens)) if any(tokens) else torch.zeros(len(tokens), 0, dtype=torch.int64),
            num_tokens=lengths_tensor(tokens),
        )

    def _flushed(self, values: FloatArray) -> FloatArray:
        return np.concatenate([values, np.zeros((self._flush, *values.shape[1:]), dtype=np.float32)])


def needed_steps(tokens: Sequence[int]) -> int:
    """The fewest steps that CTC can align tokens with."""
    repeats = sum(first == second for first, second in pairwise(tokens))
    return max(1, len(tokens) + repeats)


def flush_steps(recipe: Recipe) -> int:
    """Steps of silence after the end of a sound, which a network that reads forward only needs for its last tokens."""
    config = recipe.network_as(TranscriberConfig)
    if config.bidirectional or recipe.signal.kind != "waveform":
        return 0
    step_ms = _MS_PER_S * recipe.signal.values_per_step / recipe.signal.sample_rate_hz
    return round(config.flush_ms / step_ms)


def transcript_tokenizer(config: TokenizerConfig, records: Sequence[Utterance]) -> TextTokenizer:
    """Characters, subwords or words of the transcripts."""
    texts = [record.text for record in records]
    if config.unit == "subword":
        return fit_subwords(texts, config)
    if config.unit == "character":
        return fit_characters(texts, config.min_count)
    return fit_words([text.split() for text in texts], config.model_copy(update={"cut": "whitespace"}))


def _line(record: Utterance, found: Mapping[str, Any]) -> str:
    return beside(found["text"], record.text)

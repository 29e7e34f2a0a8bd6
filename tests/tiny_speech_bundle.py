"""Bundles of tiny recognisers of speech with random weights: their texts are noise, but always the same."""

from __future__ import annotations

from pathlib import Path

import torch

from service.bundle.manifest import Limits
from service.bundle.task_options import TranscriptionOptions, WaveformSpec
from tests.training.tiny_speech import SOUND, front_end, utterances
from training.config.networks import TranscriberConfig
from training.evaluation.task import Question
from training.networks.transcriber import Transcriber
from training.onnx_graph.manifest_draft import BundleDraft
from training.preprocessing.signal_values import json_form
from training.preprocessing.vocabulary import fit_characters
from training.publish.export import export_bundle

SPEECH, SPEECH_WHOLE = "tiny-speech", "tiny-speech-whole"


def write_tiny_speech_bundle(models: Path, *, bidirectional: bool = False) -> Path:
    """Publish a model that reads forward only and answers while it reads, or one that reads in both directions."""
    torch.manual_seed(3)
    models.mkdir(parents=True, exist_ok=True)
    tokenizer = fit_characters(["abcdefgh "])
    config = TranscriberConfig(hidden_size=8, layers=1, bidirectional=bidirectional)
    reader = front_end(SOUND)
    network = Transcriber(config, reader, tokenizer.vocabulary_size)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)  # texts that depend on the sound
    per_step = reader.values_per_step
    options = TranscriptionOptions(
        signal=WaveformSpec(sample_rate_hz=SOUND.sample_rate_hz, samples_per_step=per_step),
        step_ms=1000 * per_step / SOUND.sample_rate_hz,
        flush_steps=0 if bidirectional else 2,
    )
    name = SPEECH_WHOLE if bidirectional else SPEECH
    draft = BundleDraft(name, options, {"text": tokenizer}, limits=Limits(max_input_tokens=1500))
    questions = [Question(json_form(utterance)) for utterance in utterances(SOUND)[:2]]
    return export_bundle(network.eval(), draft, questions, models).path

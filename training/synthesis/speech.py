"""Synthetic speech: a set of utterances spoken by several engines, with a share of the voices kept for dev."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.synthesis.engines import EngineFailed, installed_voices, speak
from training.synthesis.sound import at_level, read_wave, stretched, trimmed, wave_bytes, with_silence
from training.synthesis.sound_set import PART_SIZE, MadeSound, SoundSet
from training.synthesis.speech_plan import SpeechPlan, SpokenUtterance, chosen_voices
from training.synthesis.texts import Sentence

Say = Callable[[str], None]


@dataclass(frozen=True)
class SpeechRequest:
    """What to speak, by which voices, how often. `left_out` are voices that speak only the `dev_count` dev sounds."""

    sentences: Sequence[Sentence]
    fragments: Sequence[Sentence]
    voices: str
    left_out: str
    count: int
    dev_count: int
    seed: int
    rate_hz: int


def synthesize_speech(request: SpeechRequest, out: Path, jobs: int, say: Say) -> Iterator[Path]:
    """Write the dev set, if voices are left out, and then the parts. Yields each TSV file when it is complete.

    Raises:
        EngineFailed: no engine is installed.
        UnrollError: no voice is like those asked for, or the folder holds other sounds.
    """
    installed = installed_voices()
    plan = SpeechPlan(
        request.seed, chosen_voices(request.voices, installed, request.left_out), request.sentences, request.fragments
    )
    sounds = SoundSet(out, _settings(request))
    if request.left_out and request.dev_count:
        dev = replace(plan, seed=request.seed + 1, groups=chosen_voices(request.left_out, installed))
        yield from sounds.write("dev", request.dev_count, _maker(dev, request.rate_hz, say), jobs)
    yield from sounds.write("part", request.count, _maker(plan, request.rate_hz, say), jobs, PART_SIZE)


def _settings(request: SpeechRequest) -> dict[str, object]:
    """What decides the sounds, but for their number: a set may grow."""
    return {
        "seed": request.seed,
        "rate_hz": request.rate_hz,
        "voices": request.voices,
        "left_out": request.left_out,
        "sentences": len(request.sentences),
        "fragments": len(request.fragments),
    }


def _maker(plan: SpeechPlan, rate_hz: int, say: Say) -> Callable[[int], MadeSound | None]:
    def make(number: int) -> MadeSound | None:
        utterance = plan.utterance(number)
        try:
            return spoken(utterance, rate_hz)
        except EngineFailed as error:
            say(f"left out: {error}")
            return None

    return make


def spoken(utterance: SpokenUtterance, rate_hz: int) -> MadeSound:
    """One utterance as a wave file.

    Raises:
        EngineFailed: the engine did not speak it.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.wav"
        speak(utterance.voice, utterance.delivery, utterance.sentence.spoken, file)
        try:
            samples, source_hz = read_wave(file)
        except ValueError as error:
            raise EngineFailed(f"{utterance.voice} wrote of {utterance.sentence.spoken!r}: {error}") from error
    heard = trimmed(stretched(samples, source_hz / utterance.delivery.size, rate_hz), rate_hz)
    framed = with_silence(at_level(heard, utterance.level_db), utterance.before_s, utterance.after_s, rate_hz)
    tempo, pitch, size = utterance.delivery
    row = {
        "speaker": utterance.voice,
        "text": utterance.sentence.transcript,
        "tempo": f"{tempo:g}",
        "pitch": f"{pitch:g}",
        "size": f"{size:g}",
    }
    return MadeSound(wave_bytes(framed, rate_hz), len(framed) / rate_hz, row)

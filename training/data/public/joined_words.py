"""Splits that are made on this machine: strings of words, joined from the single recordings of another data set.

Real recordings of a few words become as many utterances as are wanted, with pauses, and words that touch each other.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from service.tasks.inputs.wav import read_wav
from training.data.public.named_dataset import JoinedWords

Samples = NDArray[np.float32]
#: Recordings of each speaker by word.
_Recordings = Mapping[str, Mapping[str, Sequence[Samples]]]

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: Root mean square that every word is brought to, and how far from it, in decibels, it may be.
_LEVEL, _SPREAD_DB = 0.06, 3.0
#: Seconds between two words, where a negative pause lets them overlap; of silence around a string; of fading.
_PAUSE_S, _AROUND_S, _FADE_S = (-0.03, 0.2), (0.05, 0.3), 0.01
#: Level of the noise below that of the words, in decibels.
_NOISE_DB = (30.0, 50.0)
#: Silence around a recording is cut off below this share of its loudest 10 ms, but for 20 ms.
_FLOOR, _WINDOW_S, _KEPT_S = 0.02, 0.01, 0.02


def make_split(source: Path, made: JoinedWords, target: Path) -> None:
    """Write `target`, a TSV file (file, speaker, text), and the sounds in the archive beside it, named alike.

    Args:
        source: the table of the recordings, with its archive beside it.
        target: written last, so that a split without it is made again.
    """
    recordings, rate_hz = _read(source, made)
    archive, partial = target.with_suffix(".zip"), f".partial-{os.getpid()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = ["file\tspeaker\ttext"]
    with zipfile.ZipFile(archive.with_suffix(partial), "w") as packed:
        for number, (speaker, words, samples) in enumerate(joined(recordings, made, rate_hz)):
            name, sound = f"{number:05d}_{speaker}.flac", io.BytesIO()
            soundfile.write(sound, samples, rate_hz, format="FLAC", subtype="PCM_16")
            packed.writestr(name, sound.getvalue())
            lines.append(f"{name}\t{speaker}\t{' '.join(words)}")
    archive.with_suffix(partial).replace(archive)
    target.with_suffix(partial).write_text("\n".join(lines) + "\n", encoding="utf-8")
    target.with_suffix(partial).replace(target)


def joined(recordings: _Recordings, made: JoinedWords, rate_hz: int) -> Iterator[tuple[str, tuple[str, ...], Samples]]:
    """Speaker, words and sound of each string; equal settings give equal strings."""
    random = np.random.default_rng(made.seed)
    speakers = sorted(recordings)
    for _ in range(made.count):
        speaker = speakers[int(random.integers(len(speakers)))]
        of_speaker = recordings[speaker]
        vocabulary = sorted(of_speaker)
        num_words = random.integers(made.shortest, made.longest + 1)
        words = tuple(vocabulary[index] for index in random.integers(0, len(vocabulary), num_words))
        chosen = [of_speaker[word][int(random.integers(len(of_speaker[word])))] for word in words]
        yield speaker, words, _string(chosen, random, rate_hz)


def _read(source: Path, made: JoinedWords) -> tuple[_Recordings, int]:
    """Recordings without the silence around them, at the one rate that they have."""
    found: dict[str, dict[str, list[Samples]]] = {}
    rates: set[int] = set()
    with zipfile.ZipFile(source.with_suffix(".zip")) as packed, source.open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            sound = read_wav(packed.read(row[made.file_column]))
            label = row[made.word_column]
            word = _NUMBERS[int(label)] if label in "0123456789" else label
            words = found.setdefault(row[made.speaker_column], {})
            words.setdefault(word, []).append(_trimmed(sound.samples, sound.sample_rate_hz))
            rates.add(sound.sample_rate_hz)
    (rate_hz,) = rates
    return found, rate_hz


def _trimmed(samples: Samples, rate_hz: int) -> Samples:
    window, kept = max(1, round(_WINDOW_S * rate_hz)), round(_KEPT_S * rate_hz)
    power = np.add.reduceat(np.square(samples), np.arange(0, len(samples), window))
    loud = np.flatnonzero(power > _FLOOR**2 * power.max())
    return samples[max(0, loud[0] * window - kept) : (loud[-1] + 1) * window + kept] if len(loud) else samples


def _string(words: Sequence[Samples], random: np.random.Generator, rate_hz: int) -> Samples:
    starts: list[int] = []
    end = int(random.uniform(*_AROUND_S) * rate_hz)
    for word in words:
        pause = int(random.uniform(*_PAUSE_S) * rate_hz) if starts else 0
        starts.append(max(0, end + pause))
        end = starts[-1] + len(word)
    out = np.zeros(end + int(random.uniform(*_AROUND_S) * rate_hz), dtype=np.float32)
    for start, word in zip(starts, words, strict=True):
        out[start : start + len(word)] += _levelled(word, random, rate_hz)
    noise = _LEVEL * 10 ** (-random.uniform(*_NOISE_DB) / 20)
    out += random.normal(0.0, noise, len(out)).astype(np.float32)
    return np.clip(out, -1.0, 1.0)


def _levelled(word: Samples, random: np.random.Generator, rate_hz: int) -> Samples:
    level = _LEVEL * 10 ** (random.uniform(-_SPREAD_DB, _SPREAD_DB) / 20)
    scaled = word * np.float32(level / (float(np.sqrt(np.mean(np.square(word)))) + 1e-9))
    fade = min(round(_FADE_S * rate_hz), len(word) // 4)
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        scaled[:fade] *= ramp
        scaled[-fade:] *= ramp[::-1]
    return scaled

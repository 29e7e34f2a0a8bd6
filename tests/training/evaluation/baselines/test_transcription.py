"""Baselines of speech recognition."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.records import Utterance
from training.evaluation.baselines.transcription import most_frequent_text, nearest_utterance, warped_distances
from training.evaluation.speech.cepstra import features
from training.evaluation.tasks.catalogue import EVALUATION_TASKS

RATE_HZ = 8000


def spoken(text: str, tones: tuple[int, ...], seconds: float) -> Utterance:
    """A word as a sequence of tones of equal length."""
    time = np.arange(int(seconds / len(tones) * RATE_HZ)) / RATE_HZ
    sound = np.concatenate([np.sin(2 * np.pi * tone * time) for tone in tones])
    return Utterance(sound.astype(np.float32), text, sample_rate_hz=RATE_HZ)


def slow_warp(one: np.ndarray, other: np.ndarray) -> float:
    """The definition: a diagonal step counts the distance twice, the others once."""
    best: dict[tuple[int, int], float] = {}
    for i, frame in enumerate(one):
        for j, against in enumerate(other):
            cost = float(np.linalg.norm(frame - against))
            ways = [best[i - 1, j] + cost] if i else []
            ways += [best[i, j - 1] + cost] if j else []
            ways += [best[i - 1, j - 1] + 2 * cost] if i and j else []
            best[i, j] = min(ways, default=cost)
    return best[len(one) - 1, len(other) - 1] / (len(one) + len(other))


def test_warped_distance_is_that_of_the_definition() -> None:
    """Several lengths at once; what is more than twice as long does not match."""
    generator = np.random.default_rng(1)
    asked, *known = (generator.normal(size=(n, 3)).astype(np.float32) for n in (8, 5, 12, 8, 30))
    found = warped_distances(asked, known)
    assert found[:3] == pytest.approx([slow_warp(asked, each) for each in known[:3]], rel=1e-5)
    assert np.isinf(found[3])
    assert np.isfinite(warped_distances(asked, known[3:])).all(), "nothing fits, so all are compared"


def test_the_nearest_utterance_is_that_of_the_same_tones() -> None:
    """Whatever the speed; silence is the best single answer where all texts differ."""
    words = {"low high": (300, 2500), "high low": (2500, 300), "middle": (1000, 1000)}
    train = [spoken(text, tones, 0.6) for text, tones in words.items()]
    dev = [spoken(text, tones, seconds) for seconds in (0.5, 0.9) for text, tones in words.items()]
    assert nearest_utterance(train, dev).measures == {"wer": 0.0, "cer": 0.0, "sentence_error": 0.0}
    assert [each.name for each in EVALUATION_TASKS["transcription"].baselines(train, dev)] == [
        "always 'low high'",
        "text of the nearest utterance (time warping)",
    ]
    assert most_frequent_text(train, [spoken("other", (500,), 0.5)]).name == "always empty text"


@pytest.mark.parametrize("num_samples", [0, 1, 199, 200, 8000])
def test_features_of_any_sound(num_samples: int) -> None:
    """Finite and at least one frame, also of nothing at all."""
    sound = Utterance(np.ones(num_samples, dtype=np.float32), "", sample_rate_hz=RATE_HZ)
    found = features(sound, 3)
    assert found.ndim == 2
    assert len(found) >= 1
    assert np.isfinite(found).all()


def test_features_of_frames_are_the_frames() -> None:
    """Normalised by utterance; none at all are one frame of zeros."""
    frames = np.array([[1.0, 5.0], [3.0, 5.0]], dtype=np.float32)
    assert features(Utterance(frames, "x")) == pytest.approx(np.array([[-1, 0], [1, 0]]), abs=1e-3)
    assert features(Utterance(frames[:0], "x")).tolist() == [[0.0, 0.0]]

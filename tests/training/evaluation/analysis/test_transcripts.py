"""The analysis of transcripts: kinds of errors, confusions, speakers, and the picture of an alignment."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from training.data.records import Utterance
from training.evaluation.analysis.ctc_alignment import Alignment, PlacedWord, RecordingRunner, draw_alignment, spikes
from training.evaluation.analysis.report import write_analysis
from training.evaluation.analysis.transcripts import MAX_WORDS, word_confusions
from training.evaluation.predictions import Prediction
from training.evaluation.speech.error_rates import Compared
from training.evaluation.tasks.catalogue import EVALUATION_TASKS

TRANSCRIPTION = EVALUATION_TASKS["transcription"]
TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>", " ", "$")


def prediction(said: str, heard: str, speaker: str, attention: object = None) -> Prediction[Utterance]:
    sound = Utterance(np.sin(np.arange(8000)).astype(np.float32), said, sample_rate_hz=8000, group=speaker)
    return Prediction(sound, text=heard, attention=attention)


def alignment(record: Utterance, step_s: float = 0.04) -> Alignment:
    """The blank everywhere but at two steps."""
    probabilities = np.zeros((25, len(TOKENS)), dtype=np.float32)
    probabilities[:, 0] = 1.0
    probabilities[5], probabilities[12] = (0, 0, 0, 0, 0.1, 0.9), (0, 0, 0, 0, 0.7, 0.3)
    return Alignment(record, [PlacedWord("$x", 0.2, 0.6)], TOKENS, probabilities, step_s)


def test_the_page_names_errors_confusions_and_speakers(tmp_path: Path) -> None:
    """One error of each kind, and the worst speaker first; the picture is a file."""
    first = prediction("nine five two", "five two one", "anna")
    drawn = prediction("one two", "one too", "ben", alignment(first.record))
    page = write_analysis(tmp_path, "digits", TRANSCRIPTION.analyse([first, drawn]))
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert "- **deletion**: 1\n  - \\[nine] five two: nothing, not nine" in text
    assert "- **insertion**: 1" in text
    assert "| two | too | 1 |" in text
    assert "| (added) | one | 1 |" in text
    assert "| anna | 1 | 3 | 66.67 |" in text
    assert text.index("| anna |") < text.index("| ben |")
    assert (tmp_path / "attention-1.png").read_bytes().startswith(b"\x89PNG")


def test_intervals_hold_the_rates() -> None:
    """Of words and characters by utterance; none for other measures."""
    found = [prediction("one two", "one two", "anna"), prediction("one two", "one", "anna")]
    for measure, rate in (("wer", 25.0), ("cer", 100 * 4 / 14), ("sentence_error", 50.0)):
        interval = TRANSCRIPTION.interval(measure, found)
        assert interval is not None
        assert interval[0] <= rate <= interval[1]
    assert TRANSCRIPTION.interval("deletions", found) is None


def test_confusions_of_a_large_vocabulary_are_those_of_the_worst_words() -> None:
    """A table of every pair of words would be too large to write."""
    right = [Compared(f"word{number}", f"word{number}") for number in range(2 * MAX_WORDS)]
    pairs = word_confusions([*right, Compared("two", "too")])
    assert ("two", "too") in pairs
    assert len({word for pair in pairs for word in pair}) == MAX_WORDS


@pytest.mark.parametrize("kind", ["sound", "frames", "one sample", "transducer"])
def test_any_alignment_can_be_drawn(kind: str, tmp_path: Path) -> None:
    """Frames without a rate, a sound of one sample, and a network without probabilities of CTC."""
    values = np.zeros((50, 3) if kind == "frames" else 1 if kind == "one sample" else 4000, dtype=np.float32)
    record = Utterance(values, "x", sample_rate_hz=0 if kind == "frames" else 8000)
    shown = alignment(record, 0.0 if kind == "frames" else 0.04)
    if kind == "transducer":
        shown = Alignment(record, (), TOKENS, None, 0.04)
    draw_alignment(shown, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_spikes_are_the_peaks_of_runs() -> None:
    """Two runs above the threshold, each with its highest step."""
    assert spikes(np.array([0, 0.3, 0.9, 0.4, 0.1, 0.5, 0.5], dtype=np.float32)) == [2, 5]
    assert spikes(np.zeros(3, dtype=np.float32)) == []


def test_a_recording_runner_joins_the_pieces_of_an_input() -> None:
    """The outputs of the encoder alone, as probabilities."""

    class Halves:
        def run(self, graph: str, feeds: object) -> dict[str, np.ndarray]:
            return {"log_probs": np.full((1, 2, 4), math.log(0.25), dtype=np.float32), "next_hidden": np.zeros(1)}

    recorder = RecordingRunner(Halves())
    assert recorder.probabilities is None
    for graph in ("encoder", "joint", "encoder"):
        assert set(recorder.run(graph, {})) == {"log_probs", "next_hidden"}
    assert recorder.probabilities == pytest.approx(np.full((4, 4), 0.25))

"""Keyword spotting: detections from streams, operating points, and the table of streams."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from service.tasks.catalogue import task_of
from service.tasks.core.task import Waveform
from tests.tasks.transcription.builders import LevelRunner, sound, speech_bundle
from training.data.formats.faults import DataFault
from training.data.readers.speech.keyword_streams import Place, Stream, read_keyword_streams
from training.evaluation.speech.keyword_report import draw_curve
from training.evaluation.speech.keyword_spotting import Detection, best_point, detections, operating_points

RATE_HZ = 100


class Parameters(BaseModel):
    """Those of keyword spotting."""

    model_config = ConfigDict(extra="forbid")
    keywords: list[str]
    keyword_threshold: float


class Loud:
    """Tells of "loud" where a sample is above the threshold, again and again while the utterance goes on."""

    parameters_type = Parameters

    @property
    def chunks(self) -> Loud:
        return self

    def chunk(self, value: Waveform, parameters: Any, before: Any, is_last: bool) -> Any:
        assert (before is None) or before.keywords is not None
        known, num_read = (before.keywords, before.num_read) if before else ([], 0)
        new = [
            {"keyword": "loud", "time_s": (num_read + place) / RATE_HZ, "confidence": float(value.samples[place])}
            for place in np.flatnonzero(value.samples >= parameters.keyword_threshold)
        ]
        return SimpleNamespace(keywords=[*known, *new], num_read=num_read + len(value.samples), is_last=is_last)

    def run(self, runner: Any, examples: list[Any]) -> list[Any]:
        return examples

    def plain_answer(self, example: Any, output: Any) -> Any:
        return [{"text": "", "keywords": output.keywords}, {"text": "x", "is_final": False}]

    def answers(self, plain_answer: Any) -> list[Any]:
        return list(plain_answer)

    def state_after(self, example: Any, output: Any) -> Any:
        assert not example.is_last
        return output


def stream(seconds: float, peaks: dict[float, float], places: list[Place]) -> Stream:
    samples = np.zeros(int(seconds * RATE_HZ), dtype=np.float32)
    for time_s, level in peaks.items():
        samples[int(time_s * RATE_HZ)] = level
    return Stream("s", Waveform(samples, RATE_HZ), places)


def test_streams_of_different_length_are_read_side_by_side_to_their_ends() -> None:
    """Each keyword is told of once, with the place in the whole stream; a stream may be empty."""
    streams = [stream(3.2, {0.2: 0.5, 3.0: 0.9}, []), stream(0.7, {0.6: 0.7}, []), stream(0, {}, [])]
    told = detections(Loud(), None, streams, ["loud"], 0.6)  # type: ignore[arg-type]
    assert [[(each.time_s, round(each.confidence, 3)) for each in found] for found in told] == [
        [(3.0, 0.9)],
        [(0.6, 0.7)],
        [],
    ]


def test_the_services_own_detector_is_asked() -> None:
    """Where the keyword ends in the stream, and nothing in a stream without it."""
    bundle = speech_bundle()
    streams = [Stream(text, sound("--" + "-".join(text) + "-" * 100 + "-".join(text)), []) for text in ("ab c", "ba c")]
    told = detections(task_of(bundle), LevelRunner(), streams, ["ab"], 0.5)  # type: ignore[arg-type]
    assert [[each.keyword for each in found] for found in told] == [["ab", "ab"], []]
    first, second = (each.time_s for each in told[0])
    assert second - first == pytest.approx(1.07, abs=0.011)


def test_operating_points_count_places_and_false_alarms() -> None:
    """Of two detections of one place the second is a false alarm, and so is a detection too late."""
    places = [Place("loud", 10.0, 11.0), Place("loud", 20.0, 21.0)]
    half_hour = Stream("s", Waveform(np.zeros(1800 * RATE_HZ, dtype=np.float32), RATE_HZ), places)
    told = [
        Detection("loud", 11.2, 0.9),
        Detection("loud", 10.5, 0.5),
        Detection("loud", 22.0, 0.7),
        Detection("other", 20.5, 0.8),
        Detection("loud", 20.5, 0.3),
    ]
    points = operating_points([half_hour], [told])
    assert [(each.threshold, each.found, each.false_per_hour) for each in points] == [
        (0.9, 50.0, 0.0),
        (0.8, 50.0, 2.0),
        (0.7, 50.0, 4.0),
        (0.5, 50.0, 6.0),
        (0.3, 100.0, 6.0),
    ]
    assert best_point(points, 1.0) == points[0]
    assert best_point(points, 6.0) == points[-1]
    assert best_point(points[1:], 1.0) is None


def test_a_keyword_said_twice_at_once_is_found_twice() -> None:
    """The more confident detection is the second's, although it comes soon enough for the first as well."""
    places = [Place("loud", 10.0, 10.3), Place("loud", 10.4, 10.7)]
    short = Stream("s", Waveform(np.zeros(60 * RATE_HZ, dtype=np.float32), RATE_HZ), places)
    told = [Detection("loud", 10.2, 0.8), Detection("loud", 10.6, 0.9), Detection("loud", 10.75, 0.7)]
    points = operating_points([short], [told])
    assert [(each.threshold, each.found, each.false_per_hour) for each in points] == [
        (0.9, 50.0, 0.0),
        (0.8, 100.0, 0.0),
        (0.7, 100.0, 60.0),
    ]


def test_the_curve_is_a_picture(tmp_path: Path) -> None:
    """Also of no detection at all."""
    draw_curve([], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def wav(seconds: float) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x00\x01" * int(seconds * 8000))
    return buffer.getvalue()


def test_a_table_of_streams_is_read(tmp_path: Path) -> None:
    """A row for each keyword, in the order of the file; a stream without keywords has one row."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(wav(2))
    table = tmp_path / "streams.tsv"
    table.write_text("stream\tkeyword\tstart_s\tend_s\nb.wav\t\t\t\na.wav\tone\t0.5\t0.9\na.wav\ttwo\t1\t1.5\n")
    first, second = read_keyword_streams(table)
    assert (first.name, first.places, first.seconds) == ("b.wav", [], 2.0)
    assert second.places == [Place("one", 0.5, 0.9), Place("two", 1.0, 1.5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file\tkeyword\na.wav\tone\n", ":1: no column stream, start_s, end_s"),
        ("stream\tkeyword\tstart_s\tend_s\n", "no stream"),
        ("stream\tkeyword\tstart_s\tend_s\nno.wav\tone\t1\t2\n", ":2: no.wav cannot be read"),
        ("stream\tkeyword\tstart_s\tend_s\na.wav\tone\t2\t1\n", ":2: 2 to 1 is no place of 'one'"),
        ("stream\tkeyword\tstart_s\tend_s\na.wav\tone\tx\t1\n", ":2: x to 1 is no place"),
        ("stream\tkeyword\tstart_s\tend_s\na.wav\tone\n", ":2: None to None is no place"),
        ("stream\tkeyword\tstart_s\tend_s\nstreams.tsv\tone\t1\t2\n", ":2: streams.tsv: "),
    ],
)
def test_faults_of_a_table_name_the_line(content: str, message: str, tmp_path: Path) -> None:
    """A wrong header, a missing or broken sound, and places that are none."""
    (tmp_path / "a.wav").write_bytes(wav(0.1))
    table = tmp_path / "streams.tsv"
    table.write_text(content)
    with pytest.raises(DataFault, match=r"streams\.tsv") as fault:
        read_keyword_streams(table)
    assert message in str(fault.value)

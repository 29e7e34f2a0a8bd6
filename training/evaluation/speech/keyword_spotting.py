"""Keyword spotting in streams: how many keywords are found, against false alarms an hour, for every threshold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from service.errors import UnrollError
from service.tasks.core.parameters import check_parameters
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.task import Runner, Waveform
from training.data.readers.speech.keyword_streams import Place, Stream

#: How long after the end of a keyword it may be told of, and how long before it: places are not exact.
LATE_S: Final = 0.5
EARLY_S: Final = 0.1
#: Streams that are read side by side, and the seconds of sound of each that are read at once.
_AT_ONCE: Final = 16
_PIECE_S: Final = 0.5
_HOUR_S: Final = 3600.0


class Detection(NamedTuple):
    """A keyword that was told of: its end in the stream, and the confidence, 0 to 1."""

    keyword: str
    time_s: float
    confidence: float


class OperatingPoint(NamedTuple):
    """At a threshold: the share of keywords found, in percent, and the alarms where nothing was said, per hour."""

    threshold: float
    found: float
    false_per_hour: float


def detections(
    task: PredictTask[Any, Any],
    runner: Runner,
    streams: Sequence[Stream],
    keywords: Sequence[str],
    threshold: float,
    advance: Callable[[int], None] = lambda _percent: None,
) -> list[list[Detection]]:
    """What the service tells of each stream, read in pieces as it reads them.

    Raises:
        InvalidInput: the model cannot be asked for these keywords, or reads no sound in pieces.
    """
    parameters = check_parameters(task.parameters_type, {"keywords": list(keywords), "keyword_threshold": threshold})
    found: list[list[Detection]] = []
    for start in range(0, len(streams), _AT_ONCE):
        found += _side_by_side(task, runner, streams[start : start + _AT_ONCE], parameters)
        advance(100 * len(found) // len(streams))
    return found


def _side_by_side(
    task: PredictTask[Any, Any], runner: Runner, streams: Sequence[Stream], parameters: Any
) -> list[list[Detection]]:
    """Streams as one batch, a piece of each at a time."""
    reader = task.chunks
    if reader is None:
        raise UnrollError("the model reads no sound in pieces, so it can spot no keywords in a stream")
    found: list[dict[tuple[str, float], Detection]] = [{} for _ in streams]
    states: list[Any] = [None] * len(streams)
    pieces = [_pieces(stream.sound) for stream in streams]
    live = list(range(len(streams)))
    while live:
        now = [(row, *next(pieces[row])) for row in live]
        examples = [reader.chunk(piece, parameters, states[row], is_last) for row, piece, is_last in now]
        for (row, _, is_last), example, output in zip(now, examples, task.run(runner, examples), strict=True):
            for answer in reader.answers(task.plain_answer(example, output)):
                # An utterance under way tells of its keywords again with each piece.
                found[row] |= {(each.keyword, each.time_s): each for each in _keywords(answer)}
            states[row] = None if is_last else reader.state_after(example, output)
        live = [row for row, _, is_last in now if not is_last]
    return [sorted(each.values(), key=lambda one: one.time_s) for each in found]


def _pieces(sound: Waveform) -> Iterator[tuple[Waveform, bool]]:
    """A sound in pieces, each with whether it is the last."""
    size = max(1, round(_PIECE_S * sound.sample_rate_hz))
    for start in range(0, max(1, len(sound.samples)), size):
        samples = sound.samples[start : start + size]
        yield Waveform(samples, sound.sample_rate_hz), start + size >= len(sound.samples)


def _keywords(answer: Mapping[str, Any]) -> list[Detection]:
    told = answer.get("keywords") or []
    return [Detection(each["keyword"], float(each["time_s"]), float(each["confidence"])) for each in told]


def operating_points(
    streams: Sequence[Stream], told: Sequence[Sequence[Detection]], late_s: float = LATE_S
) -> list[OperatingPoint]:
    """A point for each confidence as a threshold, the highest first.

    A keyword is found by a detection from its start to `late_s` after its end. All other detections are false alarms,
    also the second one of a keyword.
    """
    right: list[float] = []
    wrong: list[float] = []
    for stream, found in zip(streams, told, strict=True):
        best = _matches(stream.places, found, late_s)
        right += [found[index].confidence for index in best]
        wrong += [each.confidence for index, each in enumerate(found) if index not in best]
    count = max(1, sum(len(stream.places) for stream in streams))
    hours = sum(stream.seconds for stream in streams) / _HOUR_S
    hits, alarms = np.array(right), np.array(wrong)
    thresholds = sorted({*right, *wrong}, reverse=True)
    return [
        OperatingPoint(each, 100 * float((hits >= each).sum()) / count, float((alarms >= each).sum()) / hours)
        for each in thresholds
    ]


def _matches(places: Sequence[Place], found: Sequence[Detection], late_s: float) -> set[int]:
    """The detections that find a place, one for each place: those that are most confident together."""
    return {
        index
        for keyword in {place.keyword for place in places}
        for index in _best_in_order(
            sorted((place for place in places if place.keyword == keyword), key=lambda place: place.end_s),
            sorted(
                ((index, each) for index, each in enumerate(found) if each.keyword == keyword),
                key=lambda pair: pair[1].time_s,
            ),
            late_s,
        )
    }


def _best_in_order(places: Sequence[Place], found: Sequence[tuple[int, Detection]], late_s: float) -> tuple[int, ...]:
    """Places and detections of one keyword, both in order of time, matched by dynamic programming.

    A keyword that is said twice may be told of twice within half a second: taking the most confident detection for the
    first place would leave nothing for the second.
    """
    # For each number of detections: the confidence of the best matching with the places so far, and its indices.
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())] * (len(found) + 1)
    for place in places:
        before, best = best, best[:1]
        for number, (index, each) in enumerate(found):
            options = [best[number], before[number + 1]]
            if place.start_s - EARLY_S <= each.time_s <= place.end_s + late_s:
                total, matched = before[number]
                options.append((total + each.confidence, (*matched, index)))
            best.append(max(options, key=lambda option: option[0]))
    return best[-1][1]


def best_point(points: Sequence[OperatingPoint], most_per_hour: float) -> OperatingPoint | None:
    """The point with most keywords found among those with so many false alarms an hour at most; the highest threshold
    of equals. None if there is no such point."""
    allowed = [point for point in points if point.false_per_hour <= most_per_hour]
    return max(allowed, key=lambda point: (point.found, point.threshold), default=None)

"""Subtitles: cues that can be read, in the forms of SubRip and WebVTT."""

from __future__ import annotations

import itertools

import pytest

from service.tasks.transcription.segments import MAX_CHARACTERS, MAX_SEGMENT_S, TimedWord, segments_of
from service.tasks.transcription.subtitles import Cue, cues_of, srt_of, vtt_of


def spoken(words: list[str], each_s: float = 0.4, start_s: float = 0.0) -> list[TimedWord]:
    return [
        TimedWord(word, start_s + number * each_s, start_s + (number + 1) * each_s - 0.05)
        for number, word in enumerate(words)
    ]


@pytest.mark.parametrize("each_s", [0.05, 0.4, 1.0, 3.0])
def test_long_speech_is_cut_into_cues_that_can_be_read(each_s: float) -> None:
    """No word is lost; no cue is too long, lasts too long, or overlaps the next one."""
    words = [f"word{number}" for number in range(200)]
    cues = cues_of(segments_of(spoken(words, each_s)))
    assert " ".join(cue.text for cue in cues).split() == words
    assert all(len(cue.text) <= MAX_CHARACTERS for cue in cues)
    assert all(0 < cue.end_s - cue.start_s <= MAX_SEGMENT_S for cue in cues)
    assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(cues))


def test_a_pause_ends_a_cue_and_silence_has_none() -> None:
    joined = [*spoken(["a", "b"]), *spoken(["c"], start_s=5.0)]
    assert [cue.text for cue in cues_of(segments_of(joined))] == ["a b", "c"]
    assert cues_of(segments_of([])) == []


def test_a_word_heard_in_a_single_step_is_shown_until_it_can_be_read() -> None:
    """But not beyond the beginning of the next cue."""
    words = [TimedWord("two", 2.6, 2.64), TimedWord("three", 9.0, 9.04), TimedWord("x" * 84, 9.2, 9.3)]
    found = [(cue.start_s, round(cue.end_s, 3)) for cue in cues_of(segments_of(words))]
    assert found == [(2.6, 3.3), (9.0, 9.2), (9.2, 9.9)]


def test_the_forms_are_those_that_players_read() -> None:
    cues = [Cue(0.0, 1.0004, "a <b> & c"), Cue(3725.5, 3727.0, "x " * 30 + "y")]
    assert srt_of(cues[:1]) == "1\n00:00:00,000 --> 00:00:01,000\na <b> & c\n\n"
    assert vtt_of(cues[:1]) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na &lt;b&gt; &amp; c\n"
    assert "01:02:05,500 --> 01:02:07,000\n" in srt_of(cues)
    assert max(len(line) for line in srt_of(cues).splitlines()) <= 42

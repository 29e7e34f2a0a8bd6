"""Subtitles: cues that can be read, in the forms of SubRip and WebVTT."""

from __future__ import annotations

import itertools

import pytest

from service.cli.transcription.subtitles import MAX_CUE_CHARACTERS, MAX_CUE_S, Cue, cues_of, srt_of, vtt_of
from service.client import TranscribedWord, Transcription


def spoken(words: list[str], each_s: float = 0.4, start_s: float = 0.0) -> Transcription:
    timed = [
        TranscribedWord(
            word=word, start_s=start_s + n * each_s, end_s=start_s + (n + 1) * each_s - 0.05, confidence=0.9
        )
        for n, word in enumerate(words)
    ]
    return Transcription(text=" ".join(words), start_s=start_s, end_s=start_s + len(words) * each_s, words=timed)


@pytest.mark.parametrize("each_s", [0.05, 0.4, 1.0, 3.0])
def test_long_speech_is_cut_into_cues_that_can_be_read(each_s: float) -> None:
    """No word is lost; no cue is too long, lasts too long, or overlaps the next one."""
    words = [f"word{number}" for number in range(200)]
    cues = cues_of([spoken(words, each_s)])
    assert " ".join(cue.text for cue in cues).split() == words
    assert all(len(cue.text) <= MAX_CUE_CHARACTERS for cue in cues)
    assert all(0 < cue.end_s - cue.start_s <= MAX_CUE_S for cue in cues)
    assert all(before.end_s <= after.start_s for before, after in itertools.pairwise(cues))


def test_a_pause_ends_a_cue_and_silence_has_none() -> None:
    one, two = spoken(["a", "b"]), spoken(["c"], start_s=5.0)
    joined = Transcription(text="a b c", words=[*(one.words or []), *(two.words or [])])
    assert [cue.text for cue in cues_of([joined, Transcription(text="", confidence=None)])] == ["a b", "c"]


def test_without_words_an_utterance_is_a_cue() -> None:
    assert cues_of([Transcription(text="hello there", start_s=1.0, end_s=2.5)]) == [Cue(1.0, 2.5, "hello there")]


def test_the_forms_are_those_that_players_read() -> None:
    cues = [Cue(0.0, 1.0004, "a <b> & c"), Cue(3725.5, 3727.0, "x " * 30 + "y")]
    assert srt_of(cues[:1]) == "1\n00:00:00,000 --> 00:00:01,000\na <b> & c\n\n"
    assert vtt_of(cues[:1]) == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na &lt;b&gt; &amp; c\n"
    assert "01:02:05,500 --> 01:02:07,000\n" in srt_of(cues)
    assert max(len(line) for line in srt_of(cues).splitlines()) <= 42

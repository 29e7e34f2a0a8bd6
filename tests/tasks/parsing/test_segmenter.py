"""Raw text is cut into sentences and words: forms of text, windows, limits, multiword tokens, and places."""

from __future__ import annotations

import random

import numpy as np
import pytest
from pydantic import ValidationError

from service.bundle.task_options import SegmenterOptions
from service.errors import InvalidInput
from service.tasks.parsing.segmenter import SEGMENTER, Segmenter
from tests.tasks.builders import FunctionRunner
from tests.tasks.parsing.tiny_segmenter import MARGIN, TOKENIZER, WINDOW, by_rules, cut, never_ending, segmenter_bundle

OPTIONS = SegmenterOptions(
    window=WINDOW,
    margin=MARGIN,
    expansions={"du": ("de", "le"), "its's": ("its's",), "cannot": ("can", "not")},
    suffixes={"n't": ("", "n't"), "'s": ("", "'s"), "á-lo": ("ar", "lo")},
)


def words_of(text: str, **changes: object) -> list[list[str]]:
    return [list(sentence.words) for sentence in cut(text, **changes)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A b. C d.", [["A", "b", "."], ["C", "d", "."]]),
        ("a", [["a"]]),
        (".", [["."]]),
        ("  a b\t c  ", [["a", "b", "c"]]),
        ("title\n\ntext goes on\r\n\r\nend", [["title"], ["text", "goes", "on"], ["end"]]),
        ("one\nline", [["one", "line"]]),
        ("a \u2029 \u2029 b", [["a"], ["b"]]),
        ("\ufeffa\u200bb", [["a", "b"]]),
        ("write to a@b/c-d now", [["write", "to", "a@b/c-d", "now"]]),
        ("no end. at all", [["no", "end", "."], ["at", "all"]]),
    ],
)
def test_texts_are_cut(text: str, expected: list[list[str]]) -> None:
    """White space ends words and blank lines sentences; the last sentence needs no mark; all else says the graph."""
    assert words_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cafe\u0301 x",
        "\U0001f469\u200d\U0001f469\u200d\U0001f467 x",
        "\U0001f44d\U0001f3fd x",
        "\u0928\u0940 x",
        "\U0001f1e9\U0001f1ea x",
    ],
)
def test_no_word_ends_within_a_character(text: str) -> None:
    """Combining marks, joined emoji, skin tones, vowel signs and flags stay whole, whatever the graph says."""
    assert words_of(text) == [text.split(" ")]


def test_two_flags_are_two_words() -> None:
    """The letters of flags belong together in pairs alone."""
    assert words_of("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7") == [["\U0001f1e9\U0001f1ea", "\U0001f1eb\U0001f1f7"]]


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff"])
def test_texts_without_words_are_refused(text: str) -> None:
    """Nothing, white space, and characters without width."""
    with pytest.raises(InvalidInput, match=r"the text (is empty|holds no words)"):
        cut(text)


def test_longer_texts_than_the_limit_are_refused() -> None:
    """The message has both numbers."""
    with pytest.raises(InvalidInput, match="the input has 11 characters, this model takes at most 10"):
        cut("a" * 11, SegmenterOptions(window=WINDOW, margin=MARGIN, max_characters=10))


def test_words_are_at_their_places() -> None:
    """`text[start:end]` is the word, of random texts of all kinds of characters; nothing visible is lost."""
    rng = random.Random(1)
    for _ in range(200):
        text = "a" + "".join(rng.choices("ab .\n\t'\u0301\u00e9\u4e2d\U0001f600\u200d\r", k=rng.randint(0, 150)))
        sentences = cut(text)
        places = [place for sentence in sentences for place in sentence.places]
        words = [word for sentence in sentences for word in sentence.words]
        assert [text[start:end] for start, end in places] == words
        assert "".join(words) == "".join(text.split())
        assert places == sorted(places)


def test_windows_change_nothing() -> None:
    """A long text is cut the same in windows as at once, with a bounded number of rows in one run."""
    text = "Some words of a sentence. " * 300
    runner = FunctionRunner(**{SEGMENTER: by_rules})
    bundle = segmenter_bundle()
    assert bundle.manifest.options.segmenter is not None  # type: ignore[union-attr]
    segmenter = Segmenter(bundle, bundle.manifest.options.segmenter)  # type: ignore[union-attr]
    both = segmenter.cut(runner, [segmenter.read(text), segmenter.read("a b.")])
    assert both == [cut(text, SegmenterOptions(window=4096, margin=1)), cut("a b.")]
    shapes = [feeds["characters"].shape for _, feeds in runner.calls]
    assert max(rows for rows, _ in shapes) == 64
    assert max(time for _, time in shapes) <= WINDOW
    assert sum(rows for rows, _ in shapes) <= len(text) / (WINDOW - 2 * MARGIN) + 2


def test_scores_that_are_not_finite_are_told() -> None:
    """Of the text that has them, and of no other in the batch."""
    bundle = segmenter_bundle()
    segmenter = Segmenter(bundle, bundle.manifest.options.segmenter)  # type: ignore[union-attr, arg-type]

    def graph(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = by_rules(feeds)
        outputs["boundary_logits"][feeds["lengths"] > 4] = np.nan
        return outputs

    found = segmenter.cut(FunctionRunner(**{SEGMENTER: graph}), [segmenter.read("a b"), segmenter.read("abc def")])  # type: ignore[arg-type]
    assert [each is None for each in found] == [False, True]


def test_long_sentences_are_cut_at_the_best_place() -> None:
    """Where an end is likeliest in the second half of the limit; no part is longer, none is empty, none is lost."""
    text = "a b c d e f g h; i j k l m n o p q r s t u v"

    def graph(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = by_rules(feeds)
        outputs["boundary_logits"][:, :, 2] += (feeds["characters"] == TOKENIZER.token_id(";")) * 5.0
        return outputs

    assert words_of(text, words=12, graph=graph) == [[*"abcdefgh;"], [*"ijklmnopqrst"], [*"uv"]]
    assert words_of("a b c", words=1) == [["a"], ["b"], ["c"]]


def test_a_text_without_ends_is_cut_at_blanks() -> None:
    """A word may be as long as the text; a number keeps its blank only where the model has such numbers."""
    assert words_of("abc def 10 000", graph=never_ending) == [["abc", "def", "10", "000"]]
    with_numbers = SegmenterOptions(window=WINDOW, margin=MARGIN, blanks_in_numbers=True)
    assert words_of("abc def 10 000", options=with_numbers, graph=never_ending) == [["abc", "def", "10 000"]]
    assert words_of("10  000\n1", options=with_numbers, graph=never_ending) == [["10", "000\n1"]]
    assert words_of("x" * 5000, graph=never_ending) == [["x" * 5000]]


@pytest.mark.parametrize(
    ("text", "words", "places"),
    [
        ("du", ("de", "le"), ((0, 2), (0, 2))),
        ("Du", ("De", "le"), ((0, 2), (0, 2))),
        ("DU", ("DE", "LE"), ((0, 2), (0, 2))),
        ("Don't", ("Do", "n't"), ((0, 2), (2, 5))),
        ("DON'T", ("DO", "N'T"), ((0, 2), (2, 5))),
        ("Cannot", ("Can", "not"), ((0, 3), (3, 6))),
        ("its's", ("its's",), ((0, 5),)),
        ("'s", ("'s",), ((0, 2),)),
    ],
)
def test_multiword_tokens_are_expanded(text: str, words: tuple[str, ...], places: tuple[tuple[int, int], ...]) -> None:
    """By the table, else by the ending; in the case of the text, with the places of the parts or of the whole."""
    (sentence,) = cut(text, OPTIONS)
    assert (sentence.words, sentence.places) == (words, places)
    assert [(each.text, each.first_word, each.num_words) for each in sentence.multiwords] == (
        [(text, 0, len(words))] if len(words) > 1 else []
    )


def test_abbreviations_keep_their_full_stops() -> None:
    """Known ones are one word and end no sentence unless that is very likely, or a paragraph ends; initials may."""
    options = SegmenterOptions(window=WINDOW, margin=MARGIN, abbreviations=("dr.", "u.s."))
    assert words_of("Dr. No.", options=options) == [["Dr."], ["No", "."]]

    def doubtful(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = by_rules(feeds)
        outputs["boundary_logits"][:, :, 2] *= 0.1
        return outputs

    assert words_of("A Dr. No. B", options=options, graph=doubtful) == [["A", "Dr.", "No", "."], ["B"]]
    assert words_of("A Dr.\n\nNo", options=options, graph=doubtful) == [["A", "Dr."], ["No"]]
    assert words_of("u.s. a", options=options, graph=doubtful)[-1] == ["a"]

    def whole_dots(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = by_rules(feeds)
        dots = feeds["characters"] == TOKENIZER.token_id(".")
        before_another = np.append(dots[:, :-1] & dots[:, 1:], np.zeros((len(dots), 1), dtype=bool), axis=1)
        outputs["boundary_logits"][before_another] = [9.0, 0.0, 0.0]
        return outputs

    assert words_of("Dr... a", options=options, graph=whole_dots)[0] == ["Dr", "..."]


def test_marks_of_other_scripts_end_sentences() -> None:
    """They are read as the full stop that training knows; letters as letters of their kind."""
    assert words_of("ab\u3002 \u0430\u0431 \u0964 c") == [["ab", "\u3002"], ["\u0430\u0431", "\u0964"], ["c"]]


def test_a_limit_holds_with_multiword_tokens() -> None:
    """Words are counted, not tokens; a token with more words than the limit is one word."""
    assert [len(sentence.words) for sentence in cut("du du du", OPTIONS, words=4)] == [4, 2]
    assert words_of("du a", options=OPTIONS, words=1) == [["du"], ["a"]]


def test_tables_must_have_words() -> None:
    """A token that is nothing would leave a hole in the text."""
    with pytest.raises(ValueError, match="has no words"):
        cut("a", SegmenterOptions(expansions={"a": ()}))


def test_margins_must_leave_a_window() -> None:
    """Otherwise nothing of a window would be kept."""
    with pytest.raises(ValidationError, match="larger than its two margins"):
        SegmenterOptions(window=20, margin=10)

"""Segmentation of raw text into sentences and words: a bidirectional GRU over characters (Straka et al. 2016).

Every character is inside a token, ends one, or ends one and a sentence. Long texts are read in windows that overlap, so
that the cost of a text is linear in its length, and windows of several texts make one batch. White space ends a token,
and a blank line a sentence, whatever the network says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from service.bundle.load import Bundle
from service.bundle.padding import Array, FloatArray, lengths_of, pad_ids
from service.bundle.task_options import SegmenterOptions
from service.errors import InvalidInput
from service.tasks.core.probabilities import softmax
from service.tasks.core.task import Runner, require_at_most, require_text
from service.tasks.parsing.character_text import PARAGRAPH_END, Alphabet, CharacterText, joins_next, read_characters
from service.tasks.parsing.multiword_tokens import MultiwordTokens, places_of_words

SEGMENTER: Final = "segmenter"
#: Classes of characters, in the order of their logits.
INSIDE, TOKEN_END, SENTENCE_END = range(3)
#: Windows of one run. More make it no faster, and cost memory.
_ROWS: Final = 64
#: How likely the end of a sentence must be after a word that is shortened, with whose full stop few sentences end.
_SURE: Final = 0.9


class Multiword(NamedTuple):
    """A token of several words: its form, its place in the text, and its first word in the sentence."""

    text: str
    start: int
    end: int
    first_word: int
    num_words: int


class CutSentence(NamedTuple):
    """A sentence of a text: its words with their places in code points, and which of its tokens are several words."""

    words: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    multiwords: tuple[Multiword, ...]

    @property
    def start(self) -> int:
        return self.places[0][0]

    @property
    def end(self) -> int:
        return self.places[-1][1]


class RawText(NamedTuple):
    """A text that is to be cut, and its characters."""

    text: str
    characters: CharacterText


class _Token(NamedTuple):
    """A token, its words, and how likely a sentence ends with it."""

    start: int
    end: int
    words: tuple[str, ...]
    end_score: float
    ends_sentence: bool


class Segmenter:
    """Cuts texts for a bundle that has the graph `segmenter`."""

    def __init__(self, bundle: Bundle, options: SegmenterOptions) -> None:
        self._options = options
        self._max_words = bundle.manifest.limits.max_input_tokens
        self._alphabet = Alphabet(bundle.tokenizers[SEGMENTER])
        self._abbreviations = frozenset(options.abbreviations)
        self._multiwords = MultiwordTokens(options.expansions, options.suffixes)

    def read(self, text: str) -> RawText:
        """The characters of a text. Raises InvalidInput if it is too long, empty, or no text."""
        require_at_most(len(text), self._options.max_characters, "characters")
        characters = read_characters(require_text(text), self._alphabet)
        if not characters.ids:
            raise InvalidInput("the text holds no words")
        return RawText(text, characters)

    def cut(self, runner: Runner, texts: Sequence[RawText]) -> list[list[CutSentence] | None]:
        """The sentences of each text; None where the network computed no finite numbers. Raises InferenceFailed."""
        scores = self._scores(runner, [text.characters.ids for text in texts])
        return [
            self._sentences(text, softmax(found)) if np.isfinite(found).all() else None
            for text, found in zip(texts, scores, strict=True)
        ]

    def _scores(self, runner: Runner, texts: Sequence[Sequence[int]]) -> list[FloatArray]:
        """The logits of the characters of each text, `[characters, 3]`."""
        scores = [np.zeros((len(ids), SENTENCE_END + 1), dtype=np.float32) for ids in texts]
        windows = [window for row, ids in enumerate(texts) for window in self._windows(row, len(ids))]
        # Windows of similar length together, so that little is padded.
        windows.sort(key=lambda window: window.last - window.first)
        for start in range(0, len(windows), _ROWS):
            batch = windows[start : start + _ROWS]
            spelled = [texts[window.row][window.first : window.last] for window in batch]
            feeds = {"characters": pad_ids(spelled), "lengths": lengths_of(spelled)}
            logits = runner.run(SEGMENTER, feeds)["boundary_logits"]
            for row, window in enumerate(batch):
                kept = slice(window.kept - window.first, window.kept_to - window.first)
                scores[window.row][window.kept : window.kept_to] = logits[row, kept]
        return scores

    def _windows(self, row: int, size: int) -> Iterator[_Window]:
        """Windows over a text; of each only the middle is kept, whose neighbours the network has seen."""
        margin, step = self._options.margin, self._options.window - 2 * self._options.margin
        if size <= self._options.window:
            yield _Window(row, 0, size, 0, size)
            return
        for kept in range(0, size, step):
            kept_to = min(kept + step, size)
            yield _Window(row, max(0, kept - margin), min(kept_to + margin, size), kept, kept_to)

    def _sentences(self, text: RawText, scores: Array) -> list[CutSentence]:
        sentences, tokens = [], list[_Token]()
        for token in self._tokens(text, scores):
            tokens.append(token)
            if token.ends_sentence:
                sentences += [_sentence(text.text, part) for part in within_limit(tokens, self._max_words)]
                tokens = []
        return sentences

    def _tokens(self, text: RawText, scores: Array) -> Iterator[_Token]:
        _, places, is_blank = text.characters
        ends, sentence_ends = self._ends(text, scores)
        start = 0
        for place in np.flatnonzero(ends).tolist():
            while is_blank[start]:
                start += 1
            first, last = places[start], places[place] + 1
            # A full stop that is a token, not the first of several, belongs to the abbreviation before it.
            if ends[place + 1] and self._is_abbreviation(text.text[first : last + 1]):
                continue
            words = self._multiwords.words(text.text[first:last])
            allowed = words if len(words) <= self._max_words else (text.text[first:last],)
            score, ends_sentence = float(scores[place, SENTENCE_END]), bool(sentence_ends[place])
            if ends_sentence and self._is_word_with_stop(text.text[first:last]):
                ends_sentence = score >= _SURE or text.characters.ids[place + 1] == PARAGRAPH_END
            yield _Token(first, last, allowed, score, ends_sentence)
            start = place + 1

    def _is_word_with_stop(self, form: str) -> bool:
        """Whether a form is shortened as "Dr." is; "U.S.", whose letters are initials, ends sentences more often."""
        return "." not in form[:-1] and self._is_abbreviation(form)

    def _is_abbreviation(self, form: str) -> bool:
        return form.endswith(".") and form.lower() in self._abbreviations

    def _ends(self, text: RawText, scores: Array) -> tuple[Array, Array]:
        """`[characters]` each: whether a token ends with a character, and whether a sentence does."""
        ids, blanks = np.array(text.characters.ids), np.array(text.characters.is_blank)
        chosen = np.where(blanks, INSIDE, scores.argmax(axis=1))
        chosen[(scores[:, INSIDE] < 0.5) & (chosen == INSIDE) & ~blanks] = TOKEN_END
        joined = joins_next(text.text, text.characters)
        for place in np.flatnonzero(joined).tolist():
            chosen[place + 1] = max(chosen[place], chosen[place + 1])
            chosen[place] = INSIDE
        before_blank = np.append(blanks[1:], False) & ~blanks
        before_blank &= ~self._within_numbers(text)
        chosen[before_blank & (chosen == INSIDE)] = TOKEN_END
        ends_paragraph = np.append(ids[1:] == PARAGRAPH_END, False) & ~blanks
        chosen[ends_paragraph] = SENTENCE_END
        return chosen > INSIDE, chosen == SENTENCE_END

    def _within_numbers(self, text: RawText) -> Array:
        """`[characters]`: whether a blank between digits follows, which may stand in a number such as 10 000."""
        found = np.zeros(len(text.characters.ids), dtype=bool)
        if not self._options.blanks_in_numbers:
            return found
        places, is_blank = text.characters.places, text.characters.is_blank
        for blank in np.flatnonzero(is_blank[:-1]).tolist():
            is_single = places[blank + 1] == places[blank] + 1
            before, after = text.text[places[blank - 1]], text.text[places[blank + 1]]
            found[blank - 1] = is_single and before.isdecimal() and after.isdecimal()
        return found


class _Window(NamedTuple):
    """Characters `first` to `last` of the text `row`, whose scores are kept from `kept` to `kept_to`."""

    row: int
    first: int
    last: int
    kept: int
    kept_to: int


def within_limit(tokens: Sequence[_Token], max_words: int) -> Iterator[Sequence[_Token]]:
    """The tokens of a sentence, in parts of at most `max_words` words.

    A longer one is cut where its end is most likely, in the second half of what is allowed, so that no part is short.
    """
    while True:
        counts = np.cumsum([len(token.words) for token in tokens])
        if counts[-1] <= max_words:
            yield tokens
            return
        most = int(np.searchsorted(counts, max_words, side="right"))
        least = min(int(np.searchsorted(counts, max_words // 2, side="left")), most - 1)
        best = max(range(least, most), key=lambda place: (tokens[place].end_score, place))
        yield tokens[: best + 1]
        tokens = tokens[best + 1 :]


def _sentence(text: str, tokens: Sequence[_Token]) -> CutSentence:
    words, places, multiwords = list[str](), list[tuple[int, int]](), []
    for token in tokens:
        form = text[token.start : token.end]
        if len(token.words) > 1:
            multiwords.append(Multiword(form, token.start, token.end, len(words), len(token.words)))
        places += places_of_words(token.start, form, token.words)
        words += token.words
    return CutSentence(tuple(words), tuple(places), tuple(multiwords))

"""Windows of raw text for a segmenter, with a class of each character; and what is learned of multiword tokens."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from service.bundle.padding import Array, lengths_of, pad_ids
from service.bundle.tokenizer import EOS, UNK, TextTokenizer
from service.tasks.parsing.character_text import BLANK, LINE_END, PARAGRAPH_END, Alphabet, read_characters
from service.tasks.parsing.multiword_tokens import MAX_SUFFIX, MultiwordTokens
from service.tasks.parsing.segmenter import INSIDE, SENTENCE_END, TOKEN_END
from training.data.readers.treebanks.raw_text import RawText
from training.data.records import ParsedSentence
from training.preprocessing.batches import NO_LABEL, SegmentationBatch
from training.preprocessing.batching import Order, ids_tensor, lengths_tensor
from training.preprocessing.vocabulary import fit_characters

#: Characters of a window.
_WINDOW: Final = 300
#: Rarer characters are unknown.
_MIN_COUNT: Final = 3
#: The share of characters that are read as unknown, so that those are learned too.
_UNKNOWN: Final = 0.005
#: The share of windows in which ends of sentences may be ends of lines; in which ends of paragraphs are; in which
#: lines end wherever they are full; and in which the last mark before an end of a paragraph is left out.
_LINES, _PARAGRAPHS, _WRAPPED, _UNMARKED = 0.2, 0.2, 0.1, 0.1
#: Characters of a line that is full, at least and at most.
_LINE: Final = (50, 90)
#: Endings are learned that were seen so often, and are of multiword tokens in this share of the tokens.
_MIN_SUFFIX, _MIN_SHARE = 3, 0.7
#: What whole tokens are learned from: so many occurrences, as one may be a slip of the writer.
_MIN_SEEN: Final = 2
#: In at most this share of its occurrences an abbreviation ends a sentence.
_SELDOM: Final = 0.1
#: Stands for what is before an ending.
_ANY: Final = "-"

#: A form in lower case -> how often it was each sequence of words.
FormCounts = Mapping[str, Counter[tuple[str, ...]]]


def segmenter_alphabet(text: str) -> TextTokenizer:
    """The characters of a raw text; blanks and ends of lines, which white space is read as, are always among them."""
    return fit_characters([text, (BLANK + LINE_END) * _MIN_COUNT], _MIN_COUNT)


class SegmentationWindows:
    """Windows of a raw text, with new beginnings in every epoch.

    An index of a batch is the place where a window begins.
    """

    def __init__(self, raw: RawText, alphabet: TextTokenizer, batch_size: int, seed: int) -> None:
        ids = Alphabet(alphabet)
        read = read_characters(raw.text, ids)
        self._ids, self._classes = np.array(read.ids), classes_of(raw, read.places)
        self._blank, self._line_end = ids.id_of(BLANK), ids.id_of(LINE_END)
        self._batch_size = batch_size
        self._seed = seed

    def epoch(self, number: int) -> list[Order]:
        """Beginnings of windows that follow one another, from a random place on; in random order."""
        generator = np.random.default_rng((self._seed, number))
        starts = np.arange(generator.integers(_WINDOW) - _WINDOW + 1, len(self._ids), _WINDOW)
        starts = generator.permutation(np.maximum(starts, 0))
        return [starts[i : i + self._batch_size] for i in range(0, len(starts), self._batch_size)]

    def batch(self, indices: Order) -> SegmentationBatch:
        generator = np.random.default_rng((self._seed, *indices.tolist()))
        windows = [self._window(start, generator) for start in indices.tolist()]
        ids, classes = ([window[part].tolist() for window in windows] for part in (0, 1))
        lengths = lengths_of(ids)
        targets = pad_ids(classes)
        targets[np.arange(targets.shape[1]) >= lengths[:, None]] = NO_LABEL
        return SegmentationBatch(ids_tensor(pad_ids(ids)), lengths_tensor(ids), ids_tensor(targets))

    def _window(self, start: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """Ids and classes of one window, augmented."""
        ids, classes = (part[start : start + _WINDOW].copy() for part in (self._ids, self._classes))
        at_end = np.append(False, classes[:-1] == SENTENCE_END)
        chance = generator.random(4)
        if chance[0] < _LINES:
            ids[at_end & (ids == self._blank) & (generator.random(len(ids)) < 0.5)] = self._line_end
        if chance[1] < _WRAPPED:
            ids[self._full_lines(ids, generator)] = self._line_end
        if chance[2] < _UNMARKED:
            ids, classes = _without_last_marks(ids, classes)
        if chance[3] < _PARAGRAPHS:
            ids[:-1][ids[:-1] == PARAGRAPH_END] = self._line_end
        is_visible = (ids > EOS) & (ids != self._blank) & (ids != self._line_end)
        ids[is_visible & (generator.random(len(ids)) < _UNKNOWN)] = UNK
        return ids, classes

    def _full_lines(self, ids: Array, generator: np.random.Generator) -> list[int]:
        """The blanks at which lines of about the same length end."""
        width, found, start = int(generator.integers(*_LINE)), [], 0
        for blank in np.flatnonzero(ids == self._blank).tolist():
            if blank - start >= width:
                found.append(blank)
                start = blank
        return found


def classes_of(raw: RawText, places: Sequence[int]) -> Array:
    """`[characters]`: the class of each character that was read of a raw text, by its place in it."""
    classes = np.full(len(raw.text) + 1, INSIDE)
    for tokens in raw.sentences:
        for token in tokens:
            classes[token.end - 1] = TOKEN_END
        classes[tokens[-1].end - 1] = SENTENCE_END
    return np.asarray(classes[np.array(places)])


def _without_last_marks(ids: Array, classes: Array) -> tuple[Array, Array]:
    """Without the tokens of one character that end a paragraph, such as its full stop."""
    is_last = (ids[2:] == PARAGRAPH_END) & (classes[1:-1] == SENTENCE_END)
    ends = np.flatnonzero(is_last & (classes[:-2] == TOKEN_END)) + 1
    classes = classes.copy()
    classes[ends - 1] = SENTENCE_END
    return np.delete(ids, ends), np.delete(classes, ends)


def abbreviations(sentences: Iterable[ParsedSentence]) -> tuple[str, ...]:
    """Tokens with a full stop, in lower case, that are seldom cut before it and seldom end a sentence."""
    whole, cut, last = Counter[str](), Counter[str](), Counter[str]()
    for sentence in sentences:
        forms = [form.lower() for form, _ in _tokens(sentence)]
        whole.update(form for form in forms if _has_stop(form))
        cut.update(form + "." for form, after in pairwise(forms) if after == ".")
        last.update(forms[-1:])
    return tuple(
        sorted(
            form
            for form, count in whole.items()
            if count >= _MIN_SEEN and last[form] <= _SELDOM * count and count >= _MIN_SHARE * (count + cut[form])
        )
    )


def _has_stop(form: str) -> bool:
    return form.endswith(".") and any(map(str.isalpha, form))


class MultiwordTables(NamedTuple):
    """Tables of multiword tokens, as in `SegmenterOptions`."""

    expansions: dict[str, tuple[str, ...]]
    suffixes: dict[str, tuple[str, ...]]


def multiword_tables(sentences: Iterable[ParsedSentence]) -> MultiwordTables:
    """The expansions that train has: by the ends of tokens where those tell enough, else by whole tokens.

    A token that is sometimes one word and sometimes several, such as "its", is what it is more often.
    """
    counts = _count_forms(sentences)
    likeliest = {form: min(found, key=lambda words: (-found[words], words)) for form, found in counts.items()}
    suffixes = _suffixes(counts, likeliest)
    by_suffix = MultiwordTokens({}, suffixes)
    expansions = {
        form: words
        for form, words in sorted(likeliest.items())
        if by_suffix.words(form) != words and (len(words) == 1 or counts[form][words] >= _MIN_SEEN)
    }
    return MultiwordTables(expansions, suffixes)


def _count_forms(sentences: Iterable[ParsedSentence]) -> FormCounts:
    counts: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for sentence in sentences:
        for form, words in _tokens(sentence):
            counts[form.lower()][tuple(word.lower() for word in words)] += 1
    return counts


def _tokens(sentence: ParsedSentence) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The tokens of a sentence with their words; one word is the token itself."""
    word = 0
    for start, end, num_words in sentence.surface.tokens if sentence.surface is not None else ():
        form = sentence.surface.text[start:end] if sentence.surface is not None else ""
        yield form, sentence.words[word : word + num_words] if num_words > 1 else (form,)
        word += num_words


def _suffixes(counts: FormCounts, likeliest: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Endings of tokens -> what they become, where that is right for most of the different tokens that end so."""
    made: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for form, words in likeliest.items():
        if len(words) > 1:
            common = _common(form, words[0])
            for place in range(min(common, len(form) - 1), max(0, len(form) - MAX_SUFFIX - 1), -1):
                made[form[place:]][words[0][place:], *words[1:]] += 1
    ending = Counter(form[-size:] for form in counts for size in range(1, min(MAX_SUFFIX, len(form) - 1) + 1))
    kept: dict[str, tuple[str, ...]] = {}
    for suffix in sorted(made, key=lambda suffix: (len(suffix), suffix)):
        words = min(made[suffix], key=lambda words: (-made[suffix][words], words))
        # A longer ending is kept only if it becomes something else than the shorter one within it does.
        before = MultiwordTokens({}, kept).words(_ANY + suffix)
        is_sure = made[suffix][words] >= max(_MIN_SUFFIX, _MIN_SHARE * ending[suffix])
        if is_sure and before != (_ANY + words[0], *words[1:]):
            kept[suffix] = words
    return dict(sorted(kept.items()))


def _common(a: str, b: str) -> int:
    """The length of the longest beginning that two strings share."""
    size = 0
    while size < min(len(a), len(b)) and a[size] == b[size]:
        size += 1
    return size

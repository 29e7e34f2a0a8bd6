"""Words with their parts of speech and lemmas: the table of those in train, and batches of them for a lemmatizer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import torch

from service.bundle.padding import pad_ids
from service.bundle.tokenizer import BOS, EOS, UNK, TextTokenizer
from service.tasks.parsing.lemma_table import edit_script
from service.tasks.parsing.lemmatizer import MORE_CHARACTERS, is_readable
from training.data.readers.treebanks.lemmas import LemmaType, words_with_lemmas
from training.data.records import ParsedSentence
from training.preprocessing.batches import LemmaBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor, lengths_tensor

#: With fewer words than this that have a lemma, a lemmatizer has nothing to learn from.
MIN_LEMMAS: Final = 100


#: How often each lemma was seen, by word and part of speech.
LemmaCounts = Mapping[tuple[str, str], Counter[str]]


def count_lemmas(sentences: Iterable[ParsedSentence]) -> LemmaCounts:
    """Count the lemmas of train."""
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for word, tag, lemma in words_with_lemmas(sentences):
        counts[word, tag][lemma] += 1
    return counts


def lemma_types(counts: LemmaCounts) -> list[LemmaType]:
    """Each word and tag once, with its most frequent lemma; of equally frequent ones the first in the alphabet."""
    return [LemmaType(word, tag, _most_frequent(found)) for (word, tag), found in sorted(counts.items())]


def lemma_table(counts: LemmaCounts) -> dict[str, dict[str, str]]:
    """The table of a bundle: tag -> edit script -> words, separated by blanks.

    Where the lemma is in lower case so is the entry, which holds for the word in any case; a word that differs from it
    has an entry of its own. Words with white space have none. Tags with many words come first.
    """
    lower: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (word, tag), found in counts.items():
        for lemma, count in found.items():
            if lemma == lemma.lower():
                lower[word.lower(), tag][lemma] += count
    general = {key: _most_frequent(found) for key, found in lower.items()}
    own = {(word, tag): lemma for word, tag, lemma in lemma_types(counts) if general.get((word.lower(), tag)) != lemma}
    table: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (word, tag), lemma in sorted((general | own).items()):
        if not any(map(str.isspace, word + lemma)):
            table[tag][edit_script(word, lemma)].append(word)
    sizes = {tag: sum(map(len, scripts.values())) for tag, scripts in table.items()}
    tags = sorted(table, key=lambda tag: (-sizes[tag], tag))
    return {tag: {script: " ".join(words) for script, words in table[tag].items()} for tag in tags}


def _most_frequent(found: Counter[str]) -> str:
    return min(found, key=lambda lemma: (-found[lemma], lemma))


class LemmaSet(Bucketed):
    """Types as batches: those that the network can read, and whose lemma it can write."""

    def __init__(
        self,
        types: Iterable[LemmaType],
        characters: TextTokenizer,
        labels: Sequence[str],
        max_characters: int,
        batch_size: int,
        seed: int,
    ) -> None:
        number = {label: index for index, label in enumerate(labels)}
        read = [each for each in types if each.tag in number and _is_writable(each, characters, max_characters)]
        super().__init__([len(each.word) for each in read], batch_size, seed)
        self._words = [characters.encode_characters(each.word, max_characters) for each in read]
        self._tags = [number[each.tag] for each in read]
        self._lemmas = [characters.encode_characters(each.lemma, len(each.lemma)) for each in read]

    def __len__(self) -> int:
        return len(self._words)

    def batch(self, indices: Order) -> LemmaBatch:
        words, lemmas = [self._words[i] for i in indices], [self._lemmas[i] for i in indices]
        return LemmaBatch(
            characters=ids_tensor(pad_ids(words)),
            lengths=lengths_tensor(words),
            tags=torch.tensor([self._tags[i] for i in indices]),
            letters=ids_tensor(pad_ids([[BOS, *lemma] for lemma in lemmas])),
            targets=ids_tensor(pad_ids([[*lemma, EOS] for lemma in lemmas])),
        )


def _is_writable(each: LemmaType, characters: TextTokenizer, max_characters: int) -> bool:
    """Whether the service would ask the network for this word, and it can spell the lemma."""
    lemma = each.lemma
    is_short = len(lemma) <= len(each.word) + MORE_CHARACTERS
    is_known = UNK not in characters.encode_characters(lemma, len(lemma))
    return is_short and is_known and is_readable(each.word, characters, max_characters)

"""Texts that were cut into sentences and words: by a treebank, by the service, and by rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from service.bundle.tokenizer import TextTokenizer
from training.data.readers.treebanks.conllu_line import NOTHING
from training.data.readers.treebanks.raw_text import RawText
from training.data.records import ParsedSentence
from training.evaluation.parsing.raw_text_scores import ROOT, Cut, RawWord

#: What the rules are called.
RULES: Final = "words by rules, sentences to . ! ? before a capital, or to the end of a line"
#: An end of a sentence: marks, perhaps a closing quote or bracket, and a capital after the blank; or the end of a line.
_SENTENCE_END: Final = re.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s+[\"'“‘«(\[]*[^\W\d_a-zß-öø-ÿ])|[^\s](?=\s*\n)")


def treebank_cut(sentences: Sequence[ParsedSentence], raw: RawText) -> Cut:
    """The right cut of the raw text of sentences."""
    words: list[RawWord] = []
    for sentence, tokens in zip(sentences, raw.sentences, strict=True):
        first, owners = len(words), [token for token in tokens for _ in range(token.num_words)]
        lemmas = sentence.lemmas or (NOTHING,) * len(owners)
        heads = [first + head - 1 if head else ROOT for head in sentence.heads]
        said = zip(sentence.words, sentence.tags, sentence.feats, lemmas, heads, sentence.relations, strict=True)
        for token, columns in zip(owners, said, strict=True):
            words.append(RawWord(token.start, token.end, token.num_words > 1, *columns))
    places_of_tokens = [(token.start, token.end) for tokens in raw.sentences for token in tokens]
    return Cut(places_of_tokens, [(tokens[0].start, tokens[-1].end) for tokens in raw.sentences], words)


def answered_cut(answer: Any, offset: int) -> Cut:
    """The cut of a text that the service answered, in a larger text in which it begins at `offset`."""
    within: dict[int, Any] = {}
    for token in answer.multiword_tokens:
        within.update(dict.fromkeys(range(token.first_token, token.first_token + token.num_tokens), token))
    words, tokens = [], dict[tuple[int, int], None]()
    for number, word in enumerate(answer.tokens):
        whole = within.get(number, word)
        place = whole.start + offset, whole.end + offset
        tokens[place] = None
        words.append(_said(RawWord(*place, number in within, word.text), word, 0))
    sentences = [(each.start + offset, each.end + offset) for each in answer.sentences]
    return Cut([*tokens], sentences, words)


def parsed_cut(cut: Cut, sentences: Sequence[Sequence[RawWord]], answers: Sequence[Any]) -> Cut:
    """A cut with what the service answered to the words of its sentences; None for one that it refused."""
    words: list[RawWord] = []
    for its, answer in zip(sentences, answers, strict=True):
        first = len(words)
        words += its if answer is None else [_said(*pair, first) for pair in zip(its, answer.tokens, strict=True)]
    return cut._replace(words=words)


def _said(word: RawWord, token: Any, first: int) -> RawWord:
    """A word with what a token says of it; its head counts from the word `first`."""
    head = ROOT if token.head is None else first + token.head
    said = {"tag": token.tag, "feats": token.features or NOTHING, "lemma": token.lemma or NOTHING}
    return word._replace(**said, head=head, relation=token.relation)


def rule_cut(text: str, tokenizer: TextTokenizer) -> Cut:
    """The cut by rules: words as the parser's pre-tokenizer cuts them."""
    pieces = tokenizer.pieces(text)
    ends = [found.end() for found in _SENTENCE_END.finditer(text)]
    sentences, start, limit = list[tuple[int, int]](), 0, iter([*ends, len(text)])
    end = next(limit)
    for number, piece in enumerate(pieces):
        is_last = number + 1 == len(pieces)
        while end < piece.end and not is_last:
            end = next(limit)
        if is_last or pieces[number + 1].start >= end:
            sentences.append((pieces[start].start, piece.end))
            start = number + 1
    words = [RawWord(piece.start, piece.end, False, piece.text) for piece in pieces]
    return Cut([(piece.start, piece.end) for piece in pieces], sentences, words)


def parts_within(raw: RawText, limit: int) -> Iterator[tuple[int, str]]:
    """The text in parts of at most `limit` characters with their places: cut between sentences, as few as may be."""
    start = end = 0
    for tokens in raw.sentences:
        if tokens[-1].end - start > limit and end > start:
            yield start, raw.text[start:end]
            start = tokens[0].start
        end = tokens[-1].end
    yield start, raw.text[start:end]

"""CoNLL-U, the text form of Universal Dependencies: ten columns a word, a blank line after a sentence.

https://universaldependencies.org/format.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

_NONE: Final = "_"
_JOINED: Final = "SpaceAfter=No"


def answer_conllu(answer: Mapping[str, Any], sentence_id: str = "", is_numbered: bool = True) -> str:
    """All sentences of an answer, a block each.

    The ids of those of a text that was cut are `sentence_id` and a number, unless they are not to be numbered.
    """
    tokens = answer["tokens"]
    if answer.get("sentences") is None:
        return conllu(tokens, sentence_id)
    blocks, multiwords = [], answer.get("multiword_tokens") or ()
    for number, sentence in enumerate(answer["sentences"], start=1):
        first, end = sentence["first_token"], sentence["first_token"] + sentence["num_tokens"]
        own = [_moved(token, "head", first) for token in tokens[first:end]]
        ranges = [_moved(token, "first_token", first) for token in multiwords if first <= token["first_token"] < end]
        name = ".".join(filter(None, (sentence_id, str(number)))) if is_numbered else ""
        blocks.append(conllu(own, name, ranges, tokens[end]["start"] if end < len(tokens) else None))
    return "".join(blocks)


def _moved(token: Mapping[str, Any], name: str, first: int) -> dict[str, Any]:
    """A token with an index that counts from the first word of the sentence."""
    index = token.get(name)
    return {**token} if index is None else {**token, name: index - first}


def conllu(
    tokens: Sequence[Mapping[str, Any]],
    sentence_id: str = "",
    multiwords: Sequence[Mapping[str, Any]] = (),
    next_start: int | None = None,
) -> str:
    """One sentence, from the `tokens` of an answer; it ends with the blank line.

    Of a token are read `text`, `tag`, `start` and `end` in any unit, and where there are any `lemma`, `head`,
    `relation` and `features`. Columns that nothing is known of are `_`. The comment `text` is what the words and
    `SpaceAfter=No` say, as the format demands: it has one blank where the input has more, or a line break.

    Args:
        multiwords: tokens of several words, with `first_token` and `num_tokens`.
        next_start: where the next sentence of the text begins.
    """
    spans = _surface_tokens(tokens, multiwords)
    starts = [*(span.start for span in spans[1:]), next_start]
    joined = [span.end is not None and span.end == start for span, start in zip(spans, starts, strict=True)]
    is_joined_within = zip(spans, [*joined[:-1], False], strict=True)
    text = "".join(span.form if is_joined else f"{span.form} " for span, is_joined in is_joined_within).strip()
    lines = [f"# sent_id = {sentence_id}"] if sentence_id else []
    lines.append(f"# text = {text}")
    for span, is_joined in zip(spans, joined, strict=True):
        misc = _JOINED if is_joined else _NONE
        if span.num_words > 1:
            numbers = f"{span.first + 1}-{span.first + span.num_words}"
            lines.append("\t".join([numbers, span.form, *[_NONE] * 7, misc]))
            misc = _NONE
        words = tokens[span.first : span.first + span.num_words]
        lines += [_line(number, token, misc) for number, token in enumerate(words, start=span.first + 1)]
    return "\n".join(lines) + "\n\n"


class _SurfaceToken(NamedTuple):
    """A token as it stands in the text: `num_words` words from the word `first` on."""

    form: str
    start: int | None
    end: int | None
    first: int
    num_words: int


def _surface_tokens(
    tokens: Sequence[Mapping[str, Any]], multiwords: Sequence[Mapping[str, Any]]
) -> list[_SurfaceToken]:
    by_first = {each["first_token"]: each for each in multiwords}
    found, word = [], 0
    while word < len(tokens):
        whole = by_first.get(word)
        token, size = (tokens[word], 1) if whole is None else (whole, whole["num_tokens"])
        found.append(_SurfaceToken(form_of(token["text"]), token["start"], token["end"], word, size))
        word += size
    return found


def form_of(word: str) -> str:
    """A word as it may stand in a column: with single blanks in place of tabs, line breaks and other white space."""
    return " ".join(word.split()) or _NONE


def _line(number: int, token: Mapping[str, Any], misc: str) -> str:
    features = _column(token.get("features") or _NONE)
    head, relation = (_place(token), _column(token["relation"])) if "relation" in token else (_NONE, _NONE)
    form, lemma = form_of(token["text"]), form_of(token["lemma"]) if "lemma" in token else _NONE
    columns = (str(number), form, lemma, _column(token["tag"]), _NONE, features, head, relation, _NONE, misc)
    return "\t".join(columns)


def _place(token: Mapping[str, Any]) -> str:
    return "0" if token["head"] is None else str(token["head"] + 1)


def _column(value: str) -> str:
    """A value in which there can be no white space."""
    return _NONE.join(value.split()) or _NONE

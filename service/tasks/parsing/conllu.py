"""CoNLL-U, the text form of Universal Dependencies: ten columns a word, a blank line after a sentence.

https://universaldependencies.org/format.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_NONE: Final = "_"


def conllu(tokens: Sequence[Mapping[str, Any]], sentence_id: str = "") -> str:
    """One sentence, from the `tokens` of an answer; it ends with the blank line.

    Of a token are read `text`, `tag`, `start` and `end` in any unit, and where there are any `lemma`, `head`,
    `relation` and `features`. Columns that nothing is known of are `_`. The comment `text` is what the words and
    `SpaceAfter=No` say, as the format demands: it has one blank where the input has more, or a line break.
    """
    forms = [form_of(token["text"]) for token in tokens]
    is_joined = [_touch(token, after) for token, after in zip(tokens, [*tokens[1:], None], strict=True)]
    text = "".join(form if joined else f"{form} " for form, joined in zip(forms, is_joined, strict=True)).strip()
    lines = [f"# sent_id = {sentence_id}"] if sentence_id else []
    lines.append(f"# text = {text}")
    rows = zip(forms, tokens, is_joined, strict=True)
    lines += [_line(number, form, token, joined) for number, (form, token, joined) in enumerate(rows, start=1)]
    return "\n".join(lines) + "\n\n"


def form_of(word: str) -> str:
    """A word as it may stand in a column: with single blanks in place of tabs, line breaks and other white space."""
    return " ".join(word.split()) or _NONE


def _line(number: int, form: str, token: Mapping[str, Any], is_joined: bool) -> str:
    features = _column(token.get("features") or _NONE)
    head, relation = (_place(token), _column(token["relation"])) if "relation" in token else (_NONE, _NONE)
    misc = "SpaceAfter=No" if is_joined else _NONE
    lemma = form_of(token["lemma"]) if "lemma" in token else _NONE
    columns = (str(number), form, lemma, _column(token["tag"]), _NONE, features, head, relation, _NONE, misc)
    return "\t".join(columns)


def _place(token: Mapping[str, Any]) -> str:
    return "0" if token["head"] is None else str(token["head"] + 1)


def _column(value: str) -> str:
    """A value in which there can be no white space."""
    return _NONE.join(value.split()) or _NONE


def _touch(token: Mapping[str, Any], after: Mapping[str, Any] | None) -> bool:
    """Whether there is nothing between a word and the one after it; unknown counts as a blank."""
    return after is not None and token["end"] is not None and token["end"] == after["start"]

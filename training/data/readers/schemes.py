"""Tagging schemes for spans. Records always hold BIO: `B-X` starts a span, `I-X` continues it.

IOB1 writes `B-` only where a span follows another of its type (Ramshaw and Marcus 1995); BIOES marks ends and single
words too. BILOU, BMES and BMEWO are BIOES with other letters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

Scheme = Literal["bio", "iob1", "bioes", "bilou", "bmes", "bmewo"]

OUTSIDE = "O"
#: BIO letters of the letters of other schemes.
_BIO_LETTER = {"B": "B", "I": "I", "E": "I", "S": "B", "L": "I", "U": "B", "M": "I", "W": "B"}
#: Letters that start, continue, end a span, and mark a span of one word.
_LETTERS: dict[Scheme, str] = {"bio": "BI", "bioes": "BIES", "bilou": "BILU", "bmes": "BMES", "bmewo": "BMEW"}
_LETTER = "[BIESLUMW]"
#: How tags may be spelt: letter and type in this or the other order, with `-` or `_` between them.
_SPELLINGS: dict[str, re.Pattern[str]] = {
    "B-TYPE": re.compile(rf"(?P<letter>{_LETTER})-(?P<kind>.+)"),
    "B_TYPE": re.compile(rf"(?P<letter>{_LETTER})_(?P<kind>.+)"),
    "b-type": re.compile(rf"(?P<letter>(?i:{_LETTER}))-(?P<kind>.+)"),
    "TYPE-B": re.compile(rf"(?P<kind>.+)-(?P<letter>{_LETTER})"),
    "TYPE_B": re.compile(rf"(?P<kind>.+)_(?P<letter>{_LETTER})"),
}
_BRACKETS = re.compile(r"[-*_]|\(.*|.*\)")
_BIO_TAG = re.compile("[BI]-.+")
#: What is written in place of O.
_ALSO_OUTSIDE = ("o", "0", "-", "_")
_MOST = 0.5
_FEW = 0.05
#: Tags of a file without O: two of spans and the one in place of O.
_MIN_TAGS = 3


class Spans(NamedTuple):
    """How a file writes spans. `odd` are tags that do not fit, with what is wrong with them."""

    scheme: Scheme
    spelling: str
    tags: dict[str, str]
    odd: dict[str, str]


def split_tag(tag: str) -> tuple[str, str]:
    """Split `B-PER` into `("B", "PER")`, and `O` into `("O", "")`."""
    letter, _, kind = tag.partition("-")
    return letter, kind


def find_spans(sentences: Sequence[Sequence[str]]) -> Spans | None:
    """Find the scheme that most tags follow; None if most are no span tags, such as parts of speech.

    `tags` of the result maps each tag to its normal form, `LETTER-TYPE`.
    """
    counts = Counter(tag for sentence in sentences for tag in sentence)
    spelling = _usual_spelling(counts)
    if spelling is None:
        return None
    normal = {tag: form for tag in counts if (form := _normal_form(tag, spelling)) is not None}
    scheme = _scheme(sentences, normal)
    outside = OUTSIDE.lower() if spelling == "b-type" else OUTSIDE
    odd = {tag: _why_odd(tag, scheme, normal) for tag in counts if tag != outside}
    return Spans(scheme, spelling, normal, {tag: why for tag, why in odd.items() if why})


def _usual_spelling(counts: Counter[str]) -> str | None:
    """The first spelling of more than half of the tags other than O, counted with repeats.

    In a file without O, that of all tags but the most frequent one, which is then meant as O.
    """
    inside = Counter({tag: count for tag, count in counts.items() if tag not in (OUTSIDE, *_ALSO_OUTSIDE)})
    for name, pattern in _SPELLINGS.items():
        if sum(count for tag, count in inside.items() if pattern.fullmatch(tag)) > _MOST * inside.total():
            return name
    if OUTSIDE in counts or len(inside) < _MIN_TAGS:
        return None
    usual, _ = inside.most_common(1)[0]
    others = inside.keys() - {usual}
    spellings = (name for name, pattern in _SPELLINGS.items() if all(pattern.fullmatch(tag) for tag in others))
    return next(spellings, None) if any(tag.upper().startswith("B") for tag in others) else None


def _normal_form(tag: str, spelling: str) -> str | None:
    """`B_PER` -> `B-PER`; None for a tag that is not spelt like the others. 0, o, - and _ are taken for O."""
    if tag in (OUTSIDE, *_ALSO_OUTSIDE):
        return OUTSIDE
    found = _SPELLINGS[spelling].fullmatch(tag)
    return f"{found['letter'].upper()}-{found['kind']}" if found else None


def _scheme(sentences: Sequence[Sequence[str]], normal: dict[str, str]) -> Scheme:
    """The scheme that the fewest tags break."""
    used = {split_tag(tag)[0] for tag in normal.values()} - {OUTSIDE}
    plain = [[normal.get(tag, OUTSIDE) for tag in sentence] for sentence in sentences]
    if used <= set("BI"):
        return "iob1" if _looks_like_iob1(plain) else "bio"
    return min(_LETTERS, key=lambda scheme: sum(_num_breaks(tags, scheme) for tags in plain))


def _num_breaks(tags: Sequence[str], scheme: Scheme) -> int:
    """Number of places where a sentence breaks a scheme."""
    letters = _LETTERS[scheme]
    num_foreign = sum(tag != OUTSIDE and tag[0] not in letters for tag in tags)
    if scheme == "bio":
        return num_foreign + sum(1 for _ in illegal_inside(tags))
    return num_foreign + sum(1 for _ in unclosed(tags)) + sum(1 for _ in illegal_inside(as_bio(tags)))


def unclosed(tags: Sequence[str]) -> Iterator[int]:
    """Positions after which a span goes on, as in `B-X` or `I-X` of BIOES, where the next tag does not continue it."""
    for index, (tag, after) in enumerate(zip(tags, (*tags[1:], OUTSIDE), strict=True)):
        if tag[0] in "BIM" and not (after[0] in "IMEL" and split_tag(after)[1] == split_tag(tag)[1]):
            yield index


def _why_odd(tag: str, scheme: Scheme, normal: dict[str, str]) -> str:
    if tag == OUTSIDE:
        return ""
    if tag not in normal:
        return _why_unknown(tag)
    if normal[tag] == OUTSIDE:
        return "read as O"
    letters = _LETTERS.get(scheme, "BI")
    if normal[tag][0] in letters:
        return ""
    others = [name.upper() for name, known in _LETTERS.items() if normal[tag][0] in known]
    return f"its letter is of {' or '.join(others)}, and the file is {scheme.upper()} ({', '.join(letters)}, O)"


def _why_unknown(tag: str) -> str:
    if tag.rstrip("-_").upper() in _BIO_LETTER:
        return f"it has no type; write {tag.rstrip('-_').upper()}-TYPE"
    return "it is no span tag, and most others are; write B-TYPE, I-TYPE or O"


def span_scheme(sentences: Iterable[Sequence[str]]) -> Literal["bio"] | None:
    """Scheme for the manifest: `bio` if the tags of the records form spans, else None."""
    tags = {tag for sentence in sentences for tag in sentence} - {OUTSIDE}
    return "bio" if tags and all(_BIO_TAG.fullmatch(tag) for tag in tags) else None


def to_bio(tags: Sequence[str]) -> tuple[str, ...]:
    """Convert the tags of a sentence from any scheme to BIO. A span that starts with an inside tag gets its `B-`.

    conlleval counts such a span the same way, so scores do not change.
    """
    plain = as_bio(tags)
    for index in illegal_inside(plain):
        plain[index] = f"B-{split_tag(plain[index])[1]}"
    return tuple(plain)


def as_bio(tags: Sequence[str]) -> list[str]:
    """Tags with the letters of BIO, with no spans repaired."""
    letters_and_kinds = [split_tag(tag) for tag in tags]
    return [OUTSIDE if letter == OUTSIDE else f"{_BIO_LETTER[letter]}-{kind}" for letter, kind in letters_and_kinds]


def illegal_inside(tags: Sequence[str]) -> Iterator[int]:
    """Positions of invalid `I-X` tags: the tag before is neither `B-X` nor `I-X`."""
    previous = OUTSIDE
    for index, tag in enumerate(tags):
        letter, kind = split_tag(tag)
        if letter == "I" and (previous == OUTSIDE or split_tag(previous)[1] != kind):
            yield index
        previous = tag


def _looks_like_iob1(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether spans start with `I-`, and nearly none with a `B-X` where IOB1 would write `I-X`."""
    num_inside = sum(1 for tags in sentences for _ in illegal_inside(tags))
    return num_inside > 0 and sum(map(_num_free_begins, sentences)) <= _FEW * num_inside


def _num_free_begins(tags: Sequence[str]) -> int:
    """Number of `B-X` that follow something other than a span of type X."""
    pairs = zip((OUTSIDE, *tags), tags, strict=False)
    return sum(tag.startswith("B-") and split_tag(before)[1] != split_tag(tag)[1] for before, tag in pairs)


def has_no_types(tags: Iterable[str]) -> bool:
    """Whether tags are the letters of a scheme alone, such as B, I and O."""
    letters = set(tags)
    return "B" in letters and len(letters) > 1 and letters <= {*_BIO_LETTER, OUTSIDE}


def is_bracketed(tags: Iterable[str]) -> bool:
    """Whether spans are written as brackets, `(PERSON*`, `*`, `*)`, as in CoNLL-2005 and CoNLL-2012."""
    found = set(tags)
    return any(tag.startswith("(") for tag in found) and all(_BRACKETS.fullmatch(tag) for tag in found)

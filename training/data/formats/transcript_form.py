"""Text as transcripts of speech write it: lower-case letters, apostrophes and single blanks."""

from __future__ import annotations

import re
import unicodedata

#: Abbreviations that are spoken as other words than they are written.
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|st|jr|sr|vs|etc|prof|no|e\.g|i\.e|a\.m|p\.m)\.", re.IGNORECASE)
_INNER_STOP = re.compile(r"\w\.\w")
_PUNCTUATION = re.compile(r"[\"“”„«».,;:!?…()\[\]\s–—-]+")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*'?")


def transcript_of(text: str) -> str | None:
    """The text in lower-case letters, apostrophes and single blanks; None where it cannot be spelled so.

    Digits, other signs and abbreviations such as "Dr." are spoken as other words than they are written.
    """
    folded = without_accents(text)
    if _ABBREVIATION.search(folded) or _INNER_STOP.search(folded):
        return None
    words = [word.strip("'") for word in _PUNCTUATION.sub(" ", folded.lower()).split()]
    words = [word for word in words if word]
    return " ".join(words) if words and all(_WORD.fullmatch(word) for word in words) else None


def without_accents(text: str) -> str:
    """Letters without accents, and one kind of apostrophe."""
    plain = unicodedata.normalize("NFKD", text.replace("’", "'").replace("‘", "'"))
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def transcript_lines(lines: list[str]) -> list[str]:
    """Distinct lines as transcripts write them, in their order; those that cannot be spelled so are left out."""
    return [f"{line}\n" for line in dict.fromkeys(map(transcript_of, lines)) if line is not None]

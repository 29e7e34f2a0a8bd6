"""The grammar of a recipe: a shipped one by name, a file in the notation of lark, or its text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, ValidationInfo

from service.bundle.task_options import MAX_GRAMMAR_BYTES
from service.errors import UnrollError
from service.tasks.seq2seq.grammar.parse_table import GrammarError
from service.tasks.seq2seq.grammar.word_grammar import TextGrammar

GRAMMARS: Final = Path(__file__).parents[1] / "recipes" / "grammars"
#: Where the context of validation has the folder that paths of a recipe are relative to.
FOLDER: Final = "folder"


class GrammarFault(UnrollError):
    """A grammar cannot be found or used; the message says why."""


def read_grammar(name_or_path: str, folder: Path = Path()) -> str:
    """The text of a shipped grammar by name, or of a file, relative to `folder` or to the working directory.

    Raises:
        GrammarFault: there is none, or it is not LALR(1).
    """
    places = (folder / name_or_path, Path(name_or_path), GRAMMARS / f"{name_or_path}.lark")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        names = ", ".join(sorted(grammar.stem for grammar in GRAMMARS.glob("*.lark")))
        raise GrammarFault(f"no grammar {name_or_path!r}: give a file in the notation of lark, or one of {names}")
    if path.stat().st_size > MAX_GRAMMAR_BYTES:
        raise GrammarFault(f"{path}: a grammar has at most {MAX_GRAMMAR_BYTES:,} bytes")
    try:
        text = path.read_text(encoding="utf-8").rstrip() + "\n"
        TextGrammar(text)
    except (GrammarError, UnicodeDecodeError, OSError) as error:
        raise GrammarFault(f"{path}: {error}") from error
    return text


def _grammar_text(given: str, info: ValidationInfo) -> str:
    """The text of a grammar. Recipes that were written into a run or a bundle hold it already."""
    if not given:
        return ""
    try:
        if "\n" not in given:
            return read_grammar(given, (info.context or {}).get(FOLDER, Path()))
        TextGrammar(given)
    except (GrammarError, GrammarFault) as error:
        raise ValueError(str(error)) from error
    return given


GrammarText = Annotated[str, AfterValidator(_grammar_text)]

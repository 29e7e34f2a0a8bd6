"""Grammars that cannot be used, or would take too long, are refused before the work is done."""

from __future__ import annotations

import pytest

from service.bundle.task_options import MAX_GRAMMAR_BYTES
from service.tasks.seq2seq.grammar.lalr import parse_table
from service.tasks.seq2seq.grammar.parse_table import GrammarError

CUBE = "\n".join(f'a{n}: "k{n}" start' for n in range(110))
LOOPS = "\n".join(
    f'b{n}: {" | ".join(f"{chr(34)}c{m}{chr(34)} b{n}" for m in range(14) if m != n)} | "e"' for n in range(14)
)
DOUBLING = "\n".join(f"{chr(65 + n)}: {chr(66 + n)} {chr(66 + n)}" for n in range(24))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('start: "a" start | start "a" | "a"', "LALR"),
        ('start: "if" start | "if" start "else" start | "x"', "LALR"),
        ('start: a\na: b | "x"\nb: a', "LALR"),
        ('start: a\na: b a "x" | "y"\nb:', "LALR"),
        ('start: "a', "line 1 column 8"),
        ("start: a", "'a' used but not defined"),
        ('begin: "a"', "none of that name"),
        ("", "none of that name"),
        ("%import common.INT\nstart: INT", "%import is not allowed"),
        ("\\\n  %import /etc.passwd\nstart: A\nA: /a/", "not allowed|notation"),
        ("%declare A\nstart: A", "%declare is not allowed"),
        ('start: "a"\n%extend start: "b"', "%extend is not allowed"),
        ("start: a{A}\na{x}: x x\nA: /a/", "a is a template"),
        ("start: a | b\na.2: /x/\nb: /y/", "priorities of rules"),
        ("start: A\nA: /(/", "terminal A cannot be used: not a regular expression"),
        ('start: A\nA: "a" B\nB: A', "names itself"),
        ('start: A\nA: ""', "Empty terminals"),
        ('start: "\x00"', "not a grammar"),
        ('start: "\ud800"', "not a grammar"),
    ],
)
def test_what_is_no_usable_grammar_is_refused(text: str, reason: str) -> None:
    """Ambiguous, circular and unfinished grammars, and those that read other files, have an error that says so."""
    with pytest.raises(GrammarError, match=reason):
        parse_table(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("start: A\nA: /a/\n//" + "x" * MAX_GRAMMAR_BYTES, "at most 65,536 bytes"),
        ("start: " + " | ".join(f'"k{n}"' for n in range(1100)), "at most 1,000 rules"),
        ("start: " + " ".join(f'"k{n}"?' for n in range(40)), "at most 1,000 rules"),
        ('start: ("a" | "b")~40', "at most 1,000 rules"),
        ('start: "a"~1..1000000000', "at most 200 repetitions"),
        ('start: (("a"~40)~40)~40', "at most 200 symbols in a rule"),
        ('start: "a"~1..199', "at most 10,000 symbols"),
        (f'start: A\n{DOUBLING}\nY: "y"', "parts of terminals"),
        ("start: " + "(" * 5000 + '"a"' + ")" * 5000, "recursion"),
        ("start: " + " ".join(f"a{n}" for n in range(150)) + "\n" + "\n".join(f'a{n}: "{n}" |' for n in range(150)),
         "what follows each symbol"),
        ("start: " + " | ".join(f"a{n}" for n in range(110)) + ' | "z"\n' + CUBE, "its lookaheads"),
        ("start: " + " | ".join(f'b{n} "f{n}"' for n in range(14)) + "\n" + LOOPS, "its states"),
    ],
)  # fmt: skip
def test_what_would_take_too_long_is_refused(text: str, reason: str) -> None:
    """What multiplies when it is written out, and tables of too many states, are counted first."""
    with pytest.raises(GrammarError, match=reason):
        parse_table(text)


def test_recursion_on_either_side_is_read() -> None:
    """Left and right recursion, and empty texts, are no trouble."""
    for text in ('start: start "a" | "b"', 'start: "a" start | "b"', 'start: "a" start "a" | "b"', "start:"):
        assert parse_table(text).actions

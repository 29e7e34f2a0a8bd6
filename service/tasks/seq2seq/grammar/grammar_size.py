"""Bounds on the work that a grammar makes, checked before the work is done.

Optional parts, alternatives and repetitions multiply when rules are written out: forty optional words in a row would be
2^40 rules. So they are counted in the tree of the grammar, as the library lark reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Final, NamedTuple

from lark import Tree
from lark.grammar import Terminal

from service.tasks.seq2seq.grammar.parse_table import GrammarError

MAX_RULES: Final = 1000
#: Symbols of one rule, and of all rules together.
MAX_RULE_SYMBOLS: Final = 200
MAX_SYMBOLS: Final = 10_000
#: Parts of all terminals, written out.
MAX_TERMINAL_PARTS: Final = 10_000
#: Statements that read other files, or change what was said before.
_REFUSED: Final = ("import", "extend", "override", "declare")


class _Size(NamedTuple):
    """Rules that a part becomes when it is written out, and the symbols of the longest."""

    rules: int
    symbols: int


def check_size(grammar: Tree[Any]) -> None:
    """Check the tree of a grammar's text.

    Raises:
        GrammarError: written out it would be too large, terminals name each other in a circle, or it has statements
            or templates that are not supported.
    """
    for statement in grammar.children:
        if statement.data in _REFUSED:
            raise GrammarError(f"%{statement.data} is not allowed: a grammar is one text of rules and terminals")
    _check_terminals({str(term.children[0]): term for term in grammar.children if term.data == "term"})
    num_rules = num_symbols = 0
    for rule in (statement for statement in grammar.children if statement.data == "rule"):
        _, name, template, _, tree = rule.children
        if template.children:
            raise GrammarError(f"the rule {name} is a template, which is not supported: write it out")
        sizes = [_written_out(tree), *(_written_out(each.children[0]) for each in tree.find_pred(_is_repeated))]
        num_rules += sum(size.rules for size in sizes)
        num_symbols += sum(size.rules * size.symbols for size in sizes)
        check_limit(f"rules, up to {name}", num_rules, MAX_RULES)
        check_limit(f"symbols in a rule such as {name}", max(size.symbols for size in sizes), MAX_RULE_SYMBOLS)
        check_limit(f"symbols, up to {name}", num_symbols, MAX_SYMBOLS)


def _check_terminals(terms: Mapping[str, Tree[Any]]) -> None:
    """Bound what terminals become when those that they name are written out in them."""
    sizes, total = dict[str, int](), 0
    for name in terms:
        total += _num_parts(Terminal(name), terms, sizes)
        check_limit(f"parts of terminals, up to {name}", total, MAX_TERMINAL_PARTS)


def _num_parts(part: Any, terms: Mapping[str, Tree[Any]], sizes: dict[str, int]) -> int:
    """Parts of a terminal, or of a part of one; terminals that it names count each time."""
    if isinstance(part, Tree):
        return 1 + sum(_num_parts(child, terms, sizes) for child in part.children)
    if not isinstance(part, Terminal) or part.name not in terms:
        return 1
    if sizes.setdefault(part.name, 0) == 0:
        sizes[part.name] = -1  # until it is known
        sizes[part.name] = _num_parts(terms[part.name].children[-1], terms, sizes)
    if sizes[part.name] < 0:
        raise GrammarError(f"the terminal {part.name} names itself, which only rules may")
    return sizes[part.name]


def check_limit(what: str, size: int, limit: int) -> None:
    """Raises GrammarError if there are too many of something."""
    if size > limit:
        shown = f"{size:,}" if size < 10**9 else "far more"
        raise GrammarError(f"a grammar has at most {limit:,} {what}, written out; this one has {shown}")


def _is_repeated(tree: Tree[Any]) -> bool:
    """Whether a part becomes a rule of its own."""
    return tree.data == "expr" and str(tree.children[1]) in ("*", "+")


def _written_out(tree: Any) -> _Size:
    """The size of a part of a rule."""
    if not isinstance(tree, Tree) or tree.data in ("literal", "range", "nonterminal", "template_usage"):
        return _Size(1, 1)
    if tree.data == "expr":
        return _repeated(_written_out(tree.children[0]), [str(child) for child in tree.children[1:]])
    sizes = [_written_out(child) for child in tree.children]
    if tree.data == "expansion":
        return _Size(prod(size.rules for size in sizes), sum(size.symbols for size in sizes))
    if tree.data == "alias":
        return sizes[0]
    total = _Size(sum(size.rules for size in sizes), max((size.symbols for size in sizes), default=0))
    return _Size(total.rules + 1, total.symbols) if tree.data == "maybe" else total


def _repeated(size: _Size, operator: Sequence[str]) -> _Size:
    """The size of a part with `?`, `*`, `+` or `~ least..most`."""
    sign, most = operator[0], int(operator[-1]) if operator[0] == "~" else 1
    if sign == "?":
        return _Size(size.rules + 1, size.symbols)
    if sign in ("*", "+"):
        return _Size(2, 1)
    check_limit("repetitions of a part", most, MAX_RULE_SYMBOLS)
    least = int(operator[1])
    return _Size(sum(size.rules**times for times in range(least, most + 1)), size.symbols * most)

"""The LALR(1) parse table of a grammar in the EBNF of the library lark, with bounds on its size.

The table is lark's; grammars with conflicts are refused, so that every sentence of the grammar has one parse and the
items of a state say exactly how what has been read can go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from lark import Lark
from lark.common import ParserConf
from lark.exceptions import LarkError
from lark.grammar import Rule
from lark.lexer import TerminalDef
from lark.parsers.grammar_analysis import RulePtr
from lark.parsers.lalr_analysis import LALR_Analyzer, Shift

from service.bundle.load import MAX_GRAMMAR_BYTES

MAX_RULES: Final = 2000
MAX_STATES: Final = 4000
#: The rule that derives the whole text.
START_RULE: Final = "start"
#: Stands for the end of the text in the rows of a table.
END: Final = "$END"

_IMPORT = re.compile(r"^\s*%import\b", re.MULTILINE)


class GrammarError(ValueError):
    """A grammar that cannot be used, with the reason."""


class Reduction(NamedTuple):
    """Replace the `length` states on top by the state that follows `symbol`."""

    symbol: str
    length: int


class Item(NamedTuple):
    """What a state has read of a rule: `length` symbols of it; `rest` are those that are missing."""

    symbol: str
    length: int
    rest: tuple[str, ...]


class Terminal(NamedTuple):
    """A kind of words: those that the pattern matches as a whole."""

    name: str
    pattern: re.Pattern[str]


class ParseTable(NamedTuple):
    """States are numbers.

    Attributes:
        actions: by state and terminal: the state to shift to, or a reduction.
        following: by state and nonterminal, the state after it.
        items: the kernel items of each state.
        rules: the expansions of each nonterminal.
        terminals: in the order in which a word that several match is taken: by priority, strings before patterns.
        start: the first state.
        accepting: the state after the whole text.
    """

    actions: Sequence[Mapping[str, int | Reduction]]
    following: Sequence[Mapping[str, int]]
    items: Sequence[Sequence[Item]]
    rules: Mapping[str, Sequence[tuple[str, ...]]]
    terminals: Sequence[Terminal]
    start: int
    accepting: int


def parse_table(grammar: str) -> ParseTable:
    """The table of a grammar whose start is the rule `start`.

    Raises:
        GrammarError: it is too large, not in lark's notation, not LALR(1), or uses files of its own.
    """
    if len(grammar.encode()) > MAX_GRAMMAR_BYTES:
        raise GrammarError(f"a grammar has at most {MAX_GRAMMAR_BYTES:,} bytes, this one has {len(grammar.encode()):,}")
    if _IMPORT.search(grammar):
        raise GrammarError("a grammar is one text: %import is not allowed")
    try:
        compiled = Lark(grammar, parser=None, lexer="basic", start=START_RULE, maybe_placeholders=False)
        rules, definitions = compiled.rules, compiled.terminals
        _check_size("rules", len(rules), MAX_RULES)
        if any(rule.options.priority for rule in rules):
            raise GrammarError("a grammar without conflicts needs no priorities of rules")
        analyzer = LALR_Analyzer(ParserConf(rules, {}, [START_RULE]), debug=True, strict=True)
        analyzer.compute_lr0_states()
        _check_size("states", len(analyzer.lr0_itemsets), MAX_STATES)
        analyzer.compute_lalr()  # type: ignore[no-untyped-call]
        return _numbered(analyzer, rules, _terminals(definitions, rules))
    except (LarkError, re.error, RecursionError, AssertionError) as error:
        raise GrammarError(f"not a grammar that is LALR(1), in the notation of lark: {error}") from error


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise GrammarError(f"a grammar has at most {limit:,} {what}, this one has {size:,}")


def _terminals(definitions: Iterable[TerminalDef], rules: Sequence[Rule]) -> list[Terminal]:
    used = {symbol.name for rule in rules for symbol in rule.expansion}

    def rank(definition: TerminalDef) -> tuple[int, bool, str]:
        return -definition.priority, definition.pattern.type != "str", definition.name

    ordered = sorted((definition for definition in definitions if definition.name in used), key=rank)
    return [Terminal(definition.name, re.compile(definition.pattern.to_regexp())) for definition in ordered]


def _numbered(analyzer: LALR_Analyzer, rules: Sequence[Rule], terminals: list[Terminal]) -> ParseTable:
    table = analyzer.parse_table
    kernels = {itemset.closure: itemset.kernel for itemset in analyzer.lr0_itemsets}
    numbers = {state: number for number, state in enumerate(table.states)}
    nonterminals = {rule.origin.name for rule in rules}
    actions, following = list[dict[str, int | Reduction]](), list[dict[str, int]]()
    for row in table.states.values():
        found: dict[str, int | Reduction] = {}
        for name, (action, argument) in row.items():
            is_shift = action is Shift
            found[name] = numbers[argument] if is_shift else _reduction(argument)
        following.append({name: to for name, to in found.items() if name in nonterminals and isinstance(to, int)})
        actions.append({name: action for name, action in found.items() if name not in nonterminals})
    expansions: dict[str, list[tuple[str, ...]]] = {}
    for rule in rules:
        expansions.setdefault(rule.origin.name, []).append(tuple(symbol.name for symbol in rule.expansion))
    items = [[_item(pointer) for pointer in kernels[state]] for state in table.states]
    start, accepting = numbers[table.start_states[START_RULE]], numbers[table.end_states[START_RULE]]
    return ParseTable(actions, following, items, expansions, terminals, start, accepting)


def _reduction(rule: Rule) -> Reduction:
    return Reduction(rule.origin.name, len(rule.expansion))


def _item(pointer: RulePtr) -> Item:
    rest = tuple(symbol.name for symbol in pointer.rule.expansion[pointer.index :])
    return Item(pointer.rule.origin.name, pointer.index, rest)

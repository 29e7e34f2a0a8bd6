"""Compile a grammar in the EBNF of the library lark to an LALR(1) parse table, with bounds on size and work.

The table is lark's; grammars with conflicts are refused, so that every sentence of the grammar has one parse and the
items of a state say exactly how what has been read can go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from lark.common import ParserConf
from lark.exceptions import LarkError
from lark.grammar import NonTerminal, Rule
from lark.lexer import PatternStr, TerminalDef
from lark.load_grammar import _parse_grammar, load_grammar
from lark.parsers.grammar_analysis import RulePtr
from lark.parsers.lalr_analysis import LALR_Analyzer, Shift

from service.bundle.task_options import MAX_GRAMMAR_BYTES
from service.tasks.seq2seq.grammar.grammar_size import MAX_RULES, check_limit, check_size
from service.tasks.seq2seq.grammar.parse_table import (
    START_RULE,
    GrammarError,
    Item,
    ParseTable,
    Reduction,
    Terminal,
)
from service.tasks.seq2seq.grammar.word_pattern import WordPattern

MAX_STATES: Final = 2000
#: Items that are looked at to find the states, and then their lookaheads: about a second each.
MAX_STATE_WORK: Final = 300_000
MAX_LOOKAHEAD_WORK: Final = 2_000_000
#: Symbols that are looked at to find what follows each symbol: less than a second.
MAX_FOLLOW_WORK: Final = 200_000_000


def parse_table(grammar: str) -> ParseTable:
    """The table of a grammar whose start is the rule `start`.

    Raises:
        GrammarError: it is too large, not in lark's notation, not LALR(1), or uses files of its own.
    """
    size = len(grammar.encode(errors="surrogatepass"))
    if size > MAX_GRAMMAR_BYTES:
        raise GrammarError(f"a grammar has at most {MAX_GRAMMAR_BYTES:,} bytes, this one has {size:,}")
    try:
        return _compiled(grammar)
    except GrammarError:
        raise
    except (LarkError, re.error, ValueError, RecursionError, AssertionError, KeyError) as error:
        reason = str(error).strip() or type(error).__name__
        raise GrammarError(f"not a grammar that is LALR(1), in the notation of lark: {reason[:2000]}") from error


def _compiled(text: str) -> ParseTable:
    check_size(_parse_grammar(text, "the grammar"))  # type: ignore[no-untyped-call]
    grammar, _ = load_grammar(text, "the grammar", [], False)  # type: ignore[no-untyped-call]
    if START_RULE not in (name for name, *_ in grammar.rule_defs):
        raise GrammarError(f"a grammar begins with the rule {START_RULE}, and this one has none of that name")
    definitions, rules, _ = grammar.compile([START_RULE], set())
    check_limit("rules", len(rules), MAX_RULES)
    if any(rule.options.priority for rule in rules):
        raise GrammarError("a grammar without conflicts needs no priorities of rules")
    _check_analysis(rules)
    analyzer = _BoundedAnalyzer(ParserConf(rules, {}, [START_RULE]), debug=True, strict=True)
    analyzer.compute_lalr()  # type: ignore[no-untyped-call]
    return _numbered(analyzer, rules, _terminals(definitions, rules))


def _check_analysis(rules: Sequence[Rule]) -> None:
    """Bound the sets of first and following symbols, which look at each part of each rule for every nonterminal."""
    work = sum(len(rule.expansion) ** 3 for rule in rules) * len({rule.origin for rule in rules})
    check_limit("units of work to find what follows each symbol", work, MAX_FOLLOW_WORK)


class _BoundedAnalyzer(LALR_Analyzer):
    """Lark's construction, stopped when it takes too much work. A grammar may have 2^n states for n rules."""

    _work = 0

    def expand_rule(self, source_rule: NonTerminal, rules_by_origin: Any = None) -> Any:
        """The items that begin where a nonterminal may stand."""
        found = super().expand_rule(source_rule, rules_by_origin)
        self._work += 1 + len(found)
        check_limit("units of work to find its states", self._work, MAX_STATE_WORK)
        return found

    def compute_lr0_states(self) -> None:
        """The states, if they are not too many, nor too much to look at for their lookaheads."""
        super().compute_lr0_states()
        states = self.lr0_itemsets
        check_limit("states", len(states), MAX_STATES)
        work = sum(len(state.closure) * sum(not symbol.is_term for symbol in state.transitions) for state in states)
        check_limit("units of work to find its lookaheads", work, MAX_LOOKAHEAD_WORK)


def _terminals(definitions: Iterable[TerminalDef], rules: Sequence[Rule]) -> list[Terminal]:
    used = {symbol.name for rule in rules for symbol in rule.expansion if symbol.is_term}
    defined = {definition.name: definition for definition in definitions}

    def rank(definition: TerminalDef) -> tuple[int, bool, str]:
        return -definition.priority, definition.pattern.type != "str", definition.name

    return [_terminal(definition) for definition in sorted((defined[name] for name in used), key=rank)]


def _terminal(definition: TerminalDef) -> Terminal:
    name, pattern = definition.name, definition.pattern
    is_word = isinstance(pattern, PatternStr)
    shown = f'"{pattern.value}"' if is_word else name
    if is_word and not pattern.flags:
        return Terminal(name, shown, pattern.value, None)
    try:
        return Terminal(name, shown, None, WordPattern(pattern.to_regexp()))
    except ValueError as error:
        raise GrammarError(f"the terminal {name} cannot be used: {error}") from error


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

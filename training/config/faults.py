"""Faults of a recipe in words: the key, its value, what is allowed, and the nearest right form."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

PATTERNS_IN_WORDS = {
    "name": "lower-case letters, digits, '-', '.' and '_', the first a letter or a digit, at most 64",
    "version": "a number, such as 1",
}
#: Values longer than this are cut in messages.
_MOST_CHARACTERS: Final = 60
#: What a value must be, by pydantic's name of the fault; `{...}` are of its context.
_IN_WORDS: Final = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "tuple_type": 'must be a list, such as \'["a", "b"]\'',
    "model_type": "must be a table: set one of its keys",
    "model_attributes_type": "must be a table: set one of its keys",
}
#: Faults whose message holds all that is to be said.
_WITHOUT_VALUE: Final = frozenset({"extra_forbidden", "missing", "value_error"})


def in_words(fault: ErrorDetails, root: type[BaseModel]) -> str:
    """A fault of a model of type `root` as one clause. Keys are as in a recipe, without the task that pydantic adds."""
    path, kind = fault["loc"], fault["type"]
    keys = path if path[:1] != ("network",) else (path[0], *path[2:])
    where = ".".join(map(str, keys))
    problem = _problem(fault, root, str(keys[-1]) if keys else "")
    if not where:
        return problem
    value = "" if kind in _WITHOUT_VALUE else f" is {_shown(fault['input'])}"
    return f"{where}{value}, but {problem}" if value and problem.startswith("must ") else f"{where}: {problem}"


def _problem(fault: ErrorDetails, root: type[BaseModel], key: str) -> str:
    kind, message = fault["type"], fault["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return _no_such_key(fault["loc"], root)
    if kind == "string_pattern_mismatch" and key in PATTERNS_IN_WORDS:
        return PATTERNS_IN_WORDS[key]
    if kind == "literal_error":
        return f"must be one of {fault['ctx']['expected'].replace(' or ', ', ')}{_near(fault)}"
    if kind in _IN_WORDS:
        return _IN_WORDS[kind].format(**fault.get("ctx", {}))
    return message


def _near(fault: ErrorDetails) -> str:
    """The nearest of the allowed values, if one is near."""
    allowed = [word.strip("'") for word in fault["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    close = difflib.get_close_matches(str(fault["input"]).casefold(), allowed, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _no_such_key(path: tuple[str | int, ...], root: type[BaseModel]) -> str:
    """The fault, with a suggestion: a similar key of the table, or the key of this name in another table."""
    *parents, wrong = path
    close = difflib.get_close_matches(str(wrong), _keys_under(tuple(parents), root), n=1)
    elsewhere = [".".join(found) for found in _all_keys(root) if found[-1] == wrong]
    nearest = elsewhere[0] if elsewhere else close[0] if close else _nearest_of_all(str(wrong), root)
    return "there is no such key" + (f"; did you mean {nearest}?" if nearest else "")


def _nearest_of_all(wrong: str, root: type[BaseModel]) -> str:
    """A key of any table that is spelt much alike; "" if there is none."""
    by_name = {found[-1]: ".".join(found) for found in _all_keys(root)}
    close = difflib.get_close_matches(wrong, by_name, n=1, cutoff=0.8)
    return by_name[close[0]] if close else ""


def _keys_under(parents: tuple[str | int, ...], root: type[BaseModel]) -> list[str]:
    """The keys allowed in a table of a recipe. After `network` comes the task, which selects the table."""
    table: Any = root
    for parent in parents:
        if isinstance(table, type) and issubclass(table, BaseModel):
            field = table.model_fields.get(str(parent))
            table = None if field is None else field.annotation
        else:
            table = next((each for each in get_args(table) if each.model_fields["task"].default == parent), None)
    return list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []


def _all_keys(root: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key with the tables above it, without those of the networks, whose keys depend on the task."""
    for name, field in root.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _all_keys(kind, (*above, name))
        else:
            yield (*above, name)


def oversized(values: Mapping[str, Any], largest: int, above: tuple[str, ...] = ()) -> str:
    """The dotted key of a whole number beyond `largest`, which no computation holds; "" if there is none."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            found = oversized(value, largest, (*above, name))
            if found:
                return found
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > largest:
            return ".".join((*above, name))
    return ""

"""How a file is read, as the command line says it: `--column text=Message --column dates=day-first`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from service.errors import UnrollError

#: Roles and their fields of ReadOptions. `tag` may also name a CoNLL-U field.
FIELDS = {
    "text": "text_column",
    "label": "label_column",
    "next": "next_column",
    "source": "source_column",
    "target": "target_column",
    "word": "word_column",
    "tag": "tag_column",
    "time": "time_column",
    "file": "file_column",
    "sequence": "sequence_column",
    "group": "group_column",
    "channels": "channel_columns",
    "window": "window_rows",
    "stride": "stride_rows",
    "dates": "dates",
    "decimal": "decimal",
    "missing": "missing",
    "encoding": "encoding",
    "separator": "separator",
    "header": "header",
    "format": "format",
}


def fields_of(settings: Sequence[str]) -> dict[str, Any]:
    """Fields of ReadOptions, not checked yet, from settings of the form `role=value`.

    Raises:
        UnrollError: a setting is of another form, or its role is unknown.
    """
    given: dict[str, Any] = {}
    for role, value in map(_role_and_value, settings):
        if role not in FIELDS:
            close = difflib.get_close_matches(role, FIELDS, n=1)
            hint = f"; did you mean {close[0]}?" if close else ";"
            raise UnrollError(f"--column: unknown column role {role!r}{hint} choose one of {', '.join(FIELDS)}")
        by_name = role == "tag" and not value.lstrip("-").isdecimal()
        given["tag_field" if by_name else FIELDS[role]] = value
    return given


def _role_and_value(setting: str) -> tuple[str, str]:
    """Split `text=0`. The value is a name as it stands, even where it looks like a number; quotes are taken away."""
    role, equals, value = setting.partition("=")
    if not equals or not role:
        raise UnrollError(f"--column: {setting!r} is not of the form role=column")
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return role.strip(), value[1:-1] if is_quoted else value

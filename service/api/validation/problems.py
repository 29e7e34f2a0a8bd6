"""Problems that validation found, in words: which field, what is wrong, and what is allowed.

What a caller sent may be in them, such as a name of a megabyte, so each part is cut.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from service.tasks.core.parameters import plain_message

T = TypeVar("T")

#: In pydantic's path, after the name of a member of an object: the name itself is wrong.
_KEY = "[key]"

#: Problems that are told; of further ones only the number is.
MAX_PROBLEMS = 20
#: Of those, problems that are told with what is allowed instead.
MAX_HINTS = 3

_MAX_PART_CHARACTERS = 100
_MAX_PATH_CHARACTERS = 200
_MAX_MESSAGE_CHARACTERS = 500
_MAX_SENTENCE_CHARACTERS = 1900
_MAX_NAMES_SHOWN = 12

#: Tags of our unions in pydantic's error locations; they are not part of what the client sent.
UNION_TAGS = frozenset(
    {
        "list_of_inputs",
        "item_text",
        "item_words",
        "item_frames",
        "item_wav",
        "item_audio",
        "item_png",
        "item_clip",
        "item_pictures",
        "item_tensors",
    }
    | {"prompt_text", "prompt_texts", "prompt_ids", "prompt_id_lists"}
)


def field_path(location: Iterable[str | int]) -> str:
    """`("inputs", 2)` as `inputs.2`."""
    return shortened(".".join(shortened(str(part), _MAX_PART_CHARACTERS) for part in location), _MAX_PATH_CHARACTERS)


def shortened(text: str, max_characters: int) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= max_characters else f"{text[:max_characters]}... ({len(text)} characters)"


def as_many_as_fit(items: Sequence[T], max_bytes: int) -> list[T]:
    """The first items that together have at most this many bytes as JSON."""
    fitting: list[T] = []
    for item in items:
        max_bytes -= len(json.dumps(item))
        if max_bytes < 0:
            break
        fitting.append(item)
    return fitting


def fields_at_fault(problems: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """`field` and `message` of the first problems, as pydantic found them in a body, query, path or header."""
    return [
        {"field": field_path(_location(problem)), "message": shortened(_message(problem), _MAX_MESSAGE_CHARACTERS)}
        for problem in problems[:MAX_PROBLEMS]
    ]


def sentence_of(fields: Sequence[Mapping[str, str]], num_problems: int) -> str:
    """All of them in one sentence, with the number of those that are not told."""
    told = "; ".join(f"{f['field']}: {f['message']}" if f["field"] else f["message"] for f in fields)
    told = shortened(told, _MAX_SENTENCE_CHARACTERS)
    num_more = num_problems - len(fields)
    return f"{told}; and {num_more} more" if num_more else told


def known_fields(model: Any, location: Sequence[str | int]) -> list[str]:
    """The names that an object in a body may have, by its path; none where they are not known."""
    for part in location:
        field = model.model_fields.get(part)
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _location(problem: Mapping[str, Any]) -> list[str | int]:
    """pydantic's path without where it was found (body, query, header), the tags of unions, and the mark of a key."""
    return [part for part in problem["loc"][1:] if part not in UNION_TAGS and part != _KEY]


def _message(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"there is no such field{_hint(str(problem['loc'][-1]), problem.get('known', ()))}"
    if problem["type"] == "missing":
        return "this field is needed" if len(problem["loc"]) > 1 else "a JSON body is needed"
    return plain_message(problem)


def _hint(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name[:_MAX_PART_CHARACTERS].lower(), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(known)}" if 0 < len(known) <= _MAX_NAMES_SHOWN else ""

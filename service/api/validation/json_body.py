"""From the bytes of a JSON body to a validated model, at a cost that the length of the body bounds.

The parser is fast, but every value of a body becomes an object in memory, and validation makes one problem, of a
kilobyte, for every value that does not fit: two megabytes of `1,1,1,...` were two gigabytes. So there are three bounds:
what needs much memory for few bytes is counted before it is parsed, the number of inputs is checked before the first
of them is looked at, and the schemas stop at the first problem of a long list.
"""

from __future__ import annotations

import codecs
from typing import Any, NamedTuple, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from service.api.validation.problems import MAX_HINTS, known_fields
from service.errors import InvalidInput

BodyT = TypeVar("BodyT", bound=BaseModel)

#: Shorter bodies are not counted: whatever they hold, they cost little.
_SMALL_BYTES = 16 * 1024
#: A frame of one number is about that long; a list or an object takes a hundred bytes of memory.
_BYTES_PER_CONTAINER = 20
#: Requests have a few dozen names, and one for each input. A name that is not known makes a problem.
_BYTES_PER_NAME = 200

_ENCODING_MARKS = (
    (codecs.BOM_UTF32_LE, "of UTF-32 (FF FE 00 00)"),
    (codecs.BOM_UTF32_BE, "of UTF-32 (00 00 FE FF)"),
    (codecs.BOM_UTF16_LE, "of UTF-16 (FF FE)"),
    (codecs.BOM_UTF16_BE, "of UTF-16 (FE FF)"),
    (codecs.BOM_UTF8, "(BOM: EF BB BF)"),
)


class BodyLimits(NamedTuple):
    """The limits of a service on a request body. They are the context of its validation."""

    max_bytes: int
    max_inputs: int

    @property
    def max_containers(self) -> int:
        """Lists and objects in a body."""
        return self.max_bytes // _BYTES_PER_CONTAINER

    @property
    def max_names(self) -> int:
        """Members of all objects in a body."""
        return self.max_bytes // _BYTES_PER_NAME + 2 * self.max_inputs


def parse_body(body_type: type[BodyT], raw: bytes, limits: BodyLimits) -> BodyT:
    """The body as a model.

    Raises:
        HTTPException: 400, the body is not JSON in UTF-8.
        InvalidInput: it has too many lists, objects or names.
        RequestValidationError: it does not fit the model; with every problem, or the first of a long list.
    """
    if not raw:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
    _require_few_parts(raw, limits)
    try:
        return body_type.model_validate_json(raw, context=limits)
    except ValidationError as error:
        problems: list[dict[str, Any]] = [
            {**problem, "loc": ("body", *problem["loc"])}
            for problem in error.errors(include_url=False, include_input=False)
        ]
        if problems[0]["type"] == "json_invalid":
            raise HTTPException(400, _why_not_json(raw, problems[0]["ctx"]["error"])) from error
        for problem in problems[:MAX_HINTS]:
            if problem["type"] == "extra_forbidden":
                problem["known"] = known_fields(body_type, problem["loc"][1:-1])
        raise RequestValidationError(problems) from error


def _why_not_json(raw: bytes, reason: str) -> str:
    for mark, name in _ENCODING_MARKS:
        if raw.startswith(mark):
            return f"the body is not JSON: it begins with a byte order mark {name}; send UTF-8 without one"
    if b"\0" in raw[:2]:
        return "the body is not JSON: it begins with a zero byte, as UTF-16 and UTF-32 do; send UTF-8"
    return f"the body is not JSON: {reason}"


def _require_few_parts(raw: bytes, limits: BodyLimits) -> None:
    """Refuse a body of many tiny parts before it is parsed. Strings are skipped only where it matters."""
    if len(raw) <= _SMALL_BYTES:
        return
    kinds = (("lists and objects", b"[{", limits.max_containers), ("names of fields", b":", limits.max_names))
    for kind, signs, limit in kinds:
        if _count(raw, signs) > limit and (number := _count(_outside_strings(raw), signs)) > limit:
            few = f"at most {limit} are read, and at most {limits.max_inputs} inputs"
            raise InvalidInput(f"the body holds {number} {kind}: {few}")


def _count(raw: bytes, signs: bytes) -> int:
    return sum(raw.count(sign) for sign in signs)


def _outside_strings(raw: bytes) -> bytes:
    """JSON without the content of its strings."""
    unescaped = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])

"""Validation of request parameters, with error messages that speak of JSON instead of pydantic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from service.errors import InvalidInput
from service.tasks.core.task import Parameters

#: Messages in place of those in which pydantic names its own types.
PLAIN_MESSAGES = {
    "string_unicode": "not text: it holds half of a surrogate pair",
    "string_type": "must be text",
    "model_attributes_type": "must be a JSON object",
    "too_short": "the list is empty",
}

_KIND_SHOULD = re.compile(r"\b(Dictionary|List|String) should")


def check_parameters(parameters_type: type[Parameters], given: Mapping[str, Any]) -> Any:
    """The typed parameters. Raises InvalidInput with the path `parameters.<name>`."""
    if not given:
        return _defaults(parameters_type)
    try:
        return parameters_type.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(_message(problem, parameters_type), ("parameters", *problem["loc"])) from error


@lru_cache
def _defaults(parameters_type: type[Parameters]) -> Parameters:
    """The parameters of a request that has none. They are frozen, so all such requests may have the same."""
    return parameters_type()


def plain_message(problem: Mapping[str, Any]) -> str:
    """pydantic's error message, reworded for JSON."""
    if problem["type"] in PLAIN_MESSAGES:
        return PLAIN_MESSAGES[problem["type"]]
    message = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    return _KIND_SHOULD.sub("must", message)


def _message(problem: Mapping[str, Any], parameters_type: type[Parameters]) -> str:
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(parameters_type.model_fields)) or "none"
        return f"there is no such parameter; this task has: {known}"
    return plain_message(problem)

"""The parameters of a request that are for the protocol; all others are for the task of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from service.bundle.hidden_output import EMBEDDING
from service.errors import InvalidInput

_PATH = "parameters"
_NAMES = frozenset({"sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "binary_data_output"})
_MAX_SEQUENCE_CHARACTERS = 128
#: Parameters of `POST /predict`; here an output takes their place.
_FOR_EMBEDDINGS = ("return_hidden", "normalize")


class Control(NamedTuple):
    """What a request asks of the protocol.

    Attributes:
        sequence_id: requests with the same one continue each other; empty for none.
        timeout_s: how long the caller waits; 0 for as long as the service allows.
        others: the parameters of the task.
    """

    sequence_id: str
    is_start: bool
    is_end: bool
    timeout_s: float
    others: Mapping[str, Any]

    def deadline_s(self, latest_s: float, started_s: float) -> float:
        """By `time.monotonic()`: `latest_s`, or less if the caller waits less long."""
        return min(latest_s, started_s + self.timeout_s) if self.timeout_s else latest_s


def read_control(parameters: Mapping[str, Any]) -> Control:
    """The parameters of the protocol. `priority` is checked and has no effect: callers share fairly.

    Raises:
        InvalidInput: with the path `parameters.<name>`.
    """
    if not parameters:
        return _PLAIN
    timeout_us = _whole_number(parameters, "timeout")
    _whole_number(parameters, "priority")
    control = Control(
        _sequence_id(parameters.get("sequence_id", 0)),
        _flag(parameters, "sequence_start"),
        _flag(parameters, "sequence_end"),
        min(timeout_us, 10**15) / 1e6,
        {name: value for name, value in parameters.items() if name not in _NAMES},
    )
    if not control.sequence_id and (control.is_start or control.is_end):
        raise InvalidInput("must name the sequence that begins or ends", (_PATH, "sequence_id"))
    return control


_PLAIN = Control("", False, False, 0.0, {})


def refuse_hidden_parameters(control: Control) -> None:
    """Raises InvalidInput for parameters of embeddings where none is asked for."""
    for name in _FOR_EMBEDDINGS:
        if control.others.get(name):
            used = "goes with" if name == "normalize" else "is"
            raise InvalidInput(f"{used} the output {EMBEDDING!r} here: ask for that", (_PATH, name))


def _sequence_id(value: Any) -> str:
    if type(value) is int and 0 <= value < 1 << 64:
        return str(value) if value else ""
    if type(value) is str and len(value) <= _MAX_SEQUENCE_CHARACTERS:
        return f"={value}" if value else ""  # so that "7" is not 7
    allowed = f"must be a number below 2^64, or a text of at most {_MAX_SEQUENCE_CHARACTERS} characters"
    raise InvalidInput(allowed, (_PATH, "sequence_id"))


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if type(value) is not bool:
        raise InvalidInput("must be true or false", (_PATH, name))
    return value


def _whole_number(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name, 0)
    if type(value) is not int or value < 0:
        raise InvalidInput("must be a whole number, at least 0", (_PATH, name))
    return value


def without_normalize(control: Control) -> tuple[Control, bool]:
    """The parameters without those for embeddings, and the value of `normalize`. Raises InvalidInput."""
    others = {name: value for name, value in control.others.items() if name not in _FOR_EMBEDDINGS}
    return control._replace(others=others), _flag(control.others, "normalize")

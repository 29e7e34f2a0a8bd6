"""Search space: `key=low..high`, `key=low..high:log` or `key=a,b,c` (`unroll search --vary`)."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from training.config.recipe import ConfigFault

Value = str | int | float | bool

FORMS = "a range low..high, a range low..high:log, or values a,b,c"


class Suggesting(Protocol):
    """Interface of an Optuna trial."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """Suggest an integer from `low` to `high`, both included."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Suggest a number between `low` and `high`."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        """Suggest one of the choices."""
        ...


@dataclass(frozen=True)
class Range:
    """Range of numbers; integers if both bounds are."""

    key: str
    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Suggesting) -> Value:
        """Suggest a number for a trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.key, self.low, self.high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """Set of values."""

    key: str
    values: tuple[Value, ...]

    def suggest(self, trial: Suggesting) -> Value:
        """Suggest a value for a trial."""
        return trial.suggest_categorical(self.key, self.values)


def parse_space(settings: Sequence[str]) -> tuple[Range | Choice, ...]:
    """Parse the options of the command line. Raises ConfigFault for an invalid or repeated one."""
    space = tuple(_parse(setting) for setting in settings)
    keys = [each.key for each in space]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise ConfigFault(f"--vary {twice}: given twice")
    if not space:
        raise ConfigFault(f"--vary is missing: give at least one key with {FORMS}")
    return space


def _parse(setting: str) -> Range | Choice:
    key, equals, values = setting.partition("=")
    if not key or not equals or not values:
        raise ConfigFault(f"--vary {setting}: not of the form key=values; give {FORMS}")
    if ".." in values:
        return _range(setting, key, values)
    return Choice(key, tuple(_value(part.strip()) for part in values.split(",")))


def _range(setting: str, key: str, values: str) -> Range:
    bounds, _, scale = values.partition(":")
    low, high = (_value(part.strip()) for part in bounds.split("..", 1))
    if scale not in ("", "log"):
        raise ConfigFault(f"--vary {setting}: after the range comes :log or nothing, not :{scale}")
    for bound in (low, high):
        if isinstance(bound, str | bool):
            raise ConfigFault(f"--vary {setting}: {bound} is not a number")
    assert not isinstance(low, str)
    assert not isinstance(high, str)
    if low >= high or (scale and low <= 0):
        raise ConfigFault(f"--vary {setting}: low must be below high, and above 0 for :log")
    return Range(key, low, high, scale == "log")


def _value(text: str) -> Value:
    """A value as TOML spells it; anything else is text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, str | int | float | bool) else text

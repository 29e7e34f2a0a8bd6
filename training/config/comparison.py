"""Differences between two recipes, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from training.config.recipe import Recipe


def differences(one: Recipe, other: Recipe, names: tuple[str, str], but: frozenset[str] = frozenset()) -> list[str]:
    """Sentences such as `training.epochs is 5 here and 6 in runs/a`, in the order of the keys; `names` are the places.

    `but` are dotted keys that may differ.
    """
    values = [dict(_dotted(recipe.model_dump(mode="json"))) for recipe in (one, other)]
    keys = sorted({*values[0], *values[1]} - but)
    return [
        f"{key} is {_shown(values[0].get(key))} {names[0]} and {_shown(values[1].get(key))} {names[1]}"
        for key in keys
        if values[0].get(key) != values[1].get(key)
    ]


def _dotted(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    return "not set" if value is None else repr(value)[:80]

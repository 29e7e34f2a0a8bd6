"""Identity of a study: recipe, data, choices and version, so that no process adds trials of something else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from service.distribution import installed_version
from service.errors import UnrollError
from training.config.comparison import differences
from training.config.recipe import Recipe, parse_recipe
from training.data.digests import changed_names
from training.pipeline.search_space import Choice, Range

if TYPE_CHECKING:
    import optuna

_OWN_KEYS: Final = frozenset({"data.train", "data.dev"})
_RECIPE, _DATA, _CHOICES, _VERSION = "unroll:recipe", "unroll:data", "unroll:choices", "unroll:version"


class StudyDiffers(UnrollError):
    """The study was begun with another recipe, other data, other choices or by another version."""


class Identity:
    """What all trials of a study have in common."""

    def __init__(self, recipe: Recipe, data: Mapping[str, str], space: Sequence[Range | Choice]) -> None:
        """`data` maps the names of the data files to their digests."""
        self._recipe = recipe
        self._data = dict(data)
        self._choices = {each.key: list(each.values) if isinstance(each, Choice) else None for each in space}

    def check(self, study: optuna.Study) -> None:
        """Write the identity into a new study; raises StudyDiffers where that of the study is another."""
        before = study.user_attrs
        for key, value in {
            _RECIPE: self._recipe.model_dump_json(exclude_none=True),
            _DATA: self._data,
            _CHOICES: self._choices,
            _VERSION: installed_version(),
        }.items():
            if key not in before:  # a new study, or one of an earlier version
                study.set_user_attr(key, value)
        faults = [*self._of_recipe(before), *self._of_data(before), *self._of_choices(before), *_of_version(before)]
        if faults:
            raise StudyDiffers(
                f"the study {study.study_name!r} is of something else: {'; '.join(faults)}; take another --name or "
                "--storage for a search of its own"
            )

    def _of_recipe(self, before: Mapping[str, str]) -> list[str]:
        if _RECIPE not in before:
            return []
        theirs = parse_recipe(json.loads(before[_RECIPE]), "the study")
        return differences(self._recipe, theirs, ("here", "in the study"), _OWN_KEYS)

    def _of_data(self, before: Mapping[str, Mapping[str, str]]) -> list[str]:
        theirs = before.get(_DATA, self._data)
        changed = changed_names(theirs, self._data)
        mine, other = ({name: known.get(name, "none")[:12] for name in changed} for known in (self._data, theirs))
        return [f"{name} has sha256 {mine[name]} here and {other[name]} in the study" for name in changed]

    def _of_choices(self, before: Mapping[str, Mapping[str, object]]) -> list[str]:
        theirs = before.get(_CHOICES, {})
        return [
            f"--vary {key} has {_listed(values)} here and {_listed(theirs[key])} in the study"
            for key, values in self._choices.items()
            if key in theirs and theirs[key] != values
        ]


def _of_version(before: Mapping[str, str]) -> list[str]:
    mine = installed_version()
    theirs = before.get(_VERSION, mine)
    return [] if theirs == mine else [f"unroll is {mine} here and was {theirs} there"]


def _listed(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else "a range"

"""The rollout of a model as the service applies it: the last good one of its file, and what is wrong with the file."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from service.bundle.rollout_file import Rollout
from service.inference.rollout.traffic import TrafficSplit

logger = logging.getLogger(__name__)

#: What a scan found for a model: its rollout, or why its file cannot be used.
Found = Rollout | str


@dataclass(frozen=True)
class ModelRollout:
    """Aliases and traffic of a model.

    Attributes:
        problem: why the file that is there now was refused; "" if it was taken.
        is_known: false if no good file was ever read, so that nobody knows which version should answer.
    """

    model: str
    rollout: Rollout = field(default_factory=Rollout)
    problem: str = ""
    is_known: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether the highest version answers requests that name none."""
        return self.is_known and not self.rollout.traffic

    @cached_property
    def split(self) -> TrafficSplit | None:
        """How requests without a version are split; None if the highest version answers them."""
        return TrafficSplit(self.model, self.rollout.traffic) if self.rollout.traffic else None

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of each version in the requests without a version; empty without a split."""
        shares: dict[str, float] = {}
        for target, share in (self.split.shares() if self.split else {}).items():
            version = self.rollout.version_of(target)
            shares[version] = shares.get(version, 0.0) + share
        return shares

    def report(self, there: Collection[str]) -> None:
        """Say in the log what is wrong with it, or what holds from now on; `there` are the versions of the model."""
        if self.problem:
            kept = "the last good one holds" if self.is_known else "only requests that name a version are answered"
            logger.error("rollout refused", extra={"model": self.model, "reason": f"{self.problem}; {kept}"})
        elif missing := sorted(self.rollout.versions().difference(there)):
            logger.warning("rollout names absent versions", extra={"model": self.model, "versions": missing})
        elif not self.rollout.is_empty:
            logger.info("rollout applied", extra={"model": self.model, **self.rollout.model_dump()})

    def aliases_of(self, version: str) -> list[str]:
        """The names of a version, sorted."""
        return sorted(alias for alias, named in self.rollout.aliases.items() if named == version)


def change_of(
    before: Mapping[str, ModelRollout], after: Mapping[str, ModelRollout], retry: bool
) -> Literal["ok", "unchanged", "failed"]:
    """What a reload did to the rollouts. One that is as broken as before fails again only with `retry`."""
    changed = [rollout for name, rollout in after.items() if rollout != before.get(name, ModelRollout(name))]
    if any(rollout.problem for rollout in (after.values() if retry else changed)):
        return "failed"
    return "ok" if changed else "unchanged"


def taken_over(
    before: Mapping[str, ModelRollout], found: Mapping[str, Found], unreadable: Collection[str] = ()
) -> dict[str, ModelRollout]:
    """The rollouts from now on: what was found, and where a file is broken or unreadable the last good one."""
    after = {model: known for model, known in before.items() if model in unreadable}
    for model, one in found.items():
        known = before.get(model)
        if isinstance(one, str):
            after[model] = replace(known, problem=one) if known else ModelRollout(model, problem=one, is_known=False)
        elif known is not None and (known.rollout, known.problem, known.is_known) == (one, "", True):
            after[model] = known
        else:
            after[model] = ModelRollout(model, one)
    return after

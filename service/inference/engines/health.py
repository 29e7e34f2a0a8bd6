"""Readiness and liveness of the service, with the reasons, as the health checks of an orchestrator ask for them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from service.errors import NotReady, NotReadyCause
from service.inference.engines.catalogue import Catalogue
from service.inference.rollout.model_rollout import ModelRollout
from service.inference.scheduling.lanes import Lanes


@dataclass(frozen=True)
class ReadinessPolicy:
    """Which bundles the readiness of the service depends on: all, those of some models, or any one.

    Attributes:
        names: the models whose bundles must all be ready; empty: any bundle will do; None: every bundle must be.
    """

    names: Collection[str] | None = None

    @property
    def any_will_do(self) -> bool:
        """Whether one bundle that answers is enough."""
        return self.names is not None and not self.names

    def requires(self, name: str) -> bool:
        """Whether a bundle of this model that failed keeps the service from being ready."""
        return self.names is None or name in self.names

    def names_it(self, name: str) -> bool:
        """Whether it names this model, so that the model must be ready at the start and at all times."""
        return self.names is not None and name in self.names

    def missing(self, there: Collection[str]) -> list[str]:
        """A sentence for each model that must be ready and is not there at all."""
        sentences = []
        for name in sorted({*(self.names or ())} - {*there}):
            near = difflib.get_close_matches(name, [*there, "all", "any"], n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            sentences.append(f"UNROLL_READY names {name!r}, and there is no such model{meant}")
        return sentences

    @property
    def hint(self) -> str:
        """How to be ready without a bundle that failed, as a sentence."""
        if self.any_will_do:
            return "UNROLL_READY is any: one bundle that answers is enough, and there is none"
        if self.names is not None:
            return f"UNROLL_READY names {', '.join(sorted(self.names))}: all their bundles must be ready"
        return (
            "UNROLL_READY is all: every bundle must be ready. Set it to any, or to the names of the models that must "
            "be, to be ready without the others"
        )


class Health:
    """Whether requests should be sent here, whether they are accepted, and whether only a restart would help.

    Attributes:
        awaited: gives a sentence for each bundle that is not in the models folder yet, and should be.
    """

    def __init__(self, catalogue: Catalogue, policy: ReadinessPolicy | None = None) -> None:
        self._catalogue = catalogue
        self._policy = policy or ReadinessPolicy()
        self.awaited: Callable[[], Sequence[str]] = tuple
        self._phase: Literal["serving", "stopping", "draining"] = "serving"

    def announce_stop(self) -> None:
        """Report not ready from now on, so that load balancers stop sending requests; those that come are answered."""
        if self._phase == "serving":
            self._phase = "stopping"

    def start_draining(self) -> None:
        """Refuse new requests from now on."""
        self._phase = "draining"

    def reasons(self) -> list[str]:
        """Why the service is not ready, one sentence each; empty when it is."""
        if self._phase != "serving":
            return ["the service is stopping"]
        awaited = list(self.awaited())
        if not self._catalogue.is_listed:
            return awaited or ["the bundles have not been listed yet"]
        if self._catalogue.problem:
            return [*awaited, self._catalogue.problem]
        obstacles = self._obstacles()
        if self._policy.names is None or (self._policy.any_will_do and obstacles):
            return [*awaited, *obstacles]
        return obstacles

    def _obstacles(self) -> list[str]:
        """What is wrong with the bundles that the policy asks for, and how to change the policy if one has failed."""
        entries, policy = self._catalogue.entries, self._policy
        if policy.any_will_do and any(not entry.obstacle for entry in entries):
            return []
        wanted = [entry for entry in entries if entry.state != "unloaded"]  # an operator's wish is no fault
        at_fault = [entry for entry in wanted if entry.obstacle and (entry.is_required or policy.any_will_do)]
        reasons = [entry.obstacle for entry in at_fault] + policy.missing({entry.name for entry in entries})
        reasons += [rollout.problem for rollout in self._unknown_rollouts()]
        return [*reasons, policy.hint] if any(entry.state == "failed" for entry in at_fault) else reasons

    def _unknown_rollouts(self) -> list[ModelRollout]:
        """Rollouts of required models that were never readable: who should answer is not known."""
        found = self._catalogue.rollouts.values()
        return [rollout for rollout in found if not rollout.is_known and self._policy.requires(rollout.model)]

    @property
    def is_stopping(self) -> bool:
        """Whether the stop was announced, or has begun."""
        return self._phase != "serving"

    def require_serving(self) -> None:
        """Raises NotReady before the bundles are listed and while the service drains."""
        if self._phase == "draining":
            raise self.not_ready("draining")
        if not self._catalogue.is_listed:
            raise self.not_ready("loading")

    def not_ready(self, cause: NotReadyCause) -> NotReady:
        """The refusal of a request that no bundle in particular is to blame for."""
        return NotReady("the service is not ready", self.reasons(), cause)

    def standstill(self, lanes: Lanes | None, max_run_s: float) -> str:
        """Why the process cannot recover without a restart; "" while it can.

        A graph run that takes longer than `max_run_s` counts as stuck; 0 allows any.
        """
        if lanes is None or self._phase == "draining":
            return ""
        if not lanes.is_alive:
            return "a lane has ended; the log says why"
        age_s = lanes.run_age_s
        return f"a run has been going on for {age_s:.0f} s" if 0.0 < max_run_s < age_s else ""

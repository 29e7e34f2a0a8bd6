"""Readiness and liveness of the service, with the reasons, as the health checks of an orchestrator ask for them."""

from __future__ import annotations

from typing import Literal

from service.errors import NotReady, NotReadyCause
from service.inference.engines.catalogue import Catalogue
from service.inference.scheduling.lanes import Lanes


class Health:
    """Whether requests should be sent here, whether they are accepted, and whether only a restart would help."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
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
        if not self._catalogue.is_listed:
            return ["the bundles have not been listed yet"]
        listed = [self._catalogue.problem] if self._catalogue.problem else []
        return listed + [entry.obstacle for entry in self._catalogue.entries if entry.is_required and entry.obstacle]

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

"""A second version of a model that is published and withdrawn while the server runs, each time with a SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.load.soak.callers.caller import Caller, Unanswered, http_request

_PATIENCE_S = 120.0
_POLL_S = 0.05
KIND = "reloads"


class PublishedVersions:
    """Puts the bundles of one folder into the models folder and takes them out again.

    `caller` watches the list of models; `hang_up` sends the server SIGHUP.
    """

    def __init__(self, models: Path, second_versions: Path, caller: Caller, hang_up: Callable[[int], None]) -> None:
        self._models = models
        self._bundles = sorted(second_versions.glob("*/*"))
        self._caller = caller
        self._hang_up = hang_up
        caller.kind = "lists of models"
        self.done = 0

    async def keep_changing(self, every_s: float, over: asyncio.Event) -> None:
        """Publish, and withdraw again, until it is over, with a pause before each. What was published is withdrawn."""
        while not await _is_over(over, every_s):
            await self._reload(self._publish)
            await _is_over(over, every_s)
            await self._reload(self._withdraw)

    async def _reload(self, change: Callable[[Path], bool]) -> None:
        """Change the folder, have the server look, and wait until its list of models shows it."""
        for bundle in self._bundles:
            is_there = await asyncio.to_thread(change, bundle)
            self._hang_up(signal.SIGHUP)
            if await self._is_listed(bundle, is_there):
                self.done += 1
                self._caller.findings.requests[KIND] += 1
            else:
                what = "published" if is_there else "withdrawn"
                self._caller.findings.fault(
                    "no answer", KIND, f"{bundle.name} was {what}; the list of models does not say so"
                )

    def _publish(self, bundle: Path) -> bool:
        """Copy into a hidden folder first, so that no half-written version is found."""
        target = self._place(bundle)
        hidden = target.with_name(f".{bundle.name}")
        shutil.copytree(bundle, hidden)
        hidden.rename(target)
        return True

    def _withdraw(self, bundle: Path) -> bool:
        target = self._place(bundle)
        hidden = target.with_name(f".{bundle.name}")
        target.rename(hidden)
        shutil.rmtree(hidden)
        return False

    def _place(self, bundle: Path) -> Path:
        return self._models / bundle.parent.name / bundle.name

    async def _is_listed(self, bundle: Path, expected: bool) -> bool:
        give_up_s = time.monotonic() + _PATIENCE_S
        wanted = (bundle.parent.name, bundle.name)
        while time.monotonic() < give_up_s:
            try:
                listed = self._caller.json_of(await self._caller.reply(http_request("GET", "/models")), 200)
            except Unanswered:
                return False
            ready = {(each["name"], each["version"]) for each in listed["models"] if each["state"] == "ready"}
            if (wanted in ready) == expected:
                return True
            await asyncio.sleep(_POLL_S)
        return False


async def _is_over(over: asyncio.Event, within_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), within_s)
    return over.is_set()

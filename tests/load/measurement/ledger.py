"""Record of measurements, one JSON line each, so that an interrupted run continues and reports can be rewritten."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tests.load.places import LEDGERS, PEERS, PINS, ROOT

Values = Mapping[str, Any]


class Place(NamedTuple):
    """The table cell that a measurement belongs to."""

    scenario: str
    plan: str
    case: str


@dataclass(frozen=True)
class Failed:
    """The reason why a cell has no figures."""

    reason: str


class Ledger:
    """Measurements by place and round. With a file each is written immediately; without one they are kept in memory."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._rounds: dict[Place, dict[int, Values]] = defaultdict(dict)
        if file is not None and file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                self._rounds[Place(*entry["place"])][entry["round"]] = entry["values"]

    @property
    def num_rounds(self) -> int:
        """Return the highest number of rounds of any place."""
        return max((len(rounds) for rounds in self._rounds.values()), default=0)

    @property
    def window_s(self) -> float:
        """Return the median duration of the load measurements."""
        every = [values for rounds in self._rounds.values() for values in rounds.values()]
        return float(statistics.median([values["window_s"] for values in every if "window_s" in values] or [0.0]))

    def has(self, place: Place, number: int) -> bool:
        return number in self._rounds[place]

    def add(self, place: Place, number: int, values: Values) -> None:
        """Record the figures of one round, or the reason under `failed`."""
        self._rounds[place][number] = values
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as out:
                out.write(json.dumps({"place": place, "round": number, "values": values}) + "\n")

    def cell(self, place: Place) -> Values | Failed:
        """Return medians over the rounds, undisturbed ones if any; fault counts are sums over all rounds."""
        rounds = list(self._rounds.get(place, {}).values())
        measured = [values for values in rounds if "failed" not in values]
        if not measured:
            return Failed(str(rounds[-1]["failed"]) if rounds else "not measured")
        clean = [values for values in measured if not values.get("disturbed")] or measured
        sums = {name: sum(values.get(name) or 0 for values in measured) for name in SUMMED}
        return {**_medians(clean), **sums, "rounds": len(measured), "all_disturbed": bool(clean[0].get("disturbed"))}

    def plans(self, scenario: str) -> list[str]:
        """Plans of a scenario that were tried, in order."""
        return list(dict.fromkeys(place.plan for place in self._rounds if place.scenario == scenario))

    def cases(self, scenario: str, plan: str) -> list[str]:
        """Cases of a plan that were tried, in order."""
        tried = (place for place in self._rounds if (place.scenario, place.plan) == (scenario, plan))
        return list(dict.fromkeys(place.case for place in tried))


#: Fault counts, which are summed and never averaged.
SUMMED = ("errors", "wrong", "unanswered", "checked", "refused_without_retry_after")


def _medians(rounds: list[Values]) -> dict[str, float]:
    found = {}
    for name in rounds[0]:
        numbers = [values[name] for values in rounds if isinstance(values.get(name), int | float)]
        if numbers:
            found[name] = float(statistics.median(numbers))
    return found


def ledger_file() -> Path:
    """Return the file of the current sources, so that figures of two versions of the service are never mixed."""
    digest = hashlib.sha256()
    sources = sorted((ROOT / "service").rglob("*.py"))
    peers = sorted([*PEERS.glob("*.py"), *PINS.glob("*.txt")])
    for path in [*sources, *peers]:
        digest.update(path.read_bytes())
    return LEDGERS / f"{digest.hexdigest()[:12]}.jsonl"

"""Results of a load test: the rounds of each model, load and server, and the same as JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from service.cli.bench.comparison import Ratio, paired_ratio, unpaired_ratio
from service.cli.bench.load.tally import Tally
from service.cli.bench.measurement import Load, Measurement
from service.cli.bench.workload import Workload
from service.errors import UnrollError

#: Figures that are compared: name, heading.
COMPARED = {"rate": "answers/s", "p50_ms": "p50", "p99_ms": "p99"}
_BUCKETS_PER_DECADE = 10


@dataclass
class Case:
    """One model under one load on one server."""

    url: str
    workload: Workload
    load: Load
    rounds: list[Measurement] = field(default_factory=list)

    def total(self) -> Measurement:
        """All rounds as one measurement: latencies together, counts added up."""
        return merged(self.rounds)

    def values(self, name: str) -> list[float]:
        """One figure of each round; the rate of an open loop is that of the answers within its time."""
        return [_compared(measurement.figures(), name) for measurement in self.rounds]


def _compared(figures: Mapping[str, Any], name: str) -> float:
    return float((figures.get("goodput") if name == "rate" and "goodput" in figures else figures.get(name)) or 0.0)


def merged(rounds: Sequence[Measurement]) -> Measurement:
    """Several measurements of the same as one. `goodput` and the cost of the client are means over time."""
    if len(rounds) == 1:
        return rounds[0]
    tally = Tally(rounds[0].tally.payloads, rounds[0].tally.streams)
    for each in (measurement.tally for measurement in rounds):
        for name in ("latencies_s", "refusals_s", "first_tokens_s", "between_tokens_s"):
            getattr(tally, name).extend(getattr(each, name))
        tally.tokens += each.tokens
        tally.refusals_without_retry_after += each.refusals_without_retry_after
        tally.errors += Counter(each.errors)
        tally.samples = {**each.samples, **tally.samples}
    seconds = sum(measurement.seconds for measurement in rounds)
    return Measurement(
        tally,
        seconds,
        _merged_figures([measurement.seen for measurement in rounds]),
        max(measurement.client_cores for measurement in rounds),
        any(measurement.is_interrupted for measurement in rounds),
        _merged_figures([measurement.batches for measurement in rounds]),
    )


#: Figures of a loop that are added up; `goodput` and the batches are averaged, all else is the worst of the rounds.
_ADDED = ("unanswered", "offered")
_AVERAGED = ("goodput", "mean_rows", "padded_share")


def _merged_figures(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for figures in rounds for name in figures):
        values = [figures[name] for figures in rounds if figures.get(name) is not None]
        if not values:
            found[name] = None
        elif name in _ADDED:
            found[name] = sum(values)
        else:
            found[name] = sum(values) / len(values) if name in _AVERAGED else max(values)
    return found


@dataclass(frozen=True)
class Comparison:
    """Ratios of one case on two servers, or of one case now and before; the second to the first."""

    model: str
    load: str
    first: str
    second: str
    ratios: Mapping[str, Ratio]


def compare(first: Case, second: Case) -> Comparison:
    """Two servers whose rounds were interleaved."""
    ratios = {name: paired_ratio(first.values(name), second.values(name)) for name in COMPARED}
    return _comparison(second, first.url, second.url, ratios)


def compare_with_recorded(case: Case, recorded: Mapping[str, Any], file: str) -> Comparison | None:
    """A case and the same case of a file that `--json` wrote; None if the file has none."""
    key = (case.workload.model, case.load.name)
    before = next((each for each in recorded["cases"] if (each["model"], each["load"]) == key), None)
    if before is None:
        return None
    rounds = before["rounds"]
    ratios = {
        name: unpaired_ratio([_compared(figures, name) for figures in rounds], case.values(name)) for name in COMPARED
    }
    return _comparison(case, file, case.url, ratios)


def _comparison(case: Case, first: str, second: str, ratios: Mapping[str, Ratio | None]) -> Comparison:
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    return Comparison(case.workload.model, case.load.name, first, second, known)


def read_recorded(file: Path) -> dict[str, Any]:
    """A file that `--json` wrote. Raises UnrollError if it is not."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if all({"model", "load", "rounds"} <= set(case) for case in found["cases"]):
            return dict(found)
    except (ValueError, LookupError, TypeError):
        pass
    raise UnrollError(f"{file} is no result of `unroll bench --json`")


def as_json(cases: Sequence[Case], comparisons: Sequence[Comparison]) -> str:
    """Everything that was measured, with a histogram of the latencies."""
    document = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cases": [_case_as_json(case) for case in cases if case.rounds],
        "comparisons": [
            {
                "model": each.model,
                "load": each.load,
                "first": each.first,
                "second": each.second,
                "ratios": {
                    name: {"ratio": ratio.value, "low": ratio.low, "high": ratio.high}
                    for name, ratio in each.ratios.items()
                },
            }
            for each in comparisons
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _case_as_json(case: Case) -> dict[str, Any]:
    total = case.total()
    return {
        "url": case.url,
        "model": case.workload.model,
        "version": case.workload.version,
        "task": case.workload.task,
        "path": case.workload.path,
        "workload": case.workload.about,
        "load": case.load.name,
        "total": total.figures(),
        "histogram": histogram(total.tally.latencies_s),
        "rounds": [measurement.figures() for measurement in case.rounds],
    }


def histogram(latencies_s: Sequence[float]) -> list[dict[str, float]]:
    """Counts by latency: ten buckets for each decade, each with its upper bound."""
    counts = Counter(math.ceil(_BUCKETS_PER_DECADE * math.log10(max(value, 1e-6) * 1000)) for value in latencies_s)
    return [
        {"at_most_ms": round(10 ** (bucket / _BUCKETS_PER_DECADE), 6), "count": counts[bucket]}
        for bucket in sorted(counts)
    ]


def as_csv(cases: Sequence[Case]) -> str:
    """A table with one line for each round, and a column for each figure that is a number."""
    rows = [
        {
            "url": case.url,
            "model": case.workload.model,
            "load": case.load.name,
            "round": number,
            **{name: value for name, value in measurement.figures().items() if isinstance(value, int | float)},
        }
        for case in cases
        for number, measurement in enumerate(case.rounds, 1)
    ]
    out = StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()

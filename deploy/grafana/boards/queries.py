"""PromQL as the panels use it: one query, and the few forms that come again and again."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What the viewer chose at the top of a board.
INSTANCES = 'instance=~"$instance"'
MODELS = f'model=~"$model",{INSTANCES}'
#: `process_*` and `python_*` carry no name of ours, so the scrape job tells them from other programs' metrics.
PROCESS = f'job="unroll",{INSTANCES}'

#: Answers that the service owes its users. What callers did wrong, and callers who left, are none of them.
FAILURES = "internal|inference_failed|generation|not_ready|overloaded|deadline_exceeded"
PREDICT_TASKS = "tagging|classification|translation|forecasting|captioning"

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Query:
    """One line, or one group of lines, of a panel."""

    expression: str
    legend: str = ""
    #: What must be there before it has an answer, such as "a GPU"; empty: a service that every task was asked of.
    #: It becomes part of the query's name in the JSON, so that whoever tries all queries knows which may stay empty.
    needs: str = ""
    exemplars: bool = False


def rate(metric: str, matchers: str = MODELS) -> str:
    """How fast a counter grows, over an interval that fits the zoom."""
    return f"rate({metric}{{{matchers}}}[$__rate_interval])"


def total(metric: str, matchers: str = MODELS, by: str = "") -> str:
    """The rates of a counter, added up."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} ({rate(metric, matchers)})"


def quantile(q: float, histogram: str, matchers: str = MODELS, by: str = "") -> str:
    """A quantile of a histogram, of all series together or by some labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q:g}, sum by ({labels}) ({rate(f'{histogram}_bucket', matchers)}))"


def quantiles(histogram: str, matchers: str = MODELS) -> tuple[Query, ...]:
    """p50, p95 and p99; the last brings exemplars, whose trace ids name single slow requests."""
    return tuple(
        Query(quantile(q, histogram, matchers), f"p{100 * q:.0f}", exemplars=q == QUANTILES[-1]) for q in QUANTILES
    )


def mean(histogram: str, matchers: str = MODELS, by: str = "model") -> str:
    """The mean of what a histogram observed."""
    return share(f"{histogram}_sum", f"{histogram}_count", matchers, by)


def share(part: str, whole: str, matchers: str = MODELS, by: str = "model") -> str:
    """One counter as a share of another."""
    return f"{total(part, matchers, by)} / {total(whole, matchers, by)}"


def over_an_hour(expression: str) -> str:
    """The same rates over an hour at every zoom: shares of few answers would jump about."""
    return expression.replace("[$__rate_interval]", "[1h]")


def a_day_before(expression: str) -> str:
    """The same rates, a day earlier."""
    return re.sub(r"(\[[^\]]+\])", r"\1 offset 1d", expression)

"""PromQL queries of the panels, and functions for the usual expressions."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Matchers for the variables at the top of a board.
INSTANCES = 'instance=~"$instance"'
MODELS = f'model=~"$model",{INSTANCES}'
#: `process_*` and `python_*` are exported by other programs too: the scrape job tells them apart.
PROCESS = f'job="unroll",{INSTANCES}'

#: Outcomes that count as failures of the service. Client errors and cancelled requests do not.
FAILURES = "internal|inference_failed|generation|not_ready|overloaded|deadline_exceeded"
PREDICT_TASKS = "tagging|classification|translation|forecasting|captioning|transcription|parsing|video|tensors"

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Query:
    """Query of a panel: one series, or several."""

    expression: str
    legend: str = ""
    #: What the query needs to return data, such as "a GPU"; empty if requests for every task are enough. It is part of
    #: the query's name in the JSON, so that checks of all queries know which may be empty.
    needs: str = ""
    exemplars: bool = False


def rate(metric: str, matchers: str = MODELS) -> str:
    """Rate of a counter, over an interval that fits the zoom."""
    return f"rate({metric}{{{matchers}}}[$__rate_interval])"


def total(metric: str, matchers: str = MODELS, by: str = "") -> str:
    """Sum of the rates of a counter."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} ({rate(metric, matchers)})"


def quantile(q: float, histogram: str, matchers: str = MODELS, by: str = "") -> str:
    """Quantile of a histogram, over all series or by labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q:g}, sum by ({labels}) ({rate(f'{histogram}_bucket', matchers)}))"


def quantiles(histogram: str, matchers: str = MODELS) -> tuple[Query, ...]:
    """Queries for p50, p95 and p99; the last one with exemplars, which link to traces of slow requests."""
    return tuple(
        Query(quantile(q, histogram, matchers), f"p{100 * q:.0f}", exemplars=q == QUANTILES[-1]) for q in QUANTILES
    )


def mean(histogram: str, matchers: str = MODELS, by: str = "model") -> str:
    """Mean of the observations of a histogram."""
    return share(f"{histogram}_sum", f"{histogram}_count", matchers, by)


def share(part: str, whole: str, matchers: str = MODELS, by: str = "model") -> str:
    """Rate of one counter as a share of another."""
    return f"{total(part, matchers, by)} / {total(whole, matchers, by)}"


def over_an_hour(expression: str) -> str:
    """The same rates over an hour at every zoom, since shares of few answers are noisy."""
    return expression.replace("[$__rate_interval]", "[1h]")


def a_day_before(expression: str) -> str:
    """The same rates, a day earlier."""
    return re.sub(r"(\[[^\]]+\])", r"\1 offset 1d", expression)

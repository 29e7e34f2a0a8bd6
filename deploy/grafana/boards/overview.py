"""Overview: are users served? The answer stands at the top left; the rows below say where to look next."""

from __future__ import annotations

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panels import GREEN, RED, YELLOW, Chart, Number, Panel, Step, Word
from deploy.grafana.boards.queries import (
    FAILURES,
    INSTANCES,
    MODELS,
    PREDICT_TASKS,
    Query,
    quantile,
    quantiles,
    rate,
    total,
)

PREDICTIONS = f'{MODELS},task=~"{PREDICT_TASKS}"'
DURATION = "unroll_request_duration_seconds"
REQUESTS = "unroll_requests_total"
FAILED = f'{MODELS},outcome=~"{FAILURES}"'

#: Objectives are recorded for each scrape job, over all instances and models.
ANSWERS: tuple[Panel, ...] = (
    Number(
        title="Requests answered, last hour",
        description="The share of requests that were answered; the objective is 99.9 %. Requests that the caller got "
        "wrong or gave up do not count. Below the objective: Failed requests says what kind of failure it is.",
        queries=(Query("1 - unroll:failed_requests:ratio1h", "answered"),),
        unit="percentunit",
        decimals=2,
        steps=(Step(None, RED), Step(0.999, YELLOW), Step(0.9995, GREEN)),
    ),
    Number(
        title="Error budget left, 30 days",
        description="Of the failures that the objective allows in 30 days, the share that has not happened yet. At "
        "zero, put off risky changes until it has recovered.",
        queries=(Query("1 - unroll:failed_requests:ratio30d / 0.001", "left"),),
        unit="percentunit",
        decimals=0,
        maximum=1,
        steps=(Step(None, RED), Step(0.0, YELLOW), Step(0.25, GREEN)),
    ),
    Number(
        title="Predictions in 100 ms, last hour",
        description="The share of /predict answers that took at most 100 ms; the objective is 99 %. Below it: look at "
        "Oldest waiting request, then at the stages on the Model board.",
        queries=(Query("1 - unroll:slow_predictions:ratio1h", "fast"),),
        unit="percentunit",
        decimals=2,
        steps=(Step(None, RED), Step(0.99, YELLOW), Step(0.995, GREEN)),
    ),
    Number(
        title="Texts begun in 250 ms, last hour",
        description="The share of generated texts whose first token came within 250 ms; the objective is 99 %. Below "
        "it: look at slots and queues on the Streams board.",
        queries=(Query("1 - unroll:slow_first_tokens:ratio1h", "fast"),),
        unit="percentunit",
        decimals=2,
        steps=(Step(None, RED), Step(0.99, YELLOW), Step(0.995, GREEN)),
    ),
    Number(
        title="Alerts firing",
        description="Alerts of this service that fire now. Each names its runbook in deploy/runbooks.",
        queries=(Query('count(ALERTS{alertname=~"Unroll.*",alertstate="firing"}) or vector(0)', "firing"),),
        steps=(Step(None, GREEN), Step(1, RED)),
    ),
    Number(
        title="Ready",
        description="Whether each instance takes requests. Not ready: /health/ready of that instance says which "
        "bundle is the reason.",
        queries=(Query(f"unroll_ready{{{INSTANCES}}}", "{{instance}}"),),
        words={"0": Word("not ready", RED), "1": Word("ready", GREEN)},
    ),
)

TRAFFIC: tuple[Panel, ...] = (
    Chart(
        title="Requests",
        description="Requests a second by model; `none` are requests that named no known model. A sudden drop to "
        "nothing usually means that callers cannot reach the service.",
        queries=(Query(total(REQUESTS, by="model"), "{{model}}"),),
        unit="reqps",
        stacked=True,
    ),
    Chart(
        title="Failed requests",
        description="Requests that the service should have answered and did not, by outcome. overloaded: more arrives "
        "than can be run. deadline_exceeded: waiting took too long. internal, inference_failed, generation: read the "
        "log.",
        queries=(
            Query(f"{total(REQUESTS, FAILED)} or 0 * {total(REQUESTS)}", "all failures"),
            Query(total(REQUESTS, FAILED, by="outcome") + " > 0", "{{outcome}}", needs="failures"),
        ),
        unit="reqps",
        at_least=1,
    ),
    Chart(
        title="Latency of predictions",
        description="Time of a /predict request from its first byte to the last byte of the answer. The dashed line "
        "is the objective for p99. Above it: compare the stages on the Model board.",
        queries=quantiles(DURATION, PREDICTIONS),
        unit="s",
        limit=0.1,
    ),
    Chart(
        title="Latency by model, p99",
        description="The slowest hundredth of the requests of each model, generation included, where long texts "
        "rightly take long. One model alone above the others: look at it on the Model board.",
        queries=(Query(quantile(0.99, DURATION, MODELS, by="model"), "{{model}}", exemplars=True),),
        unit="s",
    ),
    Chart(
        title="Error budget burn",
        description="How many times faster than allowed the service fails: at 1 the budget lasts exactly 30 days. "
        "14.4 in the last hour pages.",
        queries=(
            Query("unroll:failed_requests:ratio5m / 0.001", "5 minutes"),
            Query("unroll:failed_requests:ratio1h / 0.001", "1 hour"),
            Query("unroll:failed_requests:ratio6h / 0.001", "6 hours"),
        ),
        limit=14.4,
    ),
    Chart(
        title="Refused, by reason",
        description="Requests refused before a model ran. queue_full and too_many_open: too much traffic. draining "
        "and loading: a restart. The others are faults of callers; a sudden rise usually is a new version of a caller.",
        queries=(
            Query(f"sum by (reason) ({rate('unroll_rejections_total', INSTANCES)})", "{{reason}}", needs="refusals"),
        ),
        unit="reqps",
        stacked=True,
    ),
)

SATURATION: tuple[Panel, ...] = (
    Chart(
        title="Oldest waiting request",
        description="How long the request that has waited longest has waited, by model. Steadily above 0.1 s: more "
        "arrives than the lanes can run, so add replicas or cores.",
        queries=(Query(f"max by (model) (unroll_queue_oldest_age_seconds{{{MODELS}}})", "{{model}}"),),
        unit="s",
        at_least=0.1,
        width=6,
    ),
    Chart(
        title="Lanes busy",
        description="The share of time in which the lanes run graphs. Near 100 % for long, requests begin to wait: "
        "add replicas or cores.",
        queries=(
            Query(
                f"{rate('unroll_lane_busy_seconds_total', INSTANCES)} / unroll_lanes{{{INSTANCES}}}",
                "{{instance}}",
            ),
        ),
        unit="percentunit",
        maximum=1,
        width=6,
    ),
    Chart(
        title="Slots in use",
        description="The share of the rows for stepping that are taken, by model. At 100 % new texts wait until "
        "others end: raise UNROLL_MAX_LIVE_STREAMS or add replicas.",
        queries=(
            Query(
                f"sum by (model) (unroll_slots_in_use{{{MODELS}}}) / sum by (model) (unroll_slots{{{MODELS}}})",
                "{{model}}",
            ),
        ),
        unit="percentunit",
        maximum=1,
        width=6,
    ),
    Chart(
        title="Open requests of those allowed",
        description="Requests that are being answered, as a share of UNROLL_MAX_OPEN_REQUESTS; above that, callers "
        "get 429. Near 100 %: callers wait for slow answers, or there are too few replicas.",
        queries=(
            Query(
                f"unroll_open_requests{{{INSTANCES}}} / unroll_max_open_requests{{{INSTANCES}}}",
                "{{instance}}",
            ),
        ),
        unit="percentunit",
        at_least=0.1,
        width=6,
    ),
)

INSTANCE: tuple[Panel, ...] = (
    Chart(
        title="Requests by instance",
        description="Requests a second by instance. Uneven over minutes: the load balancer does not see one of them, "
        "or one was not ready.",
        queries=(Query(total(REQUESTS, by="instance"), "{{instance}}"),),
        unit="reqps",
        width=12,
    ),
    Chart(
        title="Requests that callers got wrong or gave up",
        description="By outcome; these count neither for nor against the objective. Many `cancelled`: callers have "
        "shorter patience than the answers take.",
        queries=(
            Query(
                total(REQUESTS, f'{MODELS},outcome!~"ok|{FAILURES}"', by="outcome"),
                "{{outcome}}",
                needs="faults of callers",
            ),
        ),
        unit="reqps",
        width=12,
        stacked=True,
    ),
)

BOARD = Board(
    "overview",
    "Are users served? Objectives, traffic, failures, and how full the service is.",
    (Row("", ANSWERS), Row("Traffic", TRAFFIC), Row("How full it is", SATURATION), Row("Instances", INSTANCE)),
)

"""Overview board: objectives first, then traffic, failures, saturation and instances."""

from __future__ import annotations

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panels import GREEN, RED, YELLOW, Chart, Link, Number, Panel, Step, Word
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
from deploy.grafana.boards.tables import AlertList

PREDICTIONS = f'{MODELS},task=~"{PREDICT_TASKS}"'
DURATION = "unroll_request_duration_seconds"
REQUESTS = "unroll_requests_total"
FAILED = f'{MODELS},outcome=~"{FAILURES}"'

#: Objectives are recorded per scrape job, over all instances and models.
ANSWERS: tuple[Panel, ...] = (
    Number(
        title="Requests answered, last hour",
        description="Share of requests that were answered; the objective is 99.9 %. Client errors and cancelled "
        "requests do not count. Below the objective: see Failed requests for the kind of failure.",
        queries=(Query("1 - unroll:failed_requests:ratio1h", "answered"),),
        unit="percentunit",
        decimals=2,
        steps=(Step(None, RED), Step(0.999, YELLOW), Step(0.9995, GREEN)),
    ),
    Number(
        title="Error budget left, 30 days",
        description="Share of the failures allowed in 30 days that has not been used. At zero, postpone risky changes "
        "until it recovers.",
        queries=(Query("1 - unroll:failed_requests:ratio30d / 0.001", "left"),),
        unit="percentunit",
        decimals=0,
        maximum=1,
        steps=(Step(None, RED), Step(0.0, YELLOW), Step(0.25, GREEN)),
    ),
    Number(
        title="Fast predictions, last hour",
        description="Share of requests to /predict that took at most 100 ms; the objective is 99 %. Below it: see "
        "Oldest waiting request, then the stages on the Model board.",
        links=(Link("Time by stage", "model"),),
        queries=(Query("1 - unroll:slow_predictions:ratio1h", "fast"),),
        unit="percentunit",
        decimals=2,
        steps=(Step(None, RED), Step(0.99, YELLOW), Step(0.995, GREEN)),
    ),
    Number(
        title="Fast first tokens, last hour",
        description="Share of generations whose first token came within 250 ms; the objective is 99 %. Below it: see "
        "slots and queues on the Streams board.",
        links=(Link("Slots and queues", "streams"),),
        queries=(Query("1 - unroll:slow_first_tokens:ratio1h", "fast"),),
        unit="percentunit",
        decimals=2,
        steps=(Step(None, RED), Step(0.99, YELLOW), Step(0.995, GREEN)),
    ),
    Number(
        title="Alerts firing",
        description="Number of firing alerts of this service. The table below has each one with its runbook.",
        queries=(Query('count(ALERTS{alertname=~"Unroll.*",alertstate="firing"}) or vector(0)', "firing"),),
        steps=(Step(None, GREEN), Step(1, RED)),
    ),
    Number(
        title="Ready",
        description="Whether each instance accepts requests. Not ready: /health/ready of that instance gives the "
        "reason.",
        links=(Link("Cores, memory and reloads", "runtime"),),
        queries=(Query(f"unroll_ready{{{INSTANCES}}}", "{{instance}}"),),
        words={"0": Word("not ready", RED), "1": Word("ready", GREEN)},
    ),
)

ALERTS: tuple[Panel, ...] = (
    AlertList(
        title="Firing alerts",
        description="Alerts of this service that are firing, with links to their runbooks: what users see, how to "
        "confirm it, and what to do. `page` needs a person at once.",
        queries=(Query('ALERTS{alertname=~"Unroll.*",alertstate="firing"}', needs="a firing alert"),),
    ),
)

TRAFFIC: tuple[Panel, ...] = (
    Chart(
        title="Requests",
        description="Requests per second by model; `none` are requests without a known model. A sudden drop to zero "
        "usually means that clients cannot reach the service.",
        links=(Link("This model", "model", series="model"),),
        queries=(Query(total(REQUESTS, by="model"), "{{model}}"),),
        unit="reqps",
        stacked=True,
    ),
    Chart(
        title="Requests by protocol",
        description="Requests per second by the protocol that clients speak: predict is POST /predict; `none` are "
        "requests to paths that are not served.",
        queries=(Query(total("unroll_protocol_requests_total", INSTANCES, by="protocol"), "{{protocol}}"),),
        unit="reqps",
        stacked=True,
    ),
    Chart(
        title="Failed requests",
        description="Failed requests by outcome. overloaded: requests arrive faster than they can be run. "
        "deadline_exceeded: waiting or running took too long. internal, inference_failed, generation: see the log.",
        queries=(
            Query(f"{total(REQUESTS, FAILED)} or 0 * {total(REQUESTS)}", "all failures"),
            Query(total(REQUESTS, FAILED, by="outcome") + " > 0", "{{outcome}}", needs="failures"),
        ),
        unit="reqps",
        at_least=1,
    ),
    Chart(
        title="Latency of predictions",
        description="Latency of /predict, from the first byte of the request to the last byte of the response. The "
        "dashed line is the objective for p99. Above it: compare the stages on the Model board.",
        links=(Link("Time by stage", "model"),),
        queries=quantiles(DURATION, PREDICTIONS),
        unit="s",
        limit=0.1,
    ),
    Chart(
        title="Latency by model, p99",
        description="99th percentile of the latency of each model, generation included, where long texts naturally "
        "take long. One model above the others: see the Model board.",
        links=(Link("Time by stage of this model", "model", series="model"),),
        queries=(Query(quantile(0.99, DURATION, MODELS, by="model"), "{{model}}", exemplars=True),),
        unit="s",
    ),
    Chart(
        title="Error budget burn",
        description="Burn rate of the error budget: at 1 it lasts exactly 30 days. 14.4 over the last hour raises a "
        "page.",
        queries=(
            Query("unroll:failed_requests:ratio5m / 0.001", "5 minutes"),
            Query("unroll:failed_requests:ratio1h / 0.001", "1 hour"),
            Query("unroll:failed_requests:ratio6h / 0.001", "6 hours"),
        ),
        limit=14.4,
    ),
    Chart(
        title="Rejected requests, by reason",
        description="Requests rejected before inference. queue_full and too_many_open: load shedding. draining and "
        "loading: a restart. The others are client errors; a sudden rise is usually a new client version.",
        queries=(
            Query(f"sum by (reason) ({rate('unroll_rejections_total', INSTANCES)})", "{{reason}}", needs="rejections"),
        ),
        unit="reqps",
        stacked=True,
        width=24,
    ),
)

SATURATION: tuple[Panel, ...] = (
    Chart(
        title="Oldest waiting request",
        description="Waiting time of the oldest queued request, by model. Steadily above 0.1 s: requests arrive "
        "faster than the lanes can run them, so add replicas or cores.",
        links=(Link("Time by stage of this model", "model", series="model"),),
        queries=(Query(f"max by (model) (unroll_queue_oldest_age_seconds{{{MODELS}}})", "{{model}}"),),
        unit="s",
        at_least=0.1,
        width=12,
    ),
    Chart(
        title="Lanes busy",
        description="Share of time in which the lanes run graphs. Near 100 % requests begin to queue: add replicas or "
        "cores.",
        links=(Link("Cores of this instance", "runtime", series="instance"),),
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
        description="Share of the decode slots in use, by model. At 100 % new sequences wait until others finish: "
        "raise UNROLL_MAX_LIVE_STREAMS or add replicas.",
        links=(Link("Streams of this model", "streams", series="model"),),
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
        title="Open requests, share of the limit",
        description="Requests in progress as a share of UNROLL_MAX_OPEN_REQUESTS; above it clients get 429. Near "
        "100 %: answers are slow, or there are too few replicas.",
        links=(Link("This instance", "runtime", series="instance"),),
        queries=(
            Query(
                f"unroll_open_requests{{{INSTANCES}}} / unroll_max_open_requests{{{INSTANCES}}}",
                "{{instance}}",
            ),
        ),
        unit="percentunit",
        at_least=0.1,
    ),
    Chart(
        title="Connections and request bodies, share of the limits",
        description="Open connections as a share of UNROLL_MAX_CONNECTIONS, and memory of request bodies as a share of "
        "UNROLL_MAX_HELD_BODY_BYTES. Near 100 %: too many clients, or clients that do not finish their requests.",
        queries=(
            Query(f"unroll_connections{{{INSTANCES}}} / unroll_max_connections{{{INSTANCES}}}", "{{instance}}"),
            Query(
                f"unroll_held_body_bytes{{{INSTANCES}}} / unroll_max_held_body_bytes{{{INSTANCES}}}",
                "{{instance}} bodies",
            ),
        ),
        unit="percentunit",
        at_least=0.1,
    ),
    Chart(
        title="Connections ended, by reason",
        description="Connections per second that the service ended. idle is harmless. timeout: requests that did not "
        "arrive in time. unread: clients that do not read. refused: no valid HTTP/1.1. The others: no room.",
        queries=(
            Query(
                f"sum by (reason) ({rate('unroll_connections_ended_total', INSTANCES)})",
                "{{reason}}",
            ),
        ),
        unit="ops",
        at_least=1,
        stacked=True,
    ),
)

INSTANCE: tuple[Panel, ...] = (
    Chart(
        title="Requests by instance",
        description="Requests per second by instance. Uneven for minutes: the load balancer does not reach one of "
        "them, or one was not ready.",
        links=(Link("This instance", "runtime", series="instance"),),
        queries=(Query(total(REQUESTS, by="instance"), "{{instance}}"),),
        unit="reqps",
        width=12,
    ),
    Chart(
        title="Client errors and cancelled requests",
        description="By outcome; these do not count towards the objective. Many `cancelled`: client timeouts are "
        "shorter than the answers take.",
        queries=(
            Query(
                total(REQUESTS, f'{MODELS},outcome!~"ok|{FAILURES}"', by="outcome"),
                "{{outcome}}",
                needs="client errors",
            ),
        ),
        unit="reqps",
        width=12,
        stacked=True,
    ),
)

#: Of what was refused for its key, or of a service with keys.
KEYS = "API keys"

CALLERS: tuple[Panel, ...] = (
    Chart(
        title="Requests by API key",
        description="Requests per second by API key. Empty without keys.",
        queries=(Query(total("unroll_usage_requests_total", by="key"), "{{key}}", needs=KEYS),),
        unit="reqps",
        width=8,
        stacked=True,
    ),
    Chart(
        title="Tokens by API key",
        description="Tokens read and written per second by API key. Empty without keys.",
        queries=(Query(total("unroll_usage_tokens_total", by="key"), "{{key}}", needs=KEYS),),
        width=8,
        stacked=True,
    ),
    Chart(
        title="Compute by API key",
        description="Seconds of graph runs per second by API key: 1 is one core that is always busy. Empty without "
        "keys.",
        queries=(Query(total("unroll_usage_compute_seconds_total", by="key"), "{{key}}", needs=KEYS),),
        unit="s",
        width=8,
        stacked=True,
    ),
    Chart(
        title="Requests refused by API key",
        description="Refused requests per second by API key and reason; `unknown` are requests without a valid key. "
        "missing, unknown, scheme, expired: 401. scope, model: 403. The others: a limit of the key.",
        queries=(
            Query(
                f"sum by (key, reason) ({rate('unroll_key_refusals_total', INSTANCES)})",
                "{{key}} {{reason}}",
                needs=KEYS,
            ),
        ),
        unit="reqps",
        width=12,
        at_least=1,
        stacked=True,
    ),
    Chart(
        title="API keys and usage files",
        description="Number of API keys by instance, and failures since the start: keys that could not be read again "
        "(the ones before stay valid, see the runbook key-reload-failing), and usage that could not be written.",
        queries=(
            Query(f"unroll_api_keys{{{INSTANCES}}}", "{{instance}} keys"),
            Query(f'sum(unroll_key_reloads_total{{{INSTANCES},outcome="failed"}})', "failed readings"),
            Query(f"sum(unroll_usage_write_failures_total{{{INSTANCES}}})", "failed writings of usage"),
        ),
        width=12,
    ),
)

BOARD = Board(
    "overview",
    "Service health: objectives, traffic, failures and saturation.",
    (
        Row("", ANSWERS + ALERTS),
        Row("Traffic", TRAFFIC),
        Row("Saturation", SATURATION),
        Row("Callers", CALLERS),
        Row("Instances", INSTANCE),
    ),
)

"""Model board: time by stage, batching and padding, drift of input and output, loaded bundles."""

from __future__ import annotations

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panels import GREEN, RED, TOKENS_PER_S, YELLOW, Bars, Chart, Link, Number, Panel, Step, Word
from deploy.grafana.boards.queries import (
    FAILURES,
    INSTANCES,
    MODELS,
    Query,
    a_day_before,
    mean,
    over_an_hour,
    quantile,
    share,
    total,
)
from deploy.grafana.boards.tables import VALUE, Table

DURATION = "unroll_request_duration_seconds"
STAGE = "unroll_stage_duration_seconds"
CONFIDENCE = "unroll_prediction_confidence"
LABELS = "unroll_predicted_labels_total"

#: Comparisons with the day before need data of a day.
HISTORY = "a day of history"

LABEL_SHARE = over_an_hour(f"{total(LABELS, by='model, label')} / on (model) group_left {total(LABELS, by='model')}")
UNKNOWN_SHARE = over_an_hour(share("unroll_unknown_tokens_total", "unroll_read_tokens_total"))
MEAN_CONFIDENCE = over_an_hour(mean(CONFIDENCE))
UNSURE = total(f"{CONFIDENCE}_bucket", f'{MODELS},le="0.5"', by="model")
UNSURE_SHARE = over_an_hour(f"{UNSURE} / {total(f'{CONFIDENCE}_count', by='model')}")

COMPUTED, PADDED = "unroll_computed_tokens_total", "unroll_padded_tokens_total"
USEFUL = f"{total(COMPUTED, by='model')} - {total(PADDED, by='model')}"
MISSES = "unroll_deadline_misses_total"

TIME: tuple[Panel, ...] = (
    Chart(
        title="Time of a request, by stage",
        description="Mean time of a request in each stage. queue grows: too few lanes. inference grows: longer texts "
        "or larger batches. preprocess grows: longer texts.",
        links=(Link("Cores and event loop", "runtime"),),
        queries=(Query(mean(STAGE, by="stage"), "{{stage}}"),),
        unit="s",
        stacked=True,
        colors={"preprocess": "blue", "queue": "orange", "inference": "green", "postprocess": "purple"},
    ),
    Chart(
        title="Time of a stage, p99",
        description="99th percentile of each stage. Only queue is high: requests arrive in bursts.",
        queries=(Query(quantile(0.99, STAGE, by="stage"), "{{stage}}", exemplars=True),),
        unit="s",
        colors={"preprocess": "blue", "queue": "orange", "inference": "green", "postprocess": "purple"},
    ),
    Chart(
        title="Median latency by model",
        description="Median latency of each model, first byte to last. A step up without more traffic: look for a "
        "reload in the annotations.",
        queries=(Query(quantile(0.5, DURATION, by="model"), "{{model}}", exemplars=True),),
        unit="s",
    ),
)

BATCHES: tuple[Panel, ...] = (
    Chart(
        title="Batch size",
        description="Mean inputs per run; for generation and translation, mean rows per step. 1 under light traffic "
        "is normal: requests do not wait for a batch to fill.",
        queries=(Query(mean("unroll_batch_size"), "{{model}}"),),
    ),
    Chart(
        title="Padding",
        description="Share of the computed tokens that is padding. Above 15 % for long: lengths vary widely and few "
        "requests wait at a time; smaller batches (UNROLL_MAX_BATCH_PADDED_TOKENS) waste less.",
        queries=(Query(share(PADDED, COMPUTED), "{{model}}"),),
        unit="percentunit",
        limit=0.15,
    ),
    Chart(
        title="Padding of a batch, p95",
        description="95th percentile of the padding of a batch. High here but low on average: some batches mix very "
        "short and very long texts.",
        queries=(Query(quantile(0.95, "unroll_batch_padding_ratio", by="model"), "{{model}}"),),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Tokens computed",
        description="Tokens per second computed in batches of whole sequences, without padding. Decode steps are on "
        "the Streams board.",
        links=(Link("Decode steps", "streams", series="model"),),
        queries=(Query(USEFUL, "{{model}}"),),
        unit=TOKENS_PER_S,
        stacked=True,
    ),
    Chart(
        title="Queue depth",
        description="Inputs in the queue, by model. Steady growth: requests arrive faster than the lanes can run them.",
        queries=(Query(f"sum by (model) (unroll_queue_depth{{{MODELS}}})", "{{model}}"),),
        at_least=10,
    ),
    Chart(
        title="Deadlines missed",
        description="Inputs dropped because their deadline passed. In the queue: too much traffic. While running: "
        "texts are too long for the timeout of the clients.",
        queries=(
            Query(f"{total(MISSES)} or 0 * {total(COMPUTED)}", "all"),
            Query(total(MISSES, by="model, phase") + " > 0", "{{model}} {{phase}}", needs="missed deadlines"),
        ),
        unit="reqps",
        at_least=1,
    ),
)

DRIFT: tuple[Panel, ...] = (
    Bars(
        title="Most frequent labels",
        description="Most frequent labels of the last hour, as shares of their model's answers. One label taking over "
        "without a change of the texts is a sign of broken input.",
        queries=(Query(f"topk(10, {LABEL_SHARE})", "{{model}} {{label}}"),),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Largest label changes since yesterday",
        description="Change of a label's hourly share from the same hour a day before, the ten largest. Above 20 "
        "points for hours: the input has drifted, so evaluate the model on new texts.",
        queries=(
            Query(f"topk(10, abs({LABEL_SHARE} - {a_day_before(LABEL_SHARE)}))", "{{model}} {{label}}", needs=HISTORY),
        ),
        unit="percentunit",
        limit=0.2,
    ),
    Chart(
        title="Mean confidence",
        description="Mean confidence of the answers, and (dashed) a day before. A fall: the input has drifted from the "
        "training data.",
        queries=(
            Query(MEAN_CONFIDENCE, "{{model}}"),
            Query(a_day_before(MEAN_CONFIDENCE), "{{model}} a day before", needs=HISTORY),
        ),
        unit="percentunit",
        maximum=1,
        faint=".*a day before",
    ),
    Chart(
        title="Unknown words",
        description="Share of the input words or pieces that are not in the vocabulary, and (dashed) a day before. A "
        "rise: another language, another domain, or broken text such as a wrong encoding.",
        queries=(
            Query(UNKNOWN_SHARE, "{{model}}"),
            Query(a_day_before(UNKNOWN_SHARE), "{{model}} a day before", needs=HISTORY),
        ),
        unit="percentunit",
        faint=".*a day before",
    ),
    Chart(
        title="Low-confidence answers",
        description="Share of answers with a confidence of at most 0.5. A rise means the same as a fall of the mean, "
        "but shows earlier if most answers are easy.",
        queries=(Query(UNSURE_SHARE, "{{model}}"),),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Input tokens",
        description="Input words or pieces per second, by model. Unknown words are a share of these.",
        queries=(Query(total("unroll_read_tokens_total", by="model"), "{{model}}"),),
        unit=TOKENS_PER_S,
    ),
)

BY_VERSION = "unroll_version_requests_total"
SHADOW = "unroll_shadow_answers_total"
COMPARED = total(SHADOW, f'{MODELS},outcome=~"agreed|differed"', by="model")
AGREED = total(SHADOW, f'{MODELS},outcome="agreed"', by="model")
SHADOW_RUN = "unroll_shadow_run_duration_seconds"

ROLLOUT: tuple[Panel, ...] = (
    Chart(
        title="Requests by version",
        description="Requests per second by the version that answered. After a change of weights the split follows "
        "them; requests that name a version are among these too.",
        queries=(Query(total(BY_VERSION, by="model, version"), "{{model}} {{version}}"),),
        unit="reqps",
        stacked=True,
    ),
    Chart(
        title="Failed requests by version",
        description="Share of the requests of each version that failed, but not because of the client. Only the canary "
        "is high: set its weight to 0.",
        queries=(
            Query(
                over_an_hour(
                    total(BY_VERSION, f'{MODELS},outcome=~"{FAILURES}"', by="model, version")
                    + " / "
                    + total(BY_VERSION, by="model, version")
                ),
                "{{model}} {{version}}",
                needs="failed requests",
            ),
        ),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Traffic weights",
        description="Share of the requests without a version that each version should get. Different lines for one "
        "version: the instances have not all taken over the same rollout file.",
        queries=(
            Query(
                f"max by (model, version) (unroll_traffic_share{{{MODELS}}})",
                "{{model}} {{version}}",
                needs="a split of traffic",
            ),
        ),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Shadow agreement",
        description="Share of the inputs to which the candidate gave the same label, tags or text. Where they differ "
        "is in the report of unroll models shadow.",
        queries=(Query(over_an_hour(f"{AGREED} / {COMPARED}"), "{{model}}", needs="shadow traffic"),),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Shadow score distance",
        description="Median distance of the candidate's scores from those that callers got.",
        queries=(
            Query(quantile(0.5, "unroll_shadow_score_distance", by="model"), "{{model}}", needs="shadow traffic"),
        ),
    ),
    Chart(
        title="Shadow run time",
        description="Mean time in the graph of the repeated requests, by the version that answered and by the "
        "candidate.",
        queries=(Query(mean(SHADOW_RUN, by="model, role"), "{{model}} {{role}}", needs="shadow traffic"),),
        unit="s",
    ),
)

MEMORY: tuple[Panel, ...] = (
    Chart(
        title="Memory of open models",
        description="Estimated memory of the open models, and its limit UNROLL_MODEL_MEMORY_BYTES, by instance; both "
        "0 without a limit.",
        queries=(
            Query(f"unroll_open_model_bytes{{{INSTANCES}}}", "{{instance}}"),
            Query(f"unroll_max_open_model_bytes{{{INSTANCES}}}", "{{instance}} limit"),
        ),
        unit="bytes",
        width=12,
    ),
    Chart(
        title="Models closed for others",
        description="Versions closed per second to make room. Steady closing: the limit is too low for the models "
        "that are in use at a time, and their first requests wait.",
        queries=(Query(total("unroll_model_evictions_total", by="model"), "{{model}}", needs="a limit of memory"),),
        unit="reqps",
        width=12,
    ),
)

BUNDLES: tuple[Panel, ...] = (
    Table(
        title="Self-check",
        description="Whether each bundle reproduced its recorded answers at load, on the provider that serves. "
        "Failed: it serves no requests; see the runbook parity-failed.",
        queries=(Query(f"min by (model, version) (unroll_parity_passed{{{MODELS}}})"),),
        columns=("model", "version", VALUE),
        words={VALUE: {"0": Word("failed", RED), "1": Word("passed", GREEN)}},
        width=6,
        height=14,
    ),
    Table(
        title="Execution providers",
        description="Provider and precision of each bundle. CPU on a machine with a GPU: see CPU fallbacks.",
        queries=(
            Query(f"count by (model, version, provider, precision) (unroll_execution_provider_info{{{MODELS}}})"),
        ),
        columns=("model", "version", "provider", "precision"),
        height=14,
    ),
    Table(
        title="Loaded bundles",
        description="Name, version, task and start of the digest of each bundle. Two digests for one version: the "
        "instances serve different files.",
        queries=(Query(f"count by (model, version, task, digest) (unroll_bundle_info{{{MODELS}}})"),),
        columns=("model", "version", "task", "digest"),
        width=7,
        height=14,
    ),
    Number(
        title="CPU fallbacks",
        description="Bundles on the CPU although a GPU is present. Above zero: see the runbook fell-back-to-cpu.",
        queries=(Query(f"sum(unroll_device_fallback{{{MODELS}}})", "fell back"),),
        steps=(Step(None, GREEN), Step(1, YELLOW)),
        width=3,
        height=14,
    ),
)

BOARD = Board(
    "model",
    "Time by stage, batching and padding, drift of input and answers, loaded bundles.",
    (
        Row("", TIME),
        Row("Batches", BATCHES),
        Row("Drift", DRIFT),
        Row("Rollout", ROLLOUT),
        Row("Bundles", BUNDLES),
        Row("Memory of models", MEMORY),
    ),
)

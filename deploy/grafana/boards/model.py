"""Model: where a model's time goes, how well its batches are filled, and whether its input or output has drifted."""

from __future__ import annotations

from grafana_foundation_sdk.models.common import BigValueTextMode

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panels import GREEN, RED, YELLOW, Bars, Chart, Number, Panel, Step, Word
from deploy.grafana.boards.queries import MODELS, Query, a_day_before, mean, over_an_hour, quantile, share, total

DURATION = "unroll_request_duration_seconds"
STAGE = "unroll_stage_duration_seconds"
CONFIDENCE = "unroll_prediction_confidence"
LABELS = "unroll_predicted_labels_total"

#: What the day before looked like can be drawn only after a day.
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
        description="Where the mean request spends its time. queue grows: too few lanes. inference grows: longer "
        "texts, or larger batches. preprocess grows: longer texts.",
        queries=(Query(mean(STAGE, by="stage"), "{{stage}}"),),
        unit="s",
        stacked=True,
        colors={"preprocess": "blue", "queue": "orange", "inference": "green", "postprocess": "purple"},
    ),
    Chart(
        title="Time of a stage, p99",
        description="The slowest hundredth of each stage. Only queue is high: requests come in bursts.",
        queries=(Query(quantile(0.99, STAGE, by="stage"), "{{stage}}", exemplars=True),),
        unit="s",
        colors={"preprocess": "blue", "queue": "orange", "inference": "green", "postprocess": "purple"},
    ),
    Chart(
        title="Median latency by model",
        description="The time of the middle request of each model, first byte to last. A step up without more "
        "traffic: look at the annotations for a reload.",
        queries=(Query(quantile(0.5, DURATION, by="model"), "{{model}}", exemplars=True),),
        unit="s",
    ),
)

BATCHES: tuple[Panel, ...] = (
    Chart(
        title="Batch size",
        description="Inputs in the mean run; for generation and translation, rows in the mean step. 1 under light "
        "traffic is right: nobody waits for company.",
        queries=(Query(mean("unroll_batch_size"), "{{model}}"),),
    ),
    Chart(
        title="Padding",
        description="The share of the computed tokens that were padding. Above 15 % for long: lengths differ much and "
        "few requests wait at once; smaller batches (UNROLL_MAX_BATCH_PADDED_TOKENS) waste less.",
        queries=(Query(share(PADDED, COMPUTED), "{{model}}"),),
        unit="percentunit",
        limit=0.15,
    ),
    Chart(
        title="Padding of a batch, p95",
        description="The padding of the worst twentieth of the batches. High here and low on average: single batches "
        "mix very short and very long texts.",
        queries=(Query(quantile(0.95, "unroll_batch_padding_ratio", by="model"), "{{model}}"),),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Tokens computed",
        description="Tokens that batches of whole texts computed in a second, without padding; steps are counted on "
        "the Streams board. The work that these models do.",
        queries=(Query(USEFUL, "{{model}}"),),
        unit="cps",
        stacked=True,
    ),
    Chart(
        title="Waiting inputs",
        description="Inputs that wait for a batch, by model. Growing without end: more arrives than the lanes can run.",
        queries=(Query(f"sum by (model) (unroll_queue_depth{{{MODELS}}})", "{{model}}"),),
        at_least=10,
    ),
    Chart(
        title="Deadlines missed",
        description="Inputs given up because their time was over. In the queue: too much traffic. While running: "
        "texts are too long for the time that callers allow.",
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
        title="Labels given most",
        description="The labels that were given most in the last hour, as shares of their model's answers. One label "
        "taking over, where texts have not changed, is a sign of broken input.",
        queries=(Query(f"topk(10, {LABEL_SHARE})", "{{model}} {{label}}"),),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Labels that changed most since yesterday",
        description="Change of a label's share of an hour against the same hour a day before, the ten largest. Above "
        "20 points for hours: what callers send has changed, so score the model on new texts.",
        queries=(
            Query(f"topk(10, abs({LABEL_SHARE} - {a_day_before(LABEL_SHARE)}))", "{{model}} {{label}}", needs=HISTORY),
        ),
        unit="percentunit",
        limit=0.2,
    ),
    Chart(
        title="Mean confidence",
        description="How sure the models are of their answers, and (dashed) a day before. A fall with the same kind "
        "of texts: the texts have drifted from what the model was trained on.",
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
        description="The share of the words or pieces read that the vocabulary does not hold, and (dashed) a day "
        "before. A rise: another language, another domain, or broken text such as a wrong encoding.",
        queries=(
            Query(UNKNOWN_SHARE, "{{model}}"),
            Query(a_day_before(UNKNOWN_SHARE), "{{model}} a day before", needs=HISTORY),
        ),
        unit="percentunit",
        faint=".*a day before",
    ),
    Chart(
        title="Unsure answers",
        description="The share of answers with a confidence of at most 0.5. A rise means the same as a fall of the "
        "mean, and shows it earlier where most answers are easy.",
        queries=(Query(UNSURE_SHARE, "{{model}}"),),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="Tokens read",
        description="Words or pieces of input in a second, by model. The unknown ones are a share of these.",
        queries=(Query(total("unroll_read_tokens_total", by="model"), "{{model}}"),),
        unit="cps",
    ),
)

BUNDLES: tuple[Panel, ...] = (
    Number(
        title="Recorded answers repeated",
        description="Whether each bundle gave its recorded answers when it was loaded, on the provider that serves. "
        "Failed: it answers nobody; see the runbook parity-failed.",
        queries=(Query(f"min by (model, version) (unroll_parity_passed{{{MODELS}}})", "{{model}} {{version}}"),),
        words={"0": Word("failed", RED), "1": Word("passed", GREEN)},
        in_rows=True,
        width=7,
        height=8,
    ),
    Number(
        title="Where bundles run",
        description="Provider and precision of each bundle. The CPU provider on a machine with a GPU: see Fell back.",
        queries=(
            Query(
                f"count by (model, version, provider, precision) (unroll_execution_provider_info{{{MODELS}}})",
                "{{model}} {{version}}: {{provider}}, {{precision}}",
            ),
        ),
        text=BigValueTextMode.NAME,
        in_rows=True,
        width=7,
        height=8,
    ),
    Number(
        title="Bundles loaded",
        description="Name, version, task and the beginning of the digest of each bundle. Two digests of one version: "
        "the instances do not serve the same files.",
        queries=(
            Query(
                f"count by (model, version, task, digest) (unroll_bundle_info{{{MODELS}}})",
                "{{model}} {{version}}: {{task}}, {{digest}}",
            ),
        ),
        text=BigValueTextMode.NAME,
        in_rows=True,
        width=7,
        height=8,
    ),
    Number(
        title="Fell back",
        description="Bundles for which a GPU was there and could not be used. More than none: see the runbook "
        "fell-back-to-cpu.",
        queries=(Query(f"sum(unroll_device_fallback{{{MODELS}}})", "fell back"),),
        steps=(Step(None, GREEN), Step(1, YELLOW)),
        width=3,
        height=8,
    ),
)

BOARD = Board(
    "model",
    "Where the time of a model goes, how full its batches are, and whether its texts or answers have drifted.",
    (
        Row("", TIME),
        Row("Batches", BATCHES),
        Row("Drift: are the answers still good?", DRIFT),
        Row("Bundles", BUNDLES),
    ),
)

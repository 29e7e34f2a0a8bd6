"""Lower precision than fp32: int8 on onnxruntime's CPU provider, bf16 on OpenVINO's."""

from __future__ import annotations

from typing import Any

from tests.load.measurement.ledger import Values
from tests.load.measurement.measure import bare, closed_loop
from tests.load.measurement.scenario import BARE, Plan, Results, Row, Scenario, at_least
from tests.load.measurement.scenario import number as shown
from tests.load.scenarios.decoding import BUSY as BUSY_ROWS
from tests.load.scenarios.decoding import ROWS, show_tokens
from tests.load.scenarios.tagger import BUSY, best_peer, show_rate
from tests.load.targets.catalogue import NAIVE, service

OPENVINO = "openvino"
INT8, BF16 = "unroll, int8", "unroll, bf16"
_BARE_INT8, _BARE_BF16 = f"{BARE}, int8", f"{BARE}, bf16"
_GROUPS = "sorted-16"
_LOOP = f"{ROWS} rows"


def show_agreement(values: Values) -> str:
    """As in fp32; instead of wrong answers, the share of labels equal to those of fp32."""
    exact = {**values, "wrong": 0}
    labels = values.get("agreement")
    return show_rate(exact) + ("" if labels is None else f" · {100 * labels:.2f} % of labels as in fp32")


def show_faster_tokens(values: Values) -> str:
    """As in fp32, with the share of texts that differ."""
    other = 100 * values.get("wrong", 0) / values["checked"] if values.get("checked") else 0.0
    return show_tokens({**values, "wrong": 0}) + (f" · {shown(other)} % of texts other than in fp32" if other else "")


def _bare_plan(name: str, corpus: str, cases: tuple[tuple[str, str, dict[str, Any]], ...]) -> Plan:
    measured = tuple(bare(case, kind, **wanted) for case, kind, wanted in cases)
    return Plan(None, corpus, measured, bare_name=name)


_INT8_TAGGER = {"grouping": _GROUPS, "file": "tagger.int8.onnx"}
_BF16_TAGGER = {"grouping": _GROUPS, "bf16": True, "environment": OPENVINO}
_TAGGER = (
    Plan(service(INT8, precision="int8"), "sentences", (closed_loop(64),)),
    _bare_plan(_BARE_INT8, "sentences", ((_GROUPS, "tagger", _INT8_TAGGER),)),
    Plan(service(BF16, OPENVINO, precision="bf16"), "sentences", (closed_loop(64),)),
    _bare_plan(_BARE_BF16, "sentences", ((_GROUPS, "tagger", _BF16_TAGGER),)),
)


def _tagger_rows(results: Results) -> list[Row]:
    peers = results.of("tagger")
    peer = best_peer(peers)
    rival = peers.value(peer, BUSY, "rate")
    rows = []
    for name, limit_name, share, factor in ((BF16, _BARE_BF16, 0.75, 2.7), (INT8, _BARE_INT8, 0.7, 3.0)):
        rate, limit = results.value(name, BUSY, "rate"), results.value(limit_name, _GROUPS, "rate")
        what = f"tagger, 64 callers, {name.split(', ')[1]}"
        rows.append(at_least(what, rate, "/s", "bare, sorted groups of 16", limit, share))
        rows.append(at_least(what, rate, "/s", f"best peer, {peer}", rival, factor))
    return rows


TAGGER_FASTER = Scenario(
    "tagger-faster",
    "Tagger in int8 and bf16, one core",
    _TAGGER,
    _tagger_rows,
    show_agreement,
    "Answers a second · p50 / p99.",
)

_INT8_STEP = {"rows": ROWS, "file": "step.int8.onnx"}
_BF16_STEP = {"rows": ROWS, "bf16": True, "environment": OPENVINO}
_GENERATION = (
    Plan(service(INT8, precision="int8"), "prompts", (closed_loop(ROWS),)),
    _bare_plan(_BARE_INT8, "prompts", ((_LOOP, "generation", _INT8_STEP),)),
    Plan(service(BF16, OPENVINO, precision="bf16"), "prompts", (closed_loop(ROWS),)),
    _bare_plan(_BARE_BF16, "prompts", ((_LOOP, "generation", _BF16_STEP),)),
)


def _generation_rows(results: Results) -> list[Row]:
    rate = results.value(BF16, BUSY_ROWS, "tokens_per_s")
    limit = results.value(_BARE_BF16, _LOOP, "tokens_per_s")
    naive = results.of("generation").value(NAIVE.name, BUSY_ROWS, "tokens_per_s")
    what = "generation, 32 callers, bf16"
    return [
        at_least(what, rate, "tokens/s", "bare loop of 32 rows", limit, 0.6),
        at_least(what, rate, "tokens/s", "naive loop for each request, fp32", naive, 20),
    ]


GENERATION_FASTER = Scenario(
    "generation-faster",
    "Character model in int8 and bf16, one core",
    _GENERATION,
    _generation_rows,
    show_faster_tokens,
    "Tokens a second · p50 / p99 of whole answers. Prompts are read in fp32.",
)

"""State tokens and prefix cache: resuming from either, compared with a prefill of the whole text."""

from __future__ import annotations

import http.client
import json
import random
import statistics
import time
from typing import Any

from service.cli.bench.load.tally import OK
from tests.load.measurement.ledger import Values
from tests.load.measurement.scenario import Case, Plan, Results, Row, Scenario, Subject, at_most
from tests.load.measurement.scenario import number as shown
from tests.load.places import GENERATOR
from tests.load.targets.catalogue import service
from tests.load.workload.corpus import CHARACTERS

PREFIX_TOKENS = (500, 2_000, 8_000)
_NUM_NEW_TOKENS = 8
_REPEATS = 9


class _Caller:
    """A keep-alive connection that requests greedy continuations, and measures their latency."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, text: str, tokens: int = 1, **more: Any) -> tuple[dict[str, Any], float]:
        """Return the answer and its latency in milliseconds. Raises RuntimeError with the error of the service."""
        body = {"model": GENERATOR, "inputs": text, "parameters": {"max_new_tokens": tokens}, **more}
        start_s = time.perf_counter()
        self._connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        content = response.read()
        spent_ms = (time.perf_counter() - start_s) * 1000
        if response.status != OK:
            raise RuntimeError(f"HTTP {response.status}: {json.loads(content)['error']}")
        return json.loads(content), spent_ms


def _prefix(num_tokens: int) -> Case:
    def measure(subject: Subject) -> dict[str, Any]:
        assert subject.process is not None
        return _compare(_Caller(subject.process.port), num_tokens)

    return Case(f"{num_tokens:,} tokens", measure)


def _compare(caller: _Caller, num_tokens: int) -> dict[str, Any]:
    """Compare one token after a prefix with a full prefill, from its state token, and from the prefix cache."""
    texts = [_text(num_tokens) for _ in range(_REPEATS)]
    reread_ms = [caller.ask(text)[1] for text in texts]
    state = caller.ask(texts[0], return_state=True)[0]["state"]
    resume_ms = [caller.ask("", state=state)[1] for _ in range(_REPEATS)]
    hit_ms = [caller.ask(texts[-1] + character)[1] for character in CHARACTERS[:_REPEATS]]
    return {
        "reread_ms": statistics.median(reread_ms),
        "resume_ms": statistics.median(resume_ms),
        "hit_ms": statistics.median(hit_ms),
        "checked": 1,
        "wrong": 0 if _goes_on_alike(caller, texts[0]) else 1,
    }


def _goes_on_alike(caller: _Caller, text: str) -> bool:
    """Return whether a text in two parts, the second resumed from the first's state, equals the text in one part."""
    whole = caller.ask(text, 2 * _NUM_NEW_TOKENS)[0]["generated_text"]
    first = caller.ask(text, _NUM_NEW_TOKENS, return_state=True)[0]
    second = caller.ask("", _NUM_NEW_TOKENS, state=first["state"])[0]
    return bool(whole == first["generated_text"] + second["generated_text"])


def _text(num_tokens: int) -> str:
    """Return a prefix that no earlier request has used, so that it is not cached."""
    return "".join(random.choices(CHARACTERS, k=num_tokens))


def _show(values: Values) -> str:
    times = (f"{name} {shown(values[f'{name}_ms'])}" for name in ("reread", "resume", "hit"))
    return " · ".join(times) + " ms" + (" (the resumed text differs)" if values.get("wrong") else "")


def _rows(results: Results) -> list[Row]:
    def ms(num_tokens: int, name: str) -> float | None:
        return results.value("unroll", f"{num_tokens:,} tokens", f"{name}_ms")

    short, middle, long = PREFIX_TOKENS
    rows = []
    for name, what in (("resume", "going on from the state after"), ("hit", "known prefix of")):
        reread_ms, middle_ms = ms(middle, "reread"), ms(middle, name)
        rows.append(at_most(f"{what} {middle:,} tokens", middle_ms, "ms", "reading them again", reread_ms, 0.1))
        rows.append(
            at_most(f"{what} {long:,} tokens", ms(long, name), "ms", f"{what} {short:,}", ms(short, name), 1.25)
        )
    return rows


STATE = Scenario(
    "state",
    "Going on from a state and from a known prefix, one core",
    (Plan(service(), "prompts", tuple(_prefix(num_tokens) for num_tokens in PREFIX_TOKENS)),),
    _rows,
    _show,
    "Median milliseconds of a request for one token after so many. A text in two parts is compared with it in one.",
)

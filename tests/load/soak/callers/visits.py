"""What callers do, kind by kind, each with its check."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from service.cli.bench.load.tally import OK
from tests.load.soak.callers.caller import EVENT, Caller, encoded, events_of, http_request
from tests.load.soak.callers.known_answers import KnownAnswers, Passage
from tests.load.soak.callers.refusals import REFUSALS, Refusal, check_refusal

#: Inputs that one request asks at most.
_MAX_TOGETHER = 6
_MAX_PARTS = 4
#: Callers that leave do so within this time; answers of tiny models take some milliseconds.
_MAX_STAY_S = 0.02

Visit = Callable[[Caller], Awaitable[None]]


class Kind(NamedTuple):
    """A name, how often it occurs among the others, what it does, and the known answers that it takes."""

    name: str
    weight: int
    visit: Visit
    needs: str = "predictions"

    def is_possible(self, known: KnownAnswers) -> bool:
        """Whether some model under test can be asked for this."""
        return bool(getattr(known, self.needs))


async def predict(caller: Caller) -> None:
    """Several inputs of one model in one request, each with its own answer."""
    question = caller.rng.choice(caller.known.predictions)
    alike = caller.known.alike(question)
    asked = [question, *caller.rng.choices(alike, k=caller.rng.randrange(_MAX_TOGETHER))]
    answer = await caller.ask("/predict", {**question.body(), "inputs": [each.inputs for each in asked]})
    found = answer["predictions"]
    caller.expect([f"{len(found)} answers to {len(asked)} inputs"] if len(found) != len(asked) else [])
    for each, prediction in zip(asked, found, strict=False):
        caller.expect(each.faults(answer["version"], prediction))


async def generate(caller: Caller) -> None:
    """A whole text, with the details that the example asks for."""
    question = caller.rng.choice(caller.known.texts)
    answer = await caller.ask("/generate", {**question.body(), "inputs": question.inputs})
    caller.expect(question.faults(next(iter(question.answers)), answer))


async def read_stream(caller: Caller) -> None:
    """A stream read to its end: its tokens and its last event give the known text."""
    passage = caller.rng.choice(caller.known.passages)
    body = {**passage.body(passage.num_tokens), "inputs": passage.prompt}
    reply = await caller.reply(http_request("POST", "/generate_stream", encoded(body)))
    if reply.status != OK:
        caller.json_of(reply, OK)
    events = events_of(reply.body)
    pieces = "".join(event.get("token", {}).get("text", "") for event in events)
    last = events[-1].get("generated_text") if events else None
    caller.expect(_unequal("tokens", passage.text, pieces) + _unequal("last event", passage.text, last))


async def abandon_stream(caller: Caller) -> None:
    """A stream that is left after some of its events, which were the right ones."""
    passage = caller.rng.choice(caller.known.passages)
    body = {**passage.body(passage.num_tokens), "inputs": passage.prompt}
    pieces = ""
    async with caller.leaving(http_request("POST", "/generate_stream", encoded(body))) as reader:
        for _ in range(caller.rng.randint(1, passage.num_tokens - 1)):
            event = await _next_event(reader)
            pieces += event.get("token", {}).get("text", "") if event else ""
    caller.expect([] if pieces and passage.text.startswith(pieces) else _unequal("beginning", passage.text, pieces))


async def continue_session(caller: Caller) -> None:
    """A text continued in a session, of a known caller or of nobody, equals the uninterrupted one."""
    passage = caller.rng.choice(caller.known.passages)
    token = secrets.token_hex(8)
    headers = {"Authorization": f"Bearer {token}"} if caller.rng.random() < 0.5 else None
    session, pieces = f"soak-{token}", ""
    for number, num_tokens in enumerate(_parts(caller, passage)):
        body = {**passage.body(num_tokens), "inputs": "" if number else passage.prompt, "session": session}
        answer = await caller.ask("/generate", body, headers)
        session = answer["session"]
        pieces += answer["generated_text"]
    caller.expect(_unequal("session", passage.text, pieces))


async def carry_state(caller: Caller) -> None:
    """A text continued from the states that the caller carries equals the uninterrupted one."""
    passage = caller.rng.choice(caller.known.passages)
    before: Mapping[str, str] = {}
    pieces = ""
    for num_tokens in _parts(caller, passage):
        body = {**passage.body(num_tokens), "inputs": "" if before else passage.prompt, "return_state": True}
        answer = await caller.ask("/generate", {**body, **before})
        before = {"state": answer["state"]}
        pieces += answer["generated_text"]
    caller.expect(_unequal("carried state", passage.text, pieces))


async def read_in_chunks(caller: Caller) -> None:
    """Words sent in parts get the tags that they get as a whole."""
    whole = caller.rng.choice(caller.known.chunked)
    before: Mapping[str, str] = {}
    tags: list[str] = []
    for first, end in pairwise(_cuts(caller, len(whole.words))):
        body = {"model": whole.model, "inputs": [whole.words[first:end]], "return_state": True, **before}
        answer = await caller.ask("/predict", body)
        before = {"state": answer["state"]}
        tags += [token["tag"] for token in answer["predictions"][0]["tokens"]]
    caller.expect(_unequal("chunks", list(whole.tags), tags))


async def leave(caller: Caller) -> None:
    """A request whose sender leaves before the answer, some before the end of the body."""
    path = caller.rng.choice(["/predict", "/generate"] if caller.known.texts else ["/predict"])
    question = caller.rng.choice(caller.known.predictions if path == "/predict" else caller.known.texts)
    inputs = [question.inputs] if path == "/predict" else question.inputs
    payload = http_request("POST", path, encoded({**question.body(), "inputs": inputs}))
    sent = payload if caller.rng.random() < 0.7 else payload[: caller.rng.randint(1, len(payload) - 1)]
    async with caller.leaving(sent):
        await asyncio.sleep(caller.rng.uniform(0, _MAX_STAY_S))


async def be_refused(caller: Caller) -> None:
    """Any of the bad requests."""
    await ask_in_vain(caller, caller.rng.choice([each for each in REFUSALS if each.is_possible(caller.known)]))


async def ask_in_vain(caller: Caller, refusal: Refusal) -> None:
    """A bad request, answered with its documented status and error body."""
    reply = await caller.reply(refusal.payload(caller.known))
    if refusal.ends_connection:
        caller.close()
    caller.expect(check_refusal(refusal, caller.json_of(reply, refusal.status), len(reply.body)))


def _parts(caller: Caller, passage: Passage) -> list[int]:
    """Numbers of tokens that together are those of the passage."""
    return [end - first for first, end in pairwise(_cuts(caller, passage.num_tokens))]


def _cuts(caller: Caller, length: int) -> list[int]:
    inner = caller.rng.sample(range(1, length), k=min(length - 1, caller.rng.randint(1, _MAX_PARTS - 1)))
    return [0, *sorted(inner), length]


async def _next_event(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next event; None at the end of the stream. The lines of the head and the sizes of chunks are passed over."""
    while line := await asyncio.wait_for(reader.readline(), 60):
        if line.startswith(EVENT):
            event: dict[str, Any] = json.loads(line.removeprefix(EVENT))
            return event
    return None


def _unequal(what: str, expected: str | Sequence[str], found: object) -> list[str]:
    return [] if expected == found else [f"{what}: expected {expected!r}, found {found!r}"]


KINDS = (
    Kind("predictions", 12, predict),
    Kind("texts", 4, generate, "texts"),
    Kind("streams read", 4, read_stream, "passages"),
    Kind("streams abandoned", 2, abandon_stream, "passages"),
    Kind("sessions", 3, continue_session, "passages"),
    Kind("carried states", 3, carry_state, "passages"),
    Kind("chunks", 2, read_in_chunks, "chunked"),
    Kind("leavers", 3, leave),
    Kind("bad requests", 3, be_refused),
)

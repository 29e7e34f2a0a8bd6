"""Three replicas behind a load balancer without session affinity: replicas stop and start, and no request is lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.bundle.load import read_manifest
from service.bundle.write import write_manifest
from service.client import Client, Token
from tests.conftest import PATIENCE_S
from tests.end_to_end.replicas import Replica, gateway_before, running_replicas
from tests.tiny_bundles import write_tiny_bundle

pytestmark = pytest.mark.slow

LENGTH = 4000
KILL_AFTER = 300
CHUNKS = ["the cat sat", "on the mat", "and then it", "ran away from", "the dog"]
GENERATED = 'unroll_generated_tokens_total{model="tiny-generator"}'
LIVE = 'unroll_live_streams{model="tiny-generator"}'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Replica]]]:
    """The address of the gateway, and the replicas behind it."""
    folder = tmp_path_factory.mktemp("fleet")
    models = folder / "models"
    write_tiny_bundle(models, "tagging", reads_chunks=True)
    allow_long_texts(write_tiny_bundle(models, "generation"))
    with running_replicas(models, folder) as replicas, gateway_before(replicas, folder) as url:
        yield url, replicas


def allow_long_texts(bundle: Path) -> None:
    """Permit texts that are long enough to be interrupted midway."""
    manifest = read_manifest(bundle)
    limits = manifest.limits.model_copy(update={"max_new_tokens": LENGTH})
    write_manifest(bundle, manifest.model_copy(update={"limits": limits}))


def tokens(url: str, on_token: Callable[[int], None] = lambda number: None) -> list[Token]:
    """Return the tokens of a long sampled text, from a client that resumes after a broken stream."""
    said = []
    with Client(url, timeout=PATIENCE_S) as client:
        for event in client.generate_stream("the cat", max_new_tokens=LENGTH, top_k=3, seed=3):
            said.append(event.token)
            on_token(len(said))
    return said


def test_a_killed_replicas_stream_goes_on_at_another_with_the_very_same_tokens(
    fleet: tuple[str, list[Replica]],
) -> None:
    """After SIGKILL midway, the stream resumes on another replica from the last state with identical tokens."""
    url, replicas = fleet
    whole = tokens(url)
    assert len(whole) == LENGTH
    before = {replica.port: replica.metric(GENERATED) for replica in replicas}
    killed: list[Replica] = []

    def kill_its_replica(number: int) -> None:
        if number == KILL_AFTER:
            killed.extend(replica for replica in replicas if replica.metric(LIVE) > 0)
            for replica in killed:
                replica.kill()

    assert tokens(url, kill_its_replica) == whole
    assert len(killed) == 1
    survivors = [replica for replica in replicas if replica not in killed]
    num_elsewhere = sum(replica.metric(GENERATED) - before[replica.port] for replica in survivors)
    assert 0 < num_elsewhere < LENGTH
    killed[0].start()
    killed[0].wait_until_ready()


def test_a_text_that_is_tagged_in_chunks_may_be_read_by_all_replicas_in_turn(
    fleet: tuple[str, list[Replica]],
) -> None:
    """A text whose chunks are tagged by different replicas gets the tags of the text as a whole."""
    url, _ = fleet
    model = "tiny-tagger-chunks"
    whole = httpx.post(f"{url}/predict", json={"model": model, "inputs": " ".join(CHUNKS)}, timeout=PATIENCE_S).json()
    tags, state, answered_by = [], {}, set()
    for chunk in CHUNKS:
        body = {"model": model, "inputs": chunk, "return_state": True, **state}
        response = httpx.post(f"{url}/predict", json=body, timeout=PATIENCE_S)
        answer = response.raise_for_status().json()
        tags += [token["tag"] for token in answer["predictions"][0]["tokens"]]
        state = {"state": answer["state"]}
        answered_by.add(response.headers["x-unroll-replica"])
    assert tags == [token["tag"] for token in whole["predictions"][0]["tokens"]]
    assert len(answered_by) >= 2


class Callers:
    """Threads that send requests without a pause until stopped; `outcomes` counts the results."""

    def __init__(self, url: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self._url = url
        self._is_over = threading.Event()
        asks = [self._predict, self._predict, self._generate, self._stream]
        self._threads = [threading.Thread(target=self._ask_on, args=(ask,)) for ask in asks]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _ask_on(self, ask: Callable[[httpx.Client], str]) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENCE_S) as client:
            while not self._is_over.is_set():
                try:
                    self.outcomes[ask(client)] += 1
                except httpx.TransportError as error:
                    self.outcomes[repr(error)] += 1

    def _predict(self, client: httpx.Client) -> str:
        response = client.post("/predict", json={"model": "tiny-tagger-chunks", "inputs": CHUNKS})
        return "predicted" if response.status_code == 200 else response.text

    def _generate(self, client: httpx.Client) -> str:
        body = {"inputs": "the cat", "parameters": {"max_new_tokens": 20}}
        response = client.post("/generate", json=body)
        return "generated" if response.status_code == 200 else response.text

    def _stream(self, client: httpx.Client) -> str:
        """Read a stream without resuming."""
        body = {"inputs": "the cat", "parameters": {"max_new_tokens": 400, "do_sample": True}}
        *_, last = client.post("/generate_stream", json=body).text.strip().split("\n\n")
        return "streamed" if '"generated_text":"' in last else last


def test_a_rolling_restart_under_load_fails_no_request(fleet: tuple[str, list[Replica]]) -> None:
    """A rolling restart with SIGTERM of each replica in turn fails no request through the gateway."""
    url, replicas = fleet
    with Callers(url) as callers:
        for replica in replicas:
            replica.stop()
            replica.start()
            replica.wait_until_ready()
    assert set(callers.outcomes) == {"predicted", "generated", "streamed"}
    assert callers.outcomes.total() > 20

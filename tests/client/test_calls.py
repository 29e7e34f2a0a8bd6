"""Every call of the client on a live service, by the synchronous and the asynchronous client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.client import (
    Classification,
    ClientError,
    Forbidden,
    Frames,
    InvalidInput,
    Tagging,
    Translation,
    Unauthenticated,
    UnexpectedTask,
    UnknownModel,
    UnknownSession,
)
from tests.client.conftest import MOTION, SOUND, Connect, address, wav_of, words_of
from tests.client.scripted_server import http, scripted
from tests.live_server import LiveServer, live_server

TEXT = "The cat sat on a mat."


def test_predictions_have_the_type_of_the_models_task(client: Any) -> None:
    tagged = client.predict(TEXT, model="tiny-tagger")
    assert isinstance(tagged.prediction, Tagging)
    assert (tagged.task, [token.text for token in tagged.prediction.tokens][:2]) == ("tagging", ["The", "cat"])
    assert isinstance(client.predict("the cat", model="tiny-translator", num_beams=2).prediction, Translation)
    labelled = client.predict("hello world", model="tiny-classifier", answer=Classification, top_k=2).prediction
    assert labelled.top_k[0].label == labelled.label


def test_a_model_of_another_task_than_the_one_that_was_asked_for_is_an_error(client: Any) -> None:
    with pytest.raises(UnexpectedTask, match=r"tiny-tagger is a model for tagging: .* Tagging, not Classification"):
        client.predict(TEXT, model="tiny-tagger", answer=Classification)


def test_lists_are_lists_of_inputs_as_in_the_api(client: Any) -> None:
    answer = client.predict(["hello", ["one", "two"]], model="tiny-tagger")
    assert [[token.text for token in found.tokens] for found in answer.predictions] == [["hello"], ["one", "two"]]
    with pytest.raises(ValueError):
        _ = answer.prediction


def test_a_state_goes_from_chunk_to_chunk(client: Any) -> None:
    whole = client.predict([TEXT], model="tiny-tagger-chunks").prediction
    parts = list(client.predict_chunks(["The cat ", "sat on ", "a mat."], model="tiny-tagger-chunks"))
    tags = [token.tag for part in parts for token in part.prediction.tokens]
    assert tags == [token.tag for token in whole.tokens]
    assert all(part.state for part in parts)


def test_sounds_and_rows_of_numbers_are_inputs(client: Any, tmp_path: Path) -> None:
    """As bytes, as a file, and as an array of numpy."""
    (tmp_path / "a.wav").write_bytes(wav_of())
    sound = client.predict([wav_of(), tmp_path / "a.wav"], model=SOUND, answer=Classification)
    assert sound.predictions[0] == sound.predictions[1]
    rows = [[20.5, 19.0, 20.0], [20.25, 19.5, 20.0]]
    moved = client.predict([Frames(rows), Frames(np.array(rows))], model=MOTION, answer=Classification)
    assert moved.predictions[0] == moved.predictions[1]
    *_, last = client.predict_chunks([Frames(rows[:1]), Frames(rows[1:])], model=MOTION)
    assert last.prediction.score == pytest.approx(moved.predictions[0].score, abs=1e-5)
    with client.stream(MOTION) as stream:
        stream.send(rows[:1])
        stream.send(np.array(rows[1:]))
        assert [answer.index for answer in stream] == [1, 2]
        assert stream.end().predictions[0].label == last.prediction.label


def test_texts_are_generated_scored_and_tokenized(client: Any) -> None:
    text = client.generate("the cat", max_new_tokens=5, details=True)
    assert (len(text.details.tokens), text.details.finish_reason) == (5, "length")
    many = client.generate("the cat", n=2, do_sample=True, seed=3, max_new_tokens=4)
    assert len(many.continuations) == 2
    score = client.score("the cat")
    assert score.perplexity > 1
    assert len(score.tokens) == len("the cat")
    assert [token.text for token in client.tokenize("cat")] == ["c", "a", "t"]


def test_texts_are_embedded(connect: Connect) -> None:
    """And errors below /v1, which have OpenAI's form, are those of everywhere else."""
    data = [{"object": "embedding", "index": number, "embedding": [0.6, 0.8]} for number in range(2)]
    refused = {"error": {"message": "input.1: the text is empty", "param": "input.1", "code": "invalid_value"}}
    unknown = {"error": {"message": "no such model", "param": "model", "code": "model_not_found"}}
    with scripted(
        http(200, {"object": "list", "data": data, "model": "m"}), http(400, refused), http(404, unknown)
    ) as server:
        client = connect(server.url)
        assert client.embeddings(["hello", "one"], model="m", normalize=False).vectors == [[0.6, 0.8]] * 2
        with pytest.raises(InvalidInput, match="the text is empty") as caught:
            client.embeddings("a")
        assert (caught.value.field, caught.value.status) == ("input.1", 400)
        with pytest.raises(UnknownModel):
            client.embeddings("a", model="no")
    assert server.bodies[0] == {"model": "m", "input": ["hello", "one"], "normalize": False}


def test_a_text_goes_on_from_its_state_and_in_a_session(client: Any) -> None:
    whole = client.generate("the cat", max_new_tokens=8).generated_text
    first = client.generate("the cat", max_new_tokens=3, return_state=True)
    rest = client.generate("", state=first.state, max_new_tokens=5)
    assert first.generated_text + rest.generated_text == whole
    begun = client.generate("the cat", session="mine", max_new_tokens=3)
    rest = client.generate("", session=begun.session, max_new_tokens=5)
    assert begun.generated_text + rest.generated_text == whole
    assert client.delete_session(begun.session) == 1
    with pytest.raises(UnknownSession):
        client.delete_session(begun.session)


def test_tokens_are_streamed_with_the_text_at_the_end(client: Any) -> None:
    events = list(client.generate_stream("the cat", max_new_tokens=30, details=True))
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.token.text for event in events if not event.token.special) == events[-1].generated_text
    assert events[-1].details.generated_tokens == len(events)


def test_a_stream_without_parameters_samples_as_a_request_without_them(client: Any) -> None:
    """The seed that makes it repeatable must not turn it into greedy decoding."""
    texts = {list(client.generate_stream("the cat"))[-1].generated_text for _ in range(6)}
    assert len(texts) > 1


@pytest.mark.parametrize("how", ["close", "break", "drop"])
def test_an_abandoned_stream_is_given_up_by_the_service(client: Any, service: LiveServer, how: str) -> None:
    from tests.conftest import wait_until

    stream = client.generate_stream("the cat", max_new_tokens=30)
    if how == "close":
        next(stream)
        stream.close()
    elif how == "break":
        with stream:
            for _ in stream:
                break
    else:
        next(stream)
    if how == "drop":
        del stream
    else:
        assert list(stream) == []
    wait_until(lambda: service.metric("unroll_live_streams", model="tiny-generator") == 0)
    assert client.generate("the cat", max_new_tokens=2).generated_text


def test_models_health_and_their_administration(client: Any) -> None:
    assert {"tiny-tagger", "tiny-generator"} <= {model.name for model in client.models()}
    details = client.model("tiny-classifier", "1")
    assert (details.labels, details.reads_chunks) == (["greeting", "number", "other"], False)
    assert client.health().is_ready
    assert client.health(live=True).status == "live"
    named = client.change_rollout("tiny-translator", {"aliases": {"stable": "1"}})
    assert named.rollout.aliases == {"stable": "1"}
    assert client.predict("hello", model="tiny-translator", version="stable").version == "1"
    assert client.change_rollout("tiny-translator", {"aliases": {"stable": None}}) == client.rollout("tiny-translator")
    assert client.unload_model("tiny-translator").versions[0].state == "unloaded"
    assert client.load_model("tiny-translator").versions[0].state == "ready"
    assert client.shadow("tiny-translator").candidate is None
    assert client.reload().outcome == "unchanged"


def test_any_route_can_be_asked(client: Any) -> None:
    assert client.request("GET", "/v2")["name"] == "unroll"


@pytest.mark.parametrize(
    ("ask", "kind", "status", "field"),
    [
        (lambda client: client.predict(" ", model="tiny-tagger"), InvalidInput, 422, "inputs"),
        (lambda client: client.predict(["a", ""], model="tiny-tagger"), InvalidInput, 422, "inputs.1"),
        (lambda client: client.predict("a", model="tiny-classifier", top_k=0), InvalidInput, 422, "parameters.top_k"),
        (lambda client: client.predict("a", model="no"), UnknownModel, 404, None),
        (lambda client: client.predict("a", model="tiny-tagger", version="9"), UnknownModel, 404, None),
        (lambda client: client.model("a b"), UnknownModel, 404, None),
        (lambda client: client.sessions(), Unauthenticated, 401, None),
        (lambda client: client.generate("", session="nobody"), UnknownSession, 404, None),
        (lambda client: next(client.generate_stream("a", temperature=-1.0)), InvalidInput, 422, None),
        (lambda client: client.predict(b"\x89PNG rubbish", model="tiny-tagger"), InvalidInput, 422, None),
    ],
)
def test_errors_of_the_service_have_their_type_status_code_and_request_id(
    client: Any, ask: Any, kind: type[ClientError], status: int, field: str | None
) -> None:
    with pytest.raises(kind) as caught:
        ask(client)
    error = caught.value
    assert (type(error), error.status) == (kind, status)
    assert all((error.code, error.request_id, error.message))
    assert field is None or error.field == field


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        None,
        [[0.1, 0.2], [0.3, 0.4]],
        Frames([[float("nan")]]),
        Frames([0.1, 0.2]),
        "half a pair: \ud800",
        b"neither",
        Path("no/such/file.wav"),
        [["a", 1]],
    ],
    ids=repr,
)
def test_what_is_no_input_is_refused_before_it_is_sent(client: Any, service: LiveServer, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.predict(value, model="tiny-tagger")
    assert caught.value.status is None
    assert str(caught.value.field).startswith("inputs")


def test_a_key_is_sent_and_shown_nowhere(connect: Connect, service: LiveServer, tmp_path: Path) -> None:
    secret = "a-secret-of-forty-characters-and-some-more"
    with live_server(service.app.state.settings.models_dir, api_keys=f"mine={secret}") as guarded:
        mine, nobody = connect(address(guarded), api_key=secret), connect(address(guarded), api_key="")
        assert mine.predict("hello", model="tiny-classifier").predictions
        mine.generate("the cat", session="play", max_new_tokens=2)
        assert [(session.name, session.model) for session in mine.sessions()] == [("play", "tiny-generator")]
        with mine.stream("tiny-tagger-chunks") as stream:
            stream.send("the cat ")
            assert words_of(stream) == ["the", "cat"]
        with pytest.raises(Unauthenticated):
            nobody.predict("hello", model="tiny-classifier")
        with pytest.raises(Unauthenticated), nobody.stream("tiny-tagger-chunks"):
            pass
        with pytest.raises(Forbidden):
            mine.reload()
    assert secret not in repr(mine) + repr(vars(mine))


def test_the_key_of_the_environment_is_the_default(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLL_API_KEY", " from-outside ")
    with scripted(http(200, {})) as server:
        connect(server.url).request("POST", "/any", {"a": 1})
        connect(server.url, api_key="").request("POST", "/any", {"a": 1})
    assert b"Authorization: Bearer from-outside\r\n" in server.requests[0]
    assert b"authorization" not in server.requests[1].lower()
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2]) == {"a": 1}

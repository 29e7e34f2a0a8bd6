"""Streams over the WebSocket: pieces in, answers out, by both clients on a live service and on scripted ones."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from service.client import (
    ConnectionFailed,
    ForeignAnswer,
    InvalidInput,
    StreamClosing,
    StreamFinal,
    StreamResult,
    StreamToken,
    Tagging,
    TimedOut,
    UnexpectedTask,
    UnknownModel,
)
from service.client.answers.predictions import Classification
from service.client.streaming import conversation
from tests.client.conftest import Connect, words_of

PIECES = ["The ca", "t sat on", " a mat. "]
WORDS = ["The", "cat", "sat", "on", "a", "mat", "."]
STARTED = {"type": "started", "model": "m", "version": "1", "task": "tagging", "reads": "chunks", "request_id": "r"}


def answers_to(stream: Any, piece: Any) -> list[Any]:
    stream.send(piece)
    return list(stream)


def send_often(stream: Any) -> None:
    for _ in range(100):
        stream.send("the cat ")


def test_pieces_are_answered_in_order_and_the_state_continues_elsewhere(client: Any) -> None:
    with client.stream("tiny-tagger-chunks", answer=Tagging) as stream:
        assert (stream.started.task, stream.started.reads) == ("tagging", "chunks")
        for piece in PIECES:
            stream.send(piece)
        answers = list(stream)
        assert [answer.index for answer in answers] == [1, 2, 3]
        assert words_of(answers) == WORDS
        state = stream.state()
        end = stream.end(return_state=True)
    assert state.held == " "
    continued = client.predict(["ada"], model="tiny-tagger-chunks", state=state.state)
    with client.stream("tiny-tagger-chunks", state=end.state) as stream:
        stream.send("ada", flush=True)
        (result,) = stream
    assert result.predictions[0].tokens[0].tag == continued.prediction.tokens[0].tag


def test_answers_to_an_endless_input_come_while_it_is_sent(client: Any) -> None:
    """Never more inputs than allowed are unanswered, so memory is bounded however long the input is."""
    sent: list[str] = []
    with client.stream("tiny-tagger-chunks") as stream:
        endless = (sent.append("x") or "the cat " for _ in itertools.count())  # type: ignore[func-returns-value]
        for number, answer in enumerate(stream.answers_to(endless, max_unanswered=4), start=1):
            assert answer.index == number
            assert len(sent) <= number + 4
            if number == 50:
                break


def test_a_sender_that_reads_no_answer_waits_for_the_service_and_is_told_at_last(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "MAX_UNREAD", 20)
    with client.stream("tiny-tagger-chunks") as stream, pytest.raises(InvalidInput, match=r"20 answers .* are unread"):
        send_often(stream)


def test_a_language_model_continues_what_was_sent(client: Any) -> None:
    with client.stream("tiny-generator", parameters={"max_new_tokens": 3}) as stream:
        stream.send("the ")
        stream.send("cat")
        stream.generate()
        answers = list(stream)
        tokens = [answer.token.text for answer in answers if isinstance(answer, StreamToken)]
        assert answers[-1].generated_text == "".join(tokens)
        stream.generate(max_new_tokens=2)
        more = list(stream)
        end = stream.end()
    assert len(more) == 3
    assert isinstance(end, StreamFinal)
    assert (
        answers[-1].generated_text + more[-1].generated_text
        == client.generate("the cat", max_new_tokens=5).generated_text
    )


def test_a_model_that_reads_whole_inputs_answers_at_the_end(client: Any) -> None:
    with client.stream("tiny-tagger") as stream:
        assert stream.started.reads == "whole"
        for piece in PIECES:
            stream.send(piece)
        assert words_of(stream) == []
        end = stream.end()
        assert words_of([end]) == WORDS
        with pytest.raises(InvalidInput, match="this stream has ended"):
            stream.send("more")


@pytest.mark.parametrize(
    ("model", "options", "kind"),
    [
        ("no", {}, UnknownModel),
        ("tiny-tagger-chunks", {"parameters": {"colour": "red"}}, InvalidInput),
        ("tiny-tagger-chunks", {"answer": Classification}, UnexpectedTask),
    ],
)
def test_a_stream_that_cannot_begin_is_refused_as_a_request(
    client: Any, model: str, options: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind), client.stream(model, **options) as stream:
        send_often(stream)


def test_what_a_model_does_not_read_ends_the_stream_with_an_error(client: Any) -> None:
    with client.stream("tiny-tagger-chunks") as stream, pytest.raises(InvalidInput) as caught:
        answers_to(stream, b"bytes")
    assert caught.value.request_id
    with client.stream("tiny-tagger-chunks") as stream, pytest.raises(InvalidInput, match="frames are a list"):
        stream.send([1, 2])


@pytest.mark.parametrize("piece", [[1, 2], "\ud800", [[float("nan")]]])
def test_a_piece_that_cannot_be_sent_is_not_waited_for(client: Any, piece: Any) -> None:
    with client.stream("tiny-tagger-chunks") as stream:
        with pytest.raises(InvalidInput):
            stream.send(piece)
        assert words_of(answers_to(stream, "the cat ")) == ["the", "cat"]


def test_after_an_error_of_the_service_every_call_raises_it_again(client: Any) -> None:
    with client.stream("tiny-tagger-chunks") as stream:
        with pytest.raises(InvalidInput) as first:
            answers_to(stream, b"bytes")
        for again in (lambda: answers_to(stream, "the "), stream.state, stream.end):
            with pytest.raises(InvalidInput) as caught:
                again()
            assert caught.value is first.value
    with pytest.raises(InvalidInput, match="has ended"):
        stream.send("the ")


def test_a_session_goes_on_with_another_stream(client: Any) -> None:
    with client.stream("tiny-tagger-chunks", session="s") as stream:
        answers_to(stream, "the cat ")
        name = stream.started.session
        stream.end()
    assert name
    with client.stream("tiny-tagger-chunks", session=name) as stream:
        assert words_of(answers_to(stream, "sat ")) == ["sat"]
    assert client.delete_session(name) == 1


@contextmanager
def websocket(answer: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A WebSocket server that begins every stream, and goes on as `answer` says."""

    def begin(socket: ServerConnection) -> None:
        try:
            socket.recv()
            socket.send(json.dumps(STARTED))
            answer(socket)
        except ConnectionClosed:
            pass

    with serve(begin, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


def say(*messages: Any) -> Callable[[ServerConnection], None]:
    """Take one input, send the messages, and close."""

    def answer(socket: ServerConnection) -> None:
        socket.recv()
        for message in messages:
            socket.send(message if isinstance(message, str) else json.dumps(message))

    return answer


def test_a_service_that_stops_hands_out_the_state(connect: Connect) -> None:
    told = {"type": "closing", "index": 1, "state": "s", "held": "ca"}
    with websocket(say(told)) as url, connect(url).stream("m") as stream, pytest.raises(StreamClosing) as caught:
        answers_to(stream, "the ca")
    assert (caught.value.state, caught.value.held) == ("s", "ca")


@pytest.mark.parametrize(
    ("messages", "kind", "what"),
    [
        ([], ConnectionFailed, "ended before the last answer"),
        (["no JSON"], ForeignAnswer, "no JSON object"),
        (["[1]"], ForeignAnswer, "no JSON object"),
        ([{"type": "result", "index": "many"}], ForeignAnswer, "without a valid index"),
    ],
)
def test_answers_that_are_none_are_clear_errors(
    connect: Connect, messages: list[Any], kind: type[Exception], what: str
) -> None:
    with websocket(say(*messages)) as url, connect(url).stream("m") as stream, pytest.raises(kind, match=what):
        answers_to(stream, "the cat ")


def test_messages_and_fields_of_a_newer_service_are_handed_on(connect: Connect) -> None:
    newer = [{"type": "mood", "value": 1}, {"type": "result", "index": 1, "predictions": [], "colour": "red"}]
    with websocket(say(*newer)) as url, connect(url).stream("m") as stream:
        stream.send("the cat ")
        mood, result = stream
    assert (mood.type, mood.value) == ("mood", 1)
    assert isinstance(result, StreamResult)
    assert result.model_extra == {"colour": "red"}


def test_a_service_that_does_not_answer_is_not_waited_for_without_end(connect: Connect) -> None:
    with (
        websocket(lambda socket: [*socket] and None) as url,
        connect(url, timeout=0.3).stream("m") as stream,
        pytest.raises(TimedOut),
    ):
        answers_to(stream, "the cat ")

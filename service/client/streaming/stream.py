"""Streams over a WebSocket: input that arrives in pieces, answers while it arrives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Generic, NoReturn, Unpack

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from service.client.answers.predictions import P
from service.client.connection import Options
from service.client.errors import ClientError, StreamClosing, TimedOut
from service.client.parameters import GenerationParameters
from service.client.streaming.conversation import Conversation, Piece
from service.client.streaming.handshake import connect
from service.client.streaming.messages import StreamAnswer, StreamFinal, StreamStarted, StreamState

#: Inputs without an answer, at most, before `send` waits for one.
MAX_UNANSWERED = 8


class Stream(Generic[P]):
    """One input that is sent in pieces. The answers are iterated over; see `Client.stream`.

    Sending waits while `MAX_UNANSWERED` inputs have no answer yet, so that a caller is never faster than the service.
    One thread uses a stream at a time.
    """

    def __init__(self, options: Options, conversation: Conversation, timeout_s: float | None) -> None:
        self._talk, self._timeout_s, self._resources = conversation, timeout_s, ExitStack()
        attempts = options.attempts(timeout_s)
        while True:
            try:
                self._socket: ClientConnection = connect(options, options.timeout_of(attempts), self._resources)
                break
            except ClientError as error:
                attempts.wait(error, repeatable=True)
        try:
            self._put(conversation.start)
            while conversation.started is None:
                self._take()
        except BaseException:
            self.close()
            raise

    @property
    def started(self) -> StreamStarted:
        """Model, version and task, and how inputs are read."""
        assert self._talk.started is not None
        return self._talk.started

    def send(self, piece: Piece, *, flush: bool = False) -> None:
        """Send the next piece: text, bytes of samples or of a file, rows or arrays. `flush`: it ends with a whole word.

        Raises:
            ClientError: the service answers an error, or the connection is lost.
        """
        self._await_room(MAX_UNANSWERED)
        self._put(self._talk.piece(piece, flush))

    def generate(self, **parameters: Unpack[GenerationParameters]) -> None:
        """Have a language model continue the text so far; the tokens and a result are iterated over."""
        self._put(self._talk.request("generate", **({"parameters": parameters} if parameters else {})))

    def __iter__(self) -> Iterator[StreamAnswer]:
        """The answers to all that was sent so far, in order, as they come."""
        while self._talk.unread or self._talk.num_unanswered:
            if self._talk.unread:
                yield self._talk.unread.popleft()
            else:
                self._take()

    def answers_to(self, pieces: Iterable[Piece], *, max_unanswered: int = MAX_UNANSWERED) -> Iterator[StreamAnswer]:
        """Send pieces as they come, also without end, and give the answers. 1 waits for each before the next piece."""
        for piece in pieces:
            try:
                self._put(self._talk.piece(piece, flush=False))
                self._await_room(max_unanswered)
            except StreamClosing:  # the answers that came before it count
                while self._talk.unread:
                    yield self._talk.unread.popleft()
                raise
            while self._talk.unread:
                yield self._talk.unread.popleft()
        yield from self

    def state(self) -> StreamState:
        """The state after all that is complete, to continue with `state=`. Other answers stay to be iterated over."""
        self._put(self._talk.request("state"))
        found: StreamState = self._awaited(StreamState)
        return found

    def end(self, *, return_state: bool = False) -> StreamFinal[P]:
        """Say that the input is complete, and give the last answer. Others stay to be iterated over."""
        self._put(self._talk.request("end", **({"return_state": True} if return_state else {})))
        found: StreamFinal[P] = self._awaited(StreamFinal)
        return found

    def close(self) -> None:
        """Close the connection, whatever is still to be answered."""
        self._talk.leave()
        self._resources.close()

    def __enter__(self) -> Stream[P]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _await_room(self, max_unanswered: int) -> None:
        while self._talk.num_unanswered >= max_unanswered:
            self._take()

    def _awaited(self, kind: type[Any]) -> Any:
        while True:
            self._take()
            if self._talk.unread and isinstance(self._talk.unread[-1], kind):
                return self._talk.unread.pop()

    def _put(self, message: str | bytes) -> None:
        try:
            self._socket.send(message)
        except ConnectionClosed:
            self._raise_why()

    def _take(self) -> None:
        """Receive one message. Raises ClientError."""
        try:
            answer = self._talk.receive(self._socket.recv(self._timeout_s))
        except TimeoutError as error:
            raise TimedOut("no answer of the stream within the timeout") from error
        except ConnectionClosed as error:
            raise self._talk.closed(*close_of(error)) from error
        if answer is not None:
            self._talk.unread.append(answer)

    def _raise_why(self) -> NoReturn:
        """What the service said before it closed the connection is still there to be read."""
        while True:
            self._take()


def close_of(error: ConnectionClosed) -> tuple[int | None, str]:
    """Code and reason of a close by the service, if it sent them."""
    return (error.rcvd.code, error.rcvd.reason) if error.rcvd else (None, "")

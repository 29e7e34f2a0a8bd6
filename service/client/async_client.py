"""The client of a running service for asyncio: the methods of `Client`, awaited."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from service.client import calls
from service.client.answers.models import (
    Health,
    KeptSession,
    ModelDetails,
    ModelVersion,
    ReloadAnswer,
    RolloutState,
    ShadowReport,
)
from service.client.answers.predictions import Answer, AnyPrediction, P, PredictResponse
from service.client.answers.texts import Embeddings, GenerateResponse, TextScore, TextToken
from service.client.bulk import BulkAnswer, BulkOptions, BulkProgress, in_tasks, patient
from service.client.connection import MAX_ANSWER_BYTES, AsyncHttpConnection, Options
from service.client.inputs import Input, each_of
from service.client.parameters import GenerationParameters, PredictParameters
from service.client.retries import Retries, retries_of
from service.client.streaming.conversation import Conversation
from service.client.streaming.token_events import StreamPosition
from service.client.streaming.token_stream import AsyncTokenStream

if TYPE_CHECKING:
    from service.client.streaming.async_stream import AsyncStream  # with `websockets`, which other calls do not need

T = TypeVar("T")


class AsyncClient:
    """A running service, for the tasks of one event loop. Use it by `async with`, or `aclose` it.

    async with AsyncClient("http://127.0.0.1:8000") as client:
        print((await client.predict("wake me up at seven", model="intent-en")).prediction)

    Arguments, answers and errors are those of `Client`.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout: float | None = 60.0,
        retries: Retries | int | None = None,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """As `Client`."""
        told = retries_of(retries)
        self._options = Options(base_url, api_key, timeout, told, headers or {}, tls, max_answer_bytes)
        self._http = AsyncHttpConnection(self._options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._options.url!r})"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, repeatable: bool = True
    ) -> dict[str, Any]:
        """Any route that answers a JSON object, as it is. `repeatable`: sending it twice does no harm."""
        return await self._send(calls.plain_call(method, path, body, repeatable))

    @overload
    async def predict(
        self,
        inputs: Input | Sequence[Input],
        *,
        answer: type[P],
        model: str | None = ...,
        version: str | None = ...,
        state: str | None = ...,
        return_state: bool = ...,
        **parameters: Unpack[PredictParameters],
    ) -> PredictResponse[P]: ...

    @overload
    async def predict(
        self,
        inputs: Input | Sequence[Input],
        *,
        model: str | None = ...,
        version: str | None = ...,
        state: str | None = ...,
        return_state: bool = ...,
        **parameters: Unpack[PredictParameters],
    ) -> PredictResponse[AnyPrediction]: ...

    async def predict(
        self,
        inputs: Input | Sequence[Input],
        *,
        answer: type[Answer] | None = None,
        model: str | None = None,
        version: str | None = None,
        state: str | None = None,
        return_state: bool = False,
        **parameters: Unpack[PredictParameters],
    ) -> PredictResponse[Any]:
        """Predictions for one input, or for each of a list: `POST /predict`.

        Args:
            inputs: a text, words, `Frames`, the bytes or the path of a WAV or PNG file; or a list of these.
            answer: the type of a prediction, such as `Classification`; a model for another task is an error then.
            model: optional if only one can answer.
            version: a version or an alias; default: the one that answers by default.
            state: of an earlier part of the same input, for models with `reads_chunks`.
            return_state: also return the state.
            parameters: depend on the task, such as `top_k`.
        """
        return await self._send(calls.predict_call(inputs, model, version, answer, state, return_state, parameters))

    async def predict_chunks(
        self,
        chunks: Iterable[Input] | AsyncIterable[Input],
        *,
        model: str | None = None,
        version: str | None = None,
        state: str | None = None,
        **parameters: Unpack[PredictParameters],
    ) -> AsyncIterator[PredictResponse[AnyPrediction]]:
        """One long input in parts, each carrying the state to the next; the answers have the state after their part.

        For models with `reads_chunks`. Cut texts between words; `stream` finds the ends of words by itself.
        """
        async for chunk in each_of(chunks):
            response = await self.predict(
                [chunk], model=model, version=version, state=state, return_state=True, **parameters
            )
            state, version = response.state, response.version
            yield response

    @overload
    def predict_many(
        self,
        inputs: Iterable[Input] | AsyncIterable[Input],
        *,
        answer: type[P],
        model: str | None = ...,
        version: str | None = ...,
        batch_size: int = ...,
        concurrency: int = ...,
        patience: float | None = ...,
        progress: Callable[[BulkProgress], None] | None = ...,
        **parameters: Unpack[PredictParameters],
    ) -> AsyncIterator[BulkAnswer[P]]: ...

    @overload
    def predict_many(
        self,
        inputs: Iterable[Input] | AsyncIterable[Input],
        *,
        model: str | None = ...,
        version: str | None = ...,
        batch_size: int = ...,
        concurrency: int = ...,
        patience: float | None = ...,
        progress: Callable[[BulkProgress], None] | None = ...,
        **parameters: Unpack[PredictParameters],
    ) -> AsyncIterator[BulkAnswer[AnyPrediction]]: ...

    def predict_many(
        self,
        inputs: Iterable[Input] | AsyncIterable[Input],
        *,
        answer: type[Answer] | None = None,
        model: str | None = None,
        version: str | None = None,
        batch_size: int = 32,
        concurrency: int = 4,
        patience: float | None = 600.0,
        progress: Callable[[BulkProgress], None] | None = None,
        **parameters: Unpack[PredictParameters],
    ) -> AsyncIterator[BulkAnswer[Any]]:
        """Predictions for any number of inputs, also without end: in order, several batches at once, in bounded memory.

        An input that is refused has its error at its place. What all inputs would meet, such as an unknown model, is
        raised.

        Args:
            batch_size: inputs in one request; fewer where they are long.
            concurrency: requests at once. Twice as many batches are in memory at most.
            patience: seconds for which a batch is repeated while the service is busy, starts, or cannot be reached.
            progress: called before each answer that is given out.
        """
        options = BulkOptions(batch_size, concurrency, patience, progress)
        retries = patient(self._options.retries)

        async def send(batch: list[Any]) -> PredictResponse[Any]:
            call = calls.predict_call(batch, model, version, answer, None, False, parameters)
            return await self._http.send(call, options.patience_s, retries)

        return in_tasks(inputs, options, send)

    async def generate(
        self,
        prompt: str,
        *,
        model: str | None = None,
        version: str | None = None,
        n: int = 1,
        state: str | None = None,
        return_state: bool = False,
        session: str | None = None,
        **parameters: Unpack[GenerationParameters],
    ) -> GenerateResponse:
        """Continue a prompt: `POST /generate`. Without parameters the text is sampled, with any greedy by default.

        Args:
            prompt: may be empty when continuing from a state or a session.
            n: number of continuations, with consecutive seeds.
            state: continue where the text with this state ended.
            return_state: also return the state.
            session: keep the state on the service under this name; continue with the `session` of the answer.
            parameters: such as `max_new_tokens=120, temperature=0.7, seed=7`.
        """
        body = calls.generate_body(prompt, model, version, state, return_state, session, parameters)
        return await self._send(calls.generate_call(body if n == 1 else body | {"n": n}))

    def generate_stream(
        self,
        prompt: str,
        *,
        model: str | None = None,
        version: str | None = None,
        state: str | None = None,
        return_state: bool = False,
        session: str | None = None,
        resume: bool = True,
        **parameters: Unpack[GenerationParameters],
    ) -> AsyncTokenStream:
        """Continue a prompt token by token: `POST /generate_stream`. The last event has `generated_text`.

        With `resume` a lost connection is made again, to another replica perhaps, and the same tokens follow; for that
        the service sends a state every 32 tokens. Not for sessions.
        """
        body = calls.generate_body(prompt, model, version, state, return_state, session, parameters)
        position = StreamPosition(self._options.url, body, resumes=resume)
        return AsyncTokenStream(self._http, position, self._options.timeout_s)

    @overload
    def stream(
        self,
        model: str | None = ...,
        *,
        answer: type[P],
        version: str | None = ...,
        state: str | None = ...,
        session: str | None = ...,
        encoding: str | None = ...,
        sample_rate_hz: int | None = ...,
        parameters: Mapping[str, Any] | None = ...,
    ) -> AsyncStream[P]: ...

    @overload
    def stream(
        self,
        model: str | None = ...,
        *,
        version: str | None = ...,
        state: str | None = ...,
        session: str | None = ...,
        encoding: str | None = ...,
        sample_rate_hz: int | None = ...,
        parameters: Mapping[str, Any] | None = ...,
    ) -> AsyncStream[AnyPrediction]: ...

    def stream(
        self,
        model: str | None = None,
        *,
        answer: type[Answer] | None = None,
        version: str | None = None,
        state: str | None = None,
        session: str | None = None,
        encoding: str | None = None,
        sample_rate_hz: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> AsyncStream[Any]:
        """Open the WebSocket `/stream`: input in pieces, answers while it arrives.

        Args:
            state: continue where an input with this state ended.
            session: keep the state on the service under this name; continue with `started.session`.
            encoding: of bytes: pcm_s16le, pcm_f32le, f32le, wav or png; default: by the model.
            sample_rate_hz: of samples; default: that of the model.
            parameters: as of `predict` or `generate`.
        """
        from service.client.streaming.async_stream import AsyncStream

        start: dict[str, Any] = {"model": model, "version": version, "state": state, "encoding": encoding}
        start |= {"session": session, "sample_rate_hz": sample_rate_hz, "parameters": parameters}
        return AsyncStream(self._options, Conversation(self._options.url, start, answer), self._options.timeout_s)

    async def score(self, text: str, *, model: str | None = None, version: str | None = None) -> TextScore:
        """Log-probability of each token of a text, natural; its perplexity, and its bits per character."""
        return await self._send(calls.score_call(text, model, version))

    async def tokenize(self, text: str, *, model: str | None = None, version: str | None = None) -> list[TextToken]:
        """The tokens of a text, as a language model reads it, with their places in code points."""
        return await self._send(calls.tokenize_call(text, model, version))

    async def embeddings(
        self,
        inputs: str | Sequence[str],
        *,
        model: str | None = None,
        version: str | None = None,
        normalize: bool = True,
    ) -> Embeddings:
        """The hidden state of a text, or of each of a list, as a vector: `POST /v1/embeddings`.

        `normalize` scales each vector to length 1; False leaves it as the model computes it.
        """
        return await self._send(calls.embeddings_call(inputs, model, version, normalize))

    async def models(self) -> list[ModelVersion]:
        """Every version of every model, in any state."""
        return await self._send(calls.models_call())

    async def model(self, name: str, version: str | None = None) -> ModelDetails:
        """One model: card, scores, labels, limits, examples, the JSON schema of its parameters."""
        return await self._send(calls.model_call(name, version))

    async def health(self, *, live: bool = False) -> Health:
        """Whether the service is ready, or only alive, with the reasons. Not ready is an answer, and no error."""
        return await self._send(calls.health_call(live))

    async def sessions(self) -> list[KeptSession]:
        """The sessions of this key, those used last first."""
        return await self._send(calls.sessions_call())

    async def delete_session(self, name: str) -> int:
        """Delete a session, and return of how many models there was one. Raises UnknownSession, SessionBusy."""
        return await self._send(calls.delete_session_call(name))

    async def load_model(self, name: str, version: str | None = None) -> RolloutState:
        """Open a model, or take over what changed in its folder. Needs the scope admin, as all that follows."""
        return await self._send(calls.model_state_call(name, "load", version))

    async def unload_model(self, name: str, version: str | None = None) -> RolloutState:
        """Close a model until it is loaded again; requests in flight finish."""
        return await self._send(calls.model_state_call(name, "unload", version))

    async def rollout(self, name: str) -> RolloutState:
        """Aliases, traffic weights and shadow of a model."""
        return await self._send(calls.rollout_call(name, None))

    async def change_rollout(self, name: str, changes: Mapping[str, Any]) -> RolloutState:
        """Change aliases, traffic or shadow: `{"aliases": {"stable": "3"}}`. None as a value removes."""
        return await self._send(calls.rollout_call(name, changes))

    async def shadow(self, name: str) -> ShadowReport:
        """How the answers of a candidate compare with those that callers got."""
        return await self._send(calls.shadow_call(name))

    async def reload(self) -> ReloadAnswer:
        """Take over what changed in the models folder."""
        return await self._send(calls.reload_call())

    async def _send(self, call: calls.Call[T]) -> T:
        return await self._http.send(call, self._options.timeout_s)

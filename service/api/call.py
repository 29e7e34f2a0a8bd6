"""One request as an endpoint of a protocol sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

from starlette.types import Receive

from service.access.access_control import AccessControl
from service.access.api_key import Scope
from service.api.error_table import ClientGone, ErrorForm, Failure, failure_of
from service.api.request_record import TIMEOUT_HEADER, RequestRecord
from service.api.state_source import StateStorage
from service.errors import InvalidInput, UnrollError
from service.inference.engines.engine import Engine
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.inference.engines.registry import Registry
from service.inference.state.sealed_state import StateOwner
from service.settings import Settings
from service.tasks.inputs.json_input import JsonInputs

T = TypeVar("T")
EngineT = TypeVar("EngineT", bound=Engine)

_MAX_LOGGED_TEXTS = 8
_MAX_LOGGED_CHARACTERS = 200


class Services(NamedTuple):
    """What endpoints work with."""

    registry: Registry
    settings: Settings
    state_storage: StateStorage
    access: AccessControl


class Call:
    """One request: its path values, its deadline, its client, and what log, metrics and traces will say about it."""

    def __init__(
        self,
        services: Services,
        record: RequestRecord,
        path_values: Mapping[str, str],
        errors: ErrorForm,
        receive: Receive | None,
    ) -> None:
        """`receive` reports a disconnect; without it, the server cancels the task of the request instead.

        Raises:
            InvalidInput: the timeout header is not a positive number.
        """
        self._registry, self.settings, self.state_storage, _ = services
        self.record = record
        #: The parameters of the path, such as `{"model": "pos-en"}`.
        self.path_values = path_values
        limit_ms = self.settings.default_timeout_ms
        timeout_ms = _milliseconds(record.headers.timeout_ms) or limit_ms
        self.deadline_s = record.started_s + min(timeout_ms, limit_ms) / 1000
        caller = record.caller if record.caller is not None and record.caller.identity else None
        #: Who asks: the API key, or without keys the value of the Authorization header. States are only accepted from
        #: the same caller.
        self.caller = record.headers.authorization.decode("latin-1") if caller is None else caller.identity
        #: Between whom the lanes are shared: API keys, or without keys the addresses of clients.
        self.sharer = record.client if caller is None else caller.sharer
        self._errors = errors
        self._receive = receive

    def predict_engine(self, model: str | None, version: str | None = None) -> PredictEngine:
        """The engine that predicts; the record then says which model answers. Raises as `Registry.find`; Forbidden."""
        engine = self._registry.find("predict", model, version)
        assert isinstance(engine, PredictEngine)
        return self._noted(engine, "predict")

    def generation_engine(self, model: str | None, version: str | None = None) -> GenerationEngine:
        """The same for an engine that generates text."""
        engine = self._registry.find("generate", model, version)
        assert isinstance(engine, GenerationEngine)
        return self._noted(engine, "generate")

    def note_texts(self, inputs: JsonInputs) -> None:
        """Keep the beginning of the texts for the log, if the settings allow that; numbers are never kept."""
        if self.settings.log_texts:
            texts = [inputs] if isinstance(inputs, (str, dict)) else inputs[:_MAX_LOGGED_TEXTS]
            plain = [text if isinstance(text, str) else " ".join(text) for text in texts]
            self.record.texts = [text[:_MAX_LOGGED_CHARACTERS] for text in plain]

    def owner_of_states(self, engine: Engine) -> StateOwner:
        """For whom the states of this request are sealed: its caller and the model that answers."""
        manifest = engine.opened.bundle.manifest
        return StateOwner(manifest.name, manifest.version, engine.opened.identity, self.caller)

    def state_owners(self) -> list[StateOwner]:
        """For whom this caller's states are sealed, for every model that is loaded."""
        engines = [entry.engine for entry in self._registry.entries if entry.engine is not None]
        return [self.owner_of_states(engine) for engine in engines]

    def failure_in_stream(self, error: UnrollError) -> Failure:
        """An error after a stream has begun, to be written as an event; it becomes the outcome of the request."""
        failure = failure_of(error, self._errors, self.record.request_id)
        self.record.outcome = failure.error_type
        return failure

    async def unless_client_leaves(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled if the client disconnects first. Raises ClientGone then."""
        receive = self._receive
        if receive is None:
            return await work
        working = asyncio.current_task()
        assert working is not None, "endpoints run in a task"
        has_left = False

        async def watch() -> None:
            nonlocal has_left
            while (await receive())["type"] != "http.disconnect":
                pass
            has_left = True
            working.cancel()

        watching = asyncio.create_task(watch())
        try:
            return await work
        except asyncio.CancelledError as error:
            if has_left:
                working.uncancel()
                raise ClientGone from error
            raise
        finally:
            watching.cancel()

    def _noted(self, engine: EngineT, scope: Scope) -> EngineT:
        manifest, record = engine.opened.bundle.manifest, self.record
        if record.caller is not None:
            record.caller.require_model(scope, manifest.name)
        record.model, record.version, record.task = manifest.name, manifest.version, manifest.task
        return engine


def _milliseconds(value: bytes | None) -> int:
    """The number in a header, 0 if the header is absent."""
    if value is None:
        return 0
    if not value.isdigit() or not int(value[:10]):
        raise InvalidInput("must be a whole number of milliseconds, at least 1", (TIMEOUT_HEADER,))
    return int(value[:10])

"""One request as an endpoint of a protocol sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

from starlette.types import Receive

from service.access.access_control import AccessControl
from service.access.api_key import Scope
from service.api.error_table import ClientGone, ErrorForm, Failure, failure_of
from service.api.request_record import TIMEOUT_HEADER, RequestRecord
from service.api.state_source import StateStorage
from service.errors import BodyTooLarge, InvalidInput, StillOpening, UnrollError
from service.inference.engines.engine import Engine, Lease
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.inference.engines.registry import Registry
from service.inference.state.sealed_state import StateOwner
from service.settings import Settings
from service.tasks.core.task import Route as TaskRoute
from service.tasks.inputs.json_input import JsonInputs

T = TypeVar("T")
EngineT = TypeVar("EngineT", bound=Engine)
#: The engine of any task.
TaskEngine = PredictEngine | GenerationEngine

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
        self.registry, self.settings, self.state_storage, _ = services
        self.record = record
        #: The parameters of the path, such as `{"model": "pos-en"}`.
        self.path_values = path_values
        timeout_ms = self.settings.default_timeout_ms
        if record.headers.timeout_ms is not None:
            timeout_ms = min(timeout_ms, _milliseconds(record.headers.timeout_ms))
        self.deadline_s = record.started_s + timeout_ms / 1000
        caller = record.caller if record.caller is not None and record.caller.identity else None
        #: Who asks: the API key, or without keys the value of the Authorization header. States are only accepted from
        #: the same caller.
        self.caller = record.headers.authorization.decode("latin-1") if caller is None else caller.identity
        #: Between whom the lanes are shared: API keys, or without keys the addresses of clients.
        self.sharer = record.client if caller is None else caller.sharer
        #: Of the body, once it is there. Only sound may make it larger than others, and only for models that read it.
        self.num_body_bytes = 0
        self._errors = errors
        self._receive = receive
        self._leases: tuple[Lease, ...] = ()

    def predict_engine(
        self, model: str | None, version: str | None = None, state: str | None = None, session: str | None = None
    ) -> PredictEngine:
        """The engine that predicts; the record then says which model answers. Raises as `Registry.find`.

        `version` may be an alias. A request without one that continues a state or a session gets the version which that
        began with; others are split by the header X-Affinity-Key, else by caller. Raises Forbidden too.
        """
        engine = self._find("predict", model, version, state, session)
        assert isinstance(engine, PredictEngine)
        return self._noted(engine, "predict")

    def generation_engine(
        self, model: str | None, version: str | None = None, state: str | None = None, session: str | None = None
    ) -> GenerationEngine:
        """The same for an engine that generates text."""
        engine = self._find("generate", model, version, state, session)
        assert isinstance(engine, GenerationEngine)
        return self._noted(engine, "generate")

    def any_engine(self, model: str, version: str | None = None) -> TaskEngine:
        """The engine of a model, whatever its task. Raises as `Registry.find`."""
        entries = self.registry.versions(model)
        if version is not None:
            entries = [entry for entry in entries if entry.version == version] or entries
        if any(entry.answers("generate") for entry in entries):
            return self.generation_engine(model, version)
        return self.predict_engine(model, version)

    async def until_open(self, opening: StillOpening) -> None:
        """Wait for a model that is opened on demand; then look for its engine again.

        Raises StillOpening again where that takes longer than the request may.
        """
        left_s = max(0.0, self.deadline_s - time.monotonic())
        done, _ = await self.unless_client_leaves(asyncio.wait([asyncio.ensure_future(opening.opened)], timeout=left_s))
        if not done:
            raise opening

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
        engines = [entry.engine for entry in self.registry.entries if entry.engine is not None]
        return [self.owner_of_states(engine) for engine in engines]

    def failure_in_stream(self, error: UnrollError) -> Failure:
        """An error after a stream has begun, to be written as an event; it becomes the outcome of the request."""
        failure = failure_of(error, self._errors, self.record.request_id)
        self.record.outcome = failure.error_type
        return failure

    def unless_client_leaves(self, work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """The result of `work`, which is cancelled if the client disconnects first. Raises ClientGone then."""
        return work if self._receive is None else self._while_connected(work, self._receive)

    async def _while_connected(self, work: Coroutine[Any, Any, T], receive: Receive) -> T:
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

    def _find(
        self, route: TaskRoute, model: str | None, version: str | None, state: str | None, session: str | None
    ) -> Engine:
        if version is None and state is not None and model is not None:
            version = self._version_of(state, model)
        header = self.record.headers.affinity
        affinity = header.decode("latin-1") if header else self._session_root(session) or self.caller
        return self.registry.find(route, model, version, affinity)

    def _version_of(self, state: str, model: str) -> str | None:
        """The version that a carried state is of, where there are several and that one still answers."""
        versions = self.registry.versions(model)
        sealed = self.state_storage.sealer.bundle_of(state, self.caller) if len(versions) > 1 else None
        answering = [entry.version for entry in versions if not entry.obstacle]
        return sealed[1] if sealed is not None and sealed[0] == model and sealed[1] in answering else None

    def _session_root(self, session: str | None) -> str:
        """The name that the client chose for a session, whether it is the first request or a later one."""
        if session is None:
            return ""
        return session.rpartition(".")[0] if self.state_storage.names.is_issued(session) else session

    def _noted(self, engine: EngineT, scope: Scope) -> EngineT:
        self._leases += (Lease(engine.opened.usage),)
        manifest, record = engine.opened.bundle.manifest, self.record
        if record.caller is not None:
            record.caller.require_model(scope, manifest.name)
        record.model, record.version, record.task = manifest.name, manifest.version, manifest.task
        if self.num_body_bytes > self.settings.max_body_bytes and not manifest.reads_sound:
            limit = self.settings.max_body_bytes
            raise BodyTooLarge(f"the body is larger than {limit} bytes, and {manifest.name} reads no sound")
        return engine


def _milliseconds(value: bytes) -> int:
    """The number in a header. Raises InvalidInput."""
    if not value.isdigit() or not int(value[:10]):
        raise InvalidInput("must be a whole number of milliseconds, at least 1", (TIMEOUT_HEADER,))
    return int(value[:10])

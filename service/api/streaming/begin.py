"""The beginning of an input: which model reads it, and how."""

from __future__ import annotations

from service.api.call import Call
from service.api.streaming.generation_reading import GenerationReading
from service.api.streaming.messages import Start
from service.api.streaming.pieces.byte_pieces import byte_format
from service.api.streaming.reading import Body, ChunkReading, Reading, StreamContext, WholeReading, refuse_state
from service.api.streaming.signal_reading import SignalReading
from service.api.streaming.stream_state import StreamState
from service.api.streaming.tensors_reading import TensorsReading
from service.bundle.task_options import TensorsOptions
from service.errors import InvalidInput
from service.inference.engines.engine import Engine
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.inference.engines.registry import Registry
from service.tasks.core.parameters import check_parameters


async def begin_reading(
    registry: Registry, context: StreamContext, start: Start
) -> tuple[Reading, Engine, StreamState, Body]:
    """The reading of an input, its engine, where its state is kept, and the fields of `started`.

    Raises:
        InvalidInput, StateRefused, SessionBusy, UnknownModel, NotReady.
    """
    call = context.call
    engine = _engine(registry, call, start)
    manifest = engine.opened.bundle.manifest
    form = byte_format(manifest, start.encoding, start.sample_rate_hz)
    owner = call.owner_of_states(engine)
    state = StreamState(call.state_storage, owner)
    reading: Reading
    if isinstance(engine, GenerationEngine):
        state = await StreamState.of(call.state_storage, owner, start)
        reading = GenerationReading(context, engine, start, state.before)
    else:
        check_parameters(engine.task.parameters_type, start.parameters or {})
        if isinstance(manifest.options, TensorsOptions):
            if manifest.reads_chunks:
                state = await StreamState.of(call.state_storage, owner, start)
            else:
                refuse_state(engine, start)
            reading = TensorsReading(context, engine, start, state.before)
        elif manifest.task == "transcription" and manifest.reads_chunks and form is not None and form.is_numbers:
            state = await StreamState.of(call.state_storage, owner, start)
            reading = SignalReading(context, engine, start, form, state.before)
        elif manifest.reads_chunks and (form is None or form.encoding == "f32le"):
            state = await StreamState.of(call.state_storage, owner, start)
            reading = ChunkReading(context, engine, start, form, state.before)
        else:
            reading = WholeReading(context, engine, start, form)
    started: Body = {
        "model": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "reads": reading.reads,
        "encoding": form.encoding if form else None,
        "sample_rate_hz": form.sample_rate_hz if form else None,
        "request_id": call.record.request_id,
    }
    if state.session is not None:
        started["session"] = state.session
    return reading, engine, state, started


def _engine(registry: Registry, call: Call, start: Start) -> PredictEngine | GenerationEngine:
    """The engine of the model, whatever it does."""
    names = sorted({entry.name for entry in registry.entries})
    if start.model is None and len(names) > 1:
        raise InvalidInput(f"say which model; there are: {', '.join(names)}", ("model",))
    try:
        return call.predict_engine(start.model, start.version, start.state, start.session)
    except InvalidInput:  # it generates text
        return call.generation_engine(start.model, start.version, start.state, start.session)

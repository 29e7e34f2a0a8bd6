"""One loaded bundle, ready for requests."""

from __future__ import annotations

from service.inference.engines.engine_context import EngineContext
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.open_bundle import OpenBundle
from service.inference.engines.predict_engine import PredictEngine
from service.tasks.generation.generation import Generation

Engine = PredictEngine | GenerationEngine


def start_engine(opened: OpenBundle, context: EngineContext) -> Engine:
    """The engine for what the bundle does. Call it inside the event loop that will use it."""
    if isinstance(opened.task, Generation):
        return GenerationEngine(opened, opened.task, context)
    return PredictEngine(opened, opened.task, context)

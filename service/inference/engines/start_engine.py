"""The choice of the engine for a bundle, by what its task declares."""

from __future__ import annotations

from service.inference.engines.engine import Engine, OpenBundle
from service.inference.engines.engine_context import EngineContext
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.tasks.catalogue import generates, predicts


def start_engine(opened: OpenBundle, context: EngineContext) -> Engine:
    """Start the engine for the route that the task declares. Call it inside the event loop that will use it."""
    task = opened.task
    if generates(task):
        return GenerationEngine(opened, task, context)
    assert predicts(task), "a task declares one of the two routes"
    return PredictEngine(opened, task, context)

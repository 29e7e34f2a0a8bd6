"""One loaded bundle, ready for requests."""

from __future__ import annotations

from service.inference.direct import OpenBundle
from service.inference.generation_engine import GenerationEngine
from service.inference.predict_engine import PredictEngine
from service.inference.workshop import Workshop
from service.tasks.generation import Generation

Engine = PredictEngine | GenerationEngine


def start_engine(opened: OpenBundle, workshop: Workshop) -> Engine:
    """The engine for what the bundle does. Call it inside the event loop that will use it."""
    if isinstance(opened.task, Generation):
        return GenerationEngine(opened, opened.task, workshop)
    return PredictEngine(opened, opened.task, workshop)

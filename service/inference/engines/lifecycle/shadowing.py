"""Shadow traffic between the engines of a model: those that answer offer a share of their requests to the mirror."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from service.errors import NotReady
from service.inference.engines.bundle_entry import BundleEntry
from service.inference.engines.engine import Engine
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine, Prediction
from service.inference.rollout.mirror import Answered, Mirror, Repetition
from service.inference.rollout.model_rollout import ModelRollout
from service.inference.rollout.shadow_report import ShadowReport, ShadowTally
from service.inference.scheduling.fair_share import BACKGROUND
from service.inference.scheduling.stream import Stream
from service.observability.metrics import Metrics
from service.tasks.core.task import NO_TEXT
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.request import GenerationRequest
from service.tasks.inputs.json_input import ReadInput, ReadInputs, effort_of, items_of

#: Pairs of versions whose counts are kept, of each model.
_MAX_TALLIES = 8


class Shadowing:
    """Connects engines with the mirror as the rollouts say, and keeps the counts."""

    def __init__(self, metrics: Metrics, keeps_texts: bool) -> None:
        self._mirror = Mirror(metrics, keeps_texts)
        self._tallies: dict[str, dict[tuple[str, str], ShadowTally]] = {}

    def connect(self, entries: Iterable[BundleEntry], rollouts: Mapping[str, ModelRollout]) -> None:
        """Call it after every change of the engines or the rollouts."""
        there = {(entry.name, entry.version): entry for entry in entries}
        for entry in there.values():
            if entry.engine is not None:
                self._connect(entry, entry.engine, rollouts.get(entry.name), there)

    def plain_tallies(self, name: str) -> list[dict[str, Any]]:
        """The counts of a model as values of JSON."""
        return [tally.plain() for tally in self._tallies.get(name, {}).values()]

    def report(self, name: str, rollout: ModelRollout, of_others: Iterable[Mapping[str, Any]] = ()) -> ShadowReport:
        """The counts of a model, the most recent pair of versions last, with those that other workers have."""
        tallies: dict[tuple[str, str], ShadowTally] = {}
        for plain in (*of_others, *self.plain_tallies(name)):
            version, candidate = plain["pair"]
            tallies.setdefault((version, candidate), ShadowTally(version, candidate)).absorb(plain)
        comparisons = [tally.report() for tally in tallies.values()]
        shadow = rollout.rollout.shadow
        candidate = None if shadow is None else rollout.rollout.version_of(shadow.to)
        return ShadowReport(
            name=name, candidate=candidate, share=None if shadow is None else shadow.share, comparisons=comparisons
        )

    async def close(self) -> None:
        """Repeat nothing more."""
        await self._mirror.close()

    def _connect(
        self,
        entry: BundleEntry,
        engine: Engine,
        rollout: ModelRollout | None,
        there: Mapping[tuple[str, str], BundleEntry],
    ) -> None:
        shadow = rollout.rollout.shadow if rollout is not None else None
        version = rollout.rollout.version_of(shadow.to) if rollout is not None and shadow is not None else entry.version
        candidate = there.get((entry.name, version))
        is_shadowed = shadow is not None and version != entry.version and candidate is not None
        if isinstance(engine, PredictEngine):
            engine.on_answer = None
            if is_shadowed and shadow is not None and candidate is not None:
                engine.on_answer = partial(self._offer_prediction, entry, candidate, shadow.share)
        elif isinstance(engine, GenerationEngine):
            engine.on_answer = None
            if is_shadowed and shadow is not None and candidate is not None:
                engine.on_answer = partial(self._offer_text, entry, candidate, shadow.share)

    def _tally(self, entry: BundleEntry, candidate: BundleEntry) -> ShadowTally:
        tallies = self._tallies.setdefault(entry.name, {})
        pair = entry.version, candidate.version
        if pair not in tallies:
            if len(tallies) >= _MAX_TALLIES:
                del tallies[next(iter(tallies))]
            tallies[pair] = ShadowTally(*pair)
        return tallies[pair]

    def _offer_prediction(
        self,
        entry: BundleEntry,
        candidate: BundleEntry,
        share: float,
        inputs: ReadInputs,
        parameters: Mapping[str, Any],
        prediction: Prediction,
    ) -> None:
        if random.random() >= share:
            return
        items = items_of(inputs)
        answered = Answered(prediction.answers, prediction.timings.inference_ms)

        async def repeat(deadline_s: float) -> Answered:
            engine = _engine_of(candidate, PredictEngine)
            found = await engine.predict(inputs, parameters, deadline_s, BACKGROUND)
            return Answered(found.answers, found.timings.inference_ms)

        efforts = sum(effort_of(item) for item in items)
        texts = [_shown(item) for item in items]
        self._mirror.offer(Repetition(entry.name, self._tally(entry, candidate), answered, texts, efforts, repeat))

    def _offer_text(
        self,
        entry: BundleEntry,
        candidate: BundleEntry,
        share: float,
        prompt: str,
        options: SamplingOptions,
        stream: Stream[GenerationRequest],
    ) -> None:
        if random.random() >= share:
            return

        async def repeat(deadline_s: float) -> Answered:
            engine = _engine_of(candidate, GenerationEngine)
            repeated = await engine.stream(prompt, options, deadline_s, caller=BACKGROUND)
            try:
                await repeated.result()
            finally:
                repeated.close()
            return _text_answered(repeated)

        tally = self._tally(entry, candidate)
        answered = _text_answered(stream)
        self._mirror.offer(Repetition(entry.name, tally, answered, [prompt], len(prompt), repeat))


def _engine_of(candidate: BundleEntry, kind: type[Any]) -> Any:
    """The engine of the candidate as it is now. Raises NotReady."""
    if candidate.obstacle or not isinstance(candidate.engine, kind):
        raise NotReady(candidate.obstacle or f"{candidate.name} version {candidate.version} has another task")
    return candidate.engine


def _text_answered(stream: Stream[GenerationRequest]) -> Answered:
    run_ms = round((stream.ended_s - stream.started_s) * 1000, 3)
    return Answered([{"generated_text": stream.request.text}], run_ms)


def _shown(item: ReadInput) -> str:
    """A text as it may be logged; numbers, sounds and pictures are not."""
    if isinstance(item, str):
        return item
    return "" if isinstance(item, (dict, *NO_TEXT)) else " ".join(map(str, item))

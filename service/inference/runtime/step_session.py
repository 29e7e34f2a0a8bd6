"""Steps of one batch whose recurrent state never leaves the device: what a step gives is what the next one takes.

On a GPU it saves two copies of the state a step; on a CPU it computes the same, and a plain run is as fast. The state
comes to the host only when rows join or leave: read `state`, change the rows, `start` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.bundle.manifest import Manifest
from service.errors import InferenceFailed
from service.inference.runtime.device import CUDA_PROVIDER
from service.inference.runtime.feed_check import FeedCheck
from service.tasks.core.task import Array

TOKEN = "token"


class StepSession:
    """Not thread-safe: one batch, advanced by one thread at a time. Make one with `OrtRunner.step_session`."""

    def __init__(self, graph: str, session: Any, manifest: Manifest, check: FeedCheck) -> None:
        spec = manifest.graphs[graph]
        self._graph = graph
        self._session = session
        self._check = check
        self._next_of = {state.name: state.next_name for state in manifest.state}
        self._outputs = [output.name for output in spec.outputs]
        self._answers = [name for name in self._outputs if name not in self._next_of.values()]
        self._device = _device_of(session)
        self._binding: Any = None
        self._feeds: dict[str, Array] = {}
        self._state: dict[str, Any] = {}

    def start(self, feeds: Mapping[str, Array]) -> None:
        """Take a batch: its state, and whatever stays the same from step to step; every input but `token`."""
        self._feeds = dict(feeds)
        self._binding = self._session.io_binding()
        for name, array in self._feeds.items():
            self._binding.bind_cpu_input(name, array)

    def step(self, token: Array) -> dict[str, Array]:
        """Advance every row by its token, int64 `[batch]`; gives every output that is not state.

        Raises:
            InferenceFailed: there is no batch, the token does not fit it, or onnxruntime fails.
        """
        if self._binding is None:
            raise InferenceFailed(f"graph {self._graph!r} was not run: no batch was started")
        self._check({**self._feeds, TOKEN: token})
        try:
            outputs = self._run(token)
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            self._binding = None
            raise InferenceFailed(f"graph {self._graph!r} failed: {type(error).__name__}: {error}") from error
        for name, next_name in self._next_of.items():
            self._binding.bind_ortvalue_input(name, outputs[next_name])
        self._state = {name: outputs[next_name] for name, next_name in self._next_of.items()}
        return {name: outputs[name].numpy() for name in self._answers}

    @property
    def state(self) -> dict[str, Array]:
        """The state after the last step, by the names of the inputs, on the host; empty before the first."""
        return {name: value.numpy() for name, value in self._state.items()}

    def _run(self, token: Array) -> dict[str, Any]:
        self._binding.bind_cpu_input(TOKEN, token)
        # Bound anew at each step: onnxruntime would otherwise write into the tensors that are now the inputs.
        for name in self._outputs:
            device = ("cpu", 0) if name in self._answers else self._device
            self._binding.bind_output(name, *device)
        self._session.run_with_iobinding(self._binding)
        return dict(zip(self._outputs, self._binding.get_outputs(), strict=True))


def _device_of(session: Any) -> tuple[str, int]:
    """Where the session's tensors live, as onnxruntime names it."""
    if session.get_providers()[0] != CUDA_PROVIDER:
        return "cpu", 0
    return "cuda", int(session.get_provider_options()[CUDA_PROVIDER].get("device_id", 0))

"""The hidden state that a bundle's graphs give: which output it is, and its width.

It is what the output layer reads: for each token of a tagger, parser or language model (`hidden_states`), for the whole
input of a classifier (`embedding`). The graph computes it anyway; the service fetches it only for callers who ask. An
encoder-decoder gives its encoder's `memory`, which the decoder needs in any case.
"""

from __future__ import annotations

from typing import Final

from service.bundle.manifest import GraphSpec, Manifest, TensorSpec

#: float32 `[batch, time, width]`.
HIDDEN_STATES: Final = "hidden_states"
#: float32 `[batch, width]`.
EMBEDDING: Final = "embedding"
#: Outputs that a run leaves out unless they are asked for.
ON_REQUEST: Final = frozenset({HIDDEN_STATES, EMBEDDING})

#: The graph of each task that gives the hidden state, and the name of its output.
_PLACES: Final[dict[str, tuple[str, str]]] = {
    "tagging": ("tagger", HIDDEN_STATES),
    "parsing": ("parser", HIDDEN_STATES),
    "classification": ("classifier", EMBEDDING),
    "generation": ("prompt", HIDDEN_STATES),
    "translation": ("encoder", "memory"),
    "captioning": ("encoder", "memory"),
    "video": ("encoder", "memory"),
}


def hidden_place(task: str) -> tuple[str, str] | None:
    """The graph of a task that gives the hidden state, and the name of the output; None if the task has none."""
    return _PLACES.get(task)


def hidden_output(manifest: Manifest) -> TensorSpec | None:
    """The output with the hidden state; None where the task has none, or the bundle is older than such outputs."""
    place = _PLACES.get(manifest.task)
    if place is None:
        return None
    graph, name = place
    return next((tensor for tensor in manifest.graphs[graph].outputs if tensor.name == name), None)


def embedding_size(manifest: Manifest) -> int | None:
    """Numbers of an embedding; None where the bundle gives none."""
    output = hidden_output(manifest)
    return None if output is None else int(output.shape[-1])


def why_no_embedding(manifest: Manifest) -> str:
    """Why a bundle gives no embedding, and the remedy, as a sentence."""
    if manifest.task not in _PLACES:
        return f"{manifest.name} does {manifest.task}, which has no embedding"
    return (
        f"{manifest.name} version {manifest.version} was published before bundles gave their hidden state: add it with "
        f"`unroll export --hidden models/{manifest.name}/{manifest.version}`, or export the model again"
    )


def gives_hidden(spec: GraphSpec) -> bool:
    """Whether a graph has an output that runs leave out."""
    return any(tensor.name in ON_REQUEST for tensor in spec.outputs)


def without_hidden(spec: GraphSpec) -> GraphSpec:
    """A graph with the outputs that every run returns."""
    outputs = tuple(tensor for tensor in spec.outputs if tensor.name not in ON_REQUEST)
    return spec.model_copy(update={"outputs": outputs})

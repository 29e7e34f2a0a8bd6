"""Room on disk that a run and its bundle need."""

from __future__ import annotations

from training.networks.network import Network

#: Curves, samples, tokenizers and TensorBoard's events of a small run.
_ROOM_FOR_LOGS = 4_000_000
#: Manifest, card, tokenizers and examples of a bundle.
_ROOM_FOR_TEXTS = 500_000


def room_of(network: Network) -> int:
    """Bytes that a run folder needs: three checkpoints, of weights, their averages and two moments, and best weights.

    One more of each is there while it is written.
    """
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    return 14 * weights + _ROOM_FOR_LOGS


def room_of_bundle(network: Network) -> int:
    """Bytes that a bundle of the network needs: weights in half or single precision, its tokenizers and its texts."""
    return 4 * sum(parameter.numel() for parameter in network.parameters()) + _ROOM_FOR_TEXTS

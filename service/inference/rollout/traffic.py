"""Traffic splitting: which version answers a request that names none, by weights and sticky by an affinity key."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from hashlib import blake2b

_DIGEST_BYTES = 8
_SCALE = 2.0 ** (8 * _DIGEST_BYTES)


class TrafficSplit:
    """Chooses among weighted targets.

    By weighted rendezvous hashing (Thaler and Ravishankar 1998), so that a key has the same target on every replica,
    and a changed weight moves only keys to that target or away from it.
    """

    def __init__(self, model: str, weights: Mapping[str, float]) -> None:
        """Weights are relative. A target of weight 0 gets nothing. Keys are spread anew for each model."""
        self._weights = {target: weight for target, weight in weights.items() if weight > 0}
        self._seeds = {target: blake2b(f"{model}\0{target}\0".encode(), digest_size=8) for target in self._weights}

    def shares(self) -> dict[str, float]:
        """The share of each target that gets requests."""
        total = sum(self._weights.values())
        return {target: weight / total for target, weight in self._weights.items()}

    def choose(self, affinity: str, is_usable: Callable[[str], bool]) -> str:
        """A target that is usable, or one that is not where none is. Without an affinity key it is drawn by chance."""
        targets = [target for target in self._weights if is_usable(target)] or list(self._weights)
        if len(targets) == 1:
            return targets[0]
        if not affinity:
            return random.choices(targets, [self._weights[target] for target in targets])[0]
        key = affinity.encode("utf-8", "surrogatepass")
        return max(targets, key=lambda target: self._score(target, key))

    def _score(self, target: str, key: bytes) -> float:
        """Grows with the weight; the target with the highest one has the key."""
        digest = self._seeds[target].copy()
        digest.update(key)
        uniform = (int.from_bytes(digest.digest()) + 0.5) / _SCALE
        return -self._weights[target] / math.log(uniform) if uniform < 1.0 else math.inf

"""Offline (batch) scoring: files of any size and batches of rows, without a server, event loop or web framework.

`Scorer` adds a model's answers to batches of rows, for Ray Data, Spark, pandas or a loop of your own; `unroll score` is
the command. The guide is `service/docs/offline-scoring.md`.
"""

from service.offline.scorer import Scorer

__all__ = ["Scorer"]

"""Answers about models, sessions and health, and of the administration of models, as typed values."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from service.client.answers.predictions import Answer


class Health(Answer):
    """`status`: live, not_live, ready or not_ready; `reasons` says why, one sentence each."""

    status: str
    reasons: list[str] = Field(default_factory=list)

    @property
    def is_ready(self) -> bool:
        return self.status == "ready"


class ModelVersion(Answer):
    """One version of a model. `state`: loading, ready, idle, failed or unloaded; `reason` says why it failed."""

    name: str
    version: str
    state: str
    reason: str | None = None
    is_default: bool = False
    aliases: list[str] = Field(default_factory=list)
    traffic_share: float | None = None
    task: str | None = None
    description: str | None = None
    language: str | None = None
    licence: str | None = None


class ModelExample(Answer):
    """A recorded example of the bundle, to try."""

    inputs: Any
    parameters: dict[str, Any] = Field(default_factory=dict)
    answer: Any = None


class ModelArray(Answer):
    """A named array without its batch axis; "time" in the shape is any number of steps."""

    name: str
    dtype: str
    shape: list[int | str]
    description: str | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None


class ModelDetails(ModelVersion):
    """Everything known about one model; `parameters` is a JSON schema, `card` is Markdown."""

    versions: list[str] = Field(default_factory=list)
    options: dict[str, Any] | None = None
    limits: dict[str, int] | None = None
    labels: list[str] | None = None
    text_labels: list[str] | None = None
    scores: list[dict[str, Any]] | None = None
    parity: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    reads_chunks: bool | None = None
    embedding_size: int | None = None
    inputs: list[ModelArray] | None = None
    outputs: list[ModelArray] | None = None
    precision: str | None = None
    provider: str | None = None
    digest: str | None = None
    examples: list[ModelExample] | None = None
    card: str | None = None


class KeptSession(Answer):
    """One session of the caller; it is dropped after `expires_in_s` seconds, unless it is used before."""

    name: str
    model: str
    version: str
    state_bytes: int
    expires_in_s: float


class ShadowTraffic(Answer):
    """A share of the requests, above 0 and at most 1, is repeated on the candidate `to`."""

    to: str
    share: float = 1.0


class Rollout(Answer):
    """`aliases` name versions; `traffic` has the weights of aliases and versions, relative to their sum."""

    aliases: dict[str, str] = Field(default_factory=dict)
    traffic: dict[str, float] = Field(default_factory=dict)
    shadow: ShadowTraffic | None = None


class VersionState(Answer):
    """One version of a model and its share of the requests without a version."""

    version: str
    state: str
    reason: str | None = None
    aliases: list[str] = Field(default_factory=list)
    traffic_share: float | None = None


class RolloutState(Answer):
    """Aliases, weights and shadow of a model; `problem` says why the file that is there now was refused."""

    name: str
    rollout: Rollout
    problem: str | None = None
    versions: list[VersionState] = Field(default_factory=list)


class Latency(Answer):
    """Time in the graph of the most recent requests, in milliseconds."""

    mean_ms: float
    p50_ms: float
    p95_ms: float


class Difference(Answer):
    """How often one version said `answer` where the candidate said `candidate`."""

    answer: str
    candidate: str
    count: int


class ShadowComparison(Answer):
    """The answers of a version beside those of a candidate; `agreement` is 0 to 1, None without pairs."""

    version: str
    candidate: str
    compared: int
    agreed: int
    agreement: float | None = None
    failed: int = 0
    dropped: int = 0
    mean_score_distance: float | None = None
    latency: Latency | None = None
    candidate_latency: Latency | None = None
    differences: list[Difference] = Field(default_factory=list)
    errors: dict[str, int] = Field(default_factory=dict)
    examples: list[dict[str, Any]] = Field(default_factory=list)


class ShadowReport(Answer):
    """How the answers of a candidate compare with those that callers got; no candidate if nothing is repeated."""

    name: str
    candidate: str | None = None
    share: float | None = None
    comparisons: list[ShadowComparison] = Field(default_factory=list)


class ReloadAnswer(Answer):
    """`outcome`: ok, unchanged or failed; `problems` has a sentence for each bundle that was refused."""

    outcome: str
    problems: list[str] = Field(default_factory=list)

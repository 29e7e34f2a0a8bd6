"""Which model `unroll transcribe` asks, and what it says where there is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from service.cli.transcription.command import _speech_model
from service.client.answers.models import ModelVersion
from service.errors import UnrollError


def client_of(*models: ModelVersion) -> Any:
    return SimpleNamespace(models=lambda: list(models))


def failed(name: str, task: str | None) -> ModelVersion:
    return ModelVersion(name=name, version="1", state="failed", reason="damaged", task=task)


def test_the_only_model_for_speech_that_has_not_failed_is_asked() -> None:
    ready = ModelVersion(name="speech", version="1", state="ready", task="transcription")
    assert _speech_model(client_of(failed("digits", "transcription"), ready), None) == ("speech", None)


@pytest.mark.parametrize("task", ["transcription", None])
def test_models_that_failed_are_named_with_the_reason_where_none_is_left(task: str | None) -> None:
    """Also those of which nobody knows what they would have done."""
    with pytest.raises(UnrollError, match=r"that is ready; digits is failed \(damaged\)$"):
        _speech_model(client_of(failed("digits", task)), None)
    with pytest.raises(UnrollError, match=r"that is ready$"):
        _speech_model(client_of(failed("tagger", "tagging")), None)

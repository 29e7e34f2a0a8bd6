"""The types of the client have every field that the service declares: a new one is noticed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from service.api.protocols.model_admin import ReloadAnswer, RolloutState
from service.api.protocols.sessions import KeptSession
from service.api.schemas import GenerateResponse, Health, ModelDetails, StageTimings, TextToken
from service.api.streaming import messages
from service.client import parameters
from service.client.answers import models, predictions, texts
from service.client.streaming import messages as streamed
from service.inference.rollout.shadow_report import ShadowReport
from service.tasks.catalogue import tasks_of_route
from service.tasks.generation.recorded_form import GenerationParameters, Token

#: Accepted by the service for other clients, with values that change nothing, or as another way to say the same.
LEFT_OUT = {"watermark", "adapter_id", "grammar"}

PAIRS: list[tuple[Any, Any]] = [
    (GenerateResponse, texts.GenerateResponse),
    (Token, texts.Token),
    (TextToken, texts.TextToken),
    (StageTimings, predictions.StageTimings),
    (Health, models.Health),
    (ModelDetails, models.ModelDetails),
    (KeptSession, models.KeptSession),
    (RolloutState, models.RolloutState),
    (ReloadAnswer, models.ReloadAnswer),
    (ShadowReport, models.ShadowReport),
    (messages.Started, streamed.StreamStarted),
    (messages.Final, streamed.StreamFinal),
    (messages.StreamedToken, streamed.StreamToken),
    (messages.StateHandedOut, streamed.StreamState),
    *((task.answer_type, predictions.PREDICTIONS[name]) for name, task in tasks_of_route("predict").items()),
]


def fields_of(model: type[BaseModel]) -> dict[str, set[str]]:
    """The names of the fields of every object in the schema of a model, by the title of the object."""
    schema = model.model_json_schema(mode="serialization")
    objects = [schema, *schema.get("$defs", {}).values()]
    return {one["title"]: set(one.get("properties", {})) - {"type"} for one in objects if "properties" in one}


@pytest.mark.parametrize(("theirs", "ours"), PAIRS, ids=lambda model: model.__name__)
def test_every_field_of_an_answer_has_a_type(theirs: type[BaseModel], ours: type[BaseModel]) -> None:
    declared, known = fields_of(theirs), set().union(*fields_of(ours).values())
    assert declared
    assert not set().union(*declared.values()) - known


@pytest.mark.parametrize("kind", [texts.TokenEvent, streamed.StreamToken])
def test_the_end_of_a_text_adds_nothing_to_it(kind: type[texts.TokenEvent | streamed.StreamToken]) -> None:
    """Special tokens are told by their names, which are not part of the text."""
    told = {"index": 1, "number": 1, "token": {"id": 5, "text": "ab", "logprob": -1.0, "special": False}}
    assert kind.model_validate(told).text == "ab"
    end = {"id": 3, "text": "<eos>", "logprob": -1.0, "special": True}
    assert kind.model_validate(told | {"token": end}).text == ""


def test_every_task_has_predictions_of_a_type() -> None:
    assert set(predictions.PREDICTIONS) == set(tasks_of_route("predict"))


def test_every_parameter_is_a_keyword_argument() -> None:
    known = set(parameters.GenerationParameters.__annotations__)
    assert known == set(GenerationParameters.model_fields) - LEFT_OUT
    of_tasks = set().union(*(task.parameters_type.model_fields for task in tasks_of_route("predict").values()))
    assert set(parameters.PredictParameters.__annotations__) == of_tasks


def test_the_client_has_types_for_those_who_install_it() -> None:
    assert (Path(parameters.__file__).parent / "py.typed").is_file()


def test_both_clients_have_the_same_methods() -> None:
    from service.client import AsyncClient, Client

    names = {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    assert names == {name for name in vars(AsyncClient) if not name.startswith("_")} - {"aclose"}

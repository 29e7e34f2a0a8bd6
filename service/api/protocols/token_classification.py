"""Words of an answer in the shape of Hugging Face's token classification: tags, or groups of them; and trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import Field

from service.tasks.core.task import Parameters
from service.tasks.inputs.json_input import JsonInput

_OUTSIDE = "O"


class TokenClassificationPipeline(Parameters):
    """Parameters of token classification. Tokens are words here, so that all ways to join their parts are the same."""

    aggregation_strategy: Literal["none", "simple", "first", "average", "max"] | None = None
    ignore_labels: Annotated[list[str], Field(fail_fast=True)] | None = None
    stride: int | None = Field(default=None, ge=0)


class ParsingPipeline(Parameters):
    """Parameters of dependency parsing, which that pipeline has no form of: words of a tree are not grouped."""

    aggregation_strategy: Literal["none"] | None = None
    stride: int | None = Field(default=None, ge=0)


def entities(answer: dict[str, Any], parameters: TokenClassificationPipeline, item: JsonInput) -> list[dict[str, Any]]:
    """Words with their tags, or groups of them with their labels, but for those that are ignored."""
    ignored = {_OUTSIDE} if parameters.ignore_labels is None else {*parameters.ignore_labels}
    tokens: list[dict[str, Any]] = answer["tokens"]
    if parameters.aggregation_strategy == "none":
        return [
            {"entity": token["tag"], "score": token["score"], "index": number, **_place(token["text"], [token])}
            for number, token in enumerate(tokens, start=1)
            if token["tag"] not in ignored
        ]
    groups = groupby(range(len(tokens)), key=_group_labels(answer).__getitem__)
    return [
        _group(label, tokens[members[0] : members[-1] + 1], item)
        for (label, _), members in ((key, list(indices)) for key, indices in groups)
        if label not in ignored
    ]


def parsed_words(answer: dict[str, Any], _: ParsingPipeline, __: JsonInput) -> list[dict[str, Any]]:
    """Every word with its tag as that pipeline gives it, and its relation and head: an `index`, or 0 for the root."""
    return [
        {
            "entity": token["tag"],
            "score": token["score"],
            "index": number,
            **_place(token["text"], [token]),
            "head": 0 if token["head"] is None else token["head"] + 1,
            "relation": token["relation"],
        }
        for number, token in enumerate(answer["tokens"], start=1)
    ]


def _group_labels(answer: Mapping[str, Any]) -> list[tuple[str, int]]:
    """For each word the label of its group and the number of its span: neighbours with the same belong together.

    Words outside of spans form groups too, and so do neighbours with the same tag where tags form no spans.
    """
    spans = answer.get("spans")
    if spans is None:
        return [(token["tag"], 0) for token in answer["tokens"]]
    labels = [(_OUTSIDE, -1)] * len(answer["tokens"])
    for number, span in enumerate(spans):
        for index in range(span["first_token"], span["end_token"]):
            labels[index] = (span["label"], number)
    return labels


def _group(label: str, members: Sequence[Mapping[str, Any]], item: JsonInput) -> dict[str, Any]:
    score = sum(token["score"] for token in members) / len(members)
    start, end = members[0]["start"], members[-1]["end"]
    word = item[start:end] if isinstance(item, str) else " ".join(token["text"] for token in members)
    return {"entity_group": label, "score": score, **_place(word, members)}


def _place(word: str, members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"word": word, "start": members[0]["start"], "end": members[-1]["end"]}

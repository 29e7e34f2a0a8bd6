"""Answers as columns: which columns a model adds to a table, their types, and their cells."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from service.bundle.manifest import Manifest
from service.errors import InvalidInput
from service.offline.answering.row_answers import RowAnswer
from service.offline.row_values import require_columns
from service.tasks.parsing.conllu import answer_conllu
from service.tasks.tensors.model_form import ModelForm

#: The column with the reason why a row has no answer, null for the others.
ERROR = "error"

#: The column with a sentence as CoNLL-U, of tasks whose answers have words.
CONLLU = "conllu"

#: Of the cells of a column; every cell may be null. `rows` are lists of lists of numbers, `json` is JSON as a text.
CellType = Literal["text", "number", "integer", "texts", "numbers", "integers", "rows", "spans", "labels", "json"]


class AnswerColumn(NamedTuple):
    """A column that a model adds, and how its cell is made from an answer; an unusual one is there only if chosen."""

    name: str
    type: CellType
    cell: Callable[[dict[str, Any]], Any]
    is_usual: bool = True


def answer_columns(
    manifest: Manifest, parameters: Mapping[str, Any], chosen: Sequence[str] | None = None
) -> tuple[AnswerColumn, ...]:
    """The columns of a model's answers with these parameters: the usual ones, or those that are chosen by name.

    Raises:
        MissingColumn: a chosen one does not exist; with the nearest and all names.
    """
    found = _COLUMNS[manifest.task](manifest, parameters)
    if parameters.get("return_hidden"):
        found = [*found, _plain("hidden", "numbers")]
    if chosen is None:
        return tuple(column for column in found if column.is_usual)
    if ERROR in chosen:
        raise InvalidInput(f"the column {ERROR!r} is always there, and need not be chosen", ("output_columns",))
    by_name = {column.name: column for column in found}
    require_columns(list(by_name), chosen)
    return tuple(by_name[name] for name in dict.fromkeys(chosen))


def added_names(columns: Sequence[str], taken: Sequence[str], prefix: str = "") -> list[str]:
    """The names under which columns are added to a table that has the columns `taken`.

    `prefix` is put before each; a name that is taken even so gets `predicted_` before it, as often as it takes.
    """
    there, names = set(taken), []
    for column in columns:
        name = prefix + column
        while name in there:
            name = f"predicted_{name}"
        there.add(name)
        names.append(name)
    return names


def cells_of(columns: Sequence[AnswerColumn], rows: Sequence[RowAnswer]) -> list[list[Any]]:
    """The cells of each column, and those of the column of errors as the last."""
    cells = [[None if row.answer is None else column.cell(row.answer) for row in rows] for column in columns]
    return [*cells, [row.error for row in rows]]


def _plain(name: str, kind: CellType, is_usual: bool = True) -> AnswerColumn:
    """A field of the answer as it is; null where an answer lacks it."""
    return AnswerColumn(name, kind, lambda answer: answer.get(name), is_usual)


def _as_json(name: str, is_usual: bool = True) -> AnswerColumn:
    return AnswerColumn(name, "json", lambda answer: _json(answer.get(name)), is_usual)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _classification(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    del manifest
    found = [_plain("label", "text"), _plain("score", "number")]
    return [*found, _plain("top_k", "labels")] if parameters.get("top_k") else found


def _part_of_tokens(part: str, answer: dict[str, Any]) -> list[Any]:
    return [token[part] for token in answer["tokens"]]


def _places(part: str, answer: dict[str, Any]) -> list[Any] | None:
    """Null where the input came as words, which have no places."""
    found = _part_of_tokens(part, answer)
    return None if None in found else found


def _conllu(answer: dict[str, Any]) -> str:
    """Without ids of sentences, which would begin anew with every row."""
    return answer_conllu(answer, is_numbered=False)


def _words() -> list[AnswerColumn]:
    """Words and tags. CoNLL-U is written from them."""
    return [
        AnswerColumn("words", "texts", partial(_part_of_tokens, "text")),
        AnswerColumn("tags", "texts", partial(_part_of_tokens, "tag")),
        AnswerColumn("scores", "numbers", partial(_part_of_tokens, "score")),
        AnswerColumn("starts", "integers", partial(_places, "start"), is_usual=False),
        AnswerColumn("ends", "integers", partial(_places, "end"), is_usual=False),
        AnswerColumn(CONLLU, "text", _conllu, is_usual=False),
    ]


def _tagging(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    del parameters
    found = _words()
    if getattr(manifest.options, "scheme", None) is not None:
        found.append(_plain("spans", "spans"))
    if manifest.text_labels:
        found += [_plain("label", "text"), _plain("label_score", "number")]
    return found


def _heads(answer: dict[str, Any]) -> list[int]:
    """The number of each word's head, from 1, and 0 for the root, as in CoNLL-U."""
    return [0 if token["head"] is None else token["head"] + 1 for token in answer["tokens"]]


def _sentence_lengths(answer: dict[str, Any]) -> list[int]:
    """How many words each sentence has; a list of words is one."""
    sentences = answer.get("sentences")
    return [len(answer["tokens"])] if sentences is None else [sentence["num_tokens"] for sentence in sentences]


def _parsing(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    del parameters
    found = [
        *_words(),
        AnswerColumn("heads", "integers", _heads),
        AnswerColumn("relations", "texts", partial(_part_of_tokens, "relation")),
        AnswerColumn("head_scores", "numbers", partial(_part_of_tokens, "head_score")),
        AnswerColumn("relation_scores", "numbers", partial(_part_of_tokens, "relation_score"), is_usual=False),
    ]
    if getattr(manifest.options, "features", ()):
        found.append(AnswerColumn("features", "texts", partial(_part_of_tokens, "features")))
    if getattr(manifest.options, "lemmatizer", None) is not None:
        found.append(AnswerColumn("lemmas", "texts", partial(_part_of_tokens, "lemma")))
    if getattr(manifest.options, "segmenter", None) is not None:
        found.append(AnswerColumn("sentence_lengths", "integers", _sentence_lengths))
        found.append(_as_json("multiword_tokens", is_usual=False))
    return found


def _seq2seq(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    found = [_plain("text", "text")]
    if parameters.get("return_score", True):
        found.append(_plain("score", "number"))
    if getattr(manifest.options, "copying", False):
        found.append(_as_json("copied", is_usual=False))
    return [*found, _as_json("attention")] if parameters.get("return_attention") else found


def _video(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    found = _seq2seq(manifest, parameters)
    for name in ("action", "next_action"):
        found.append(AnswerColumn(name, "text", partial(_of_action, name, "label")))
        found.append(AnswerColumn(f"{name}_score", "number", partial(_of_action, name, "score")))
    return [*found, _as_json("moments")] if parameters.get("return_moments") else found


def _of_action(name: str, key: str, answer: dict[str, Any]) -> Any:
    return answer[name][key]


def _transcription(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    del manifest
    found = [_plain("text", "text"), _plain("confidence", "number")]
    found += [_plain("start_s", "number", is_usual=False), _plain("end_s", "number", is_usual=False)]
    if parameters.get("words"):
        found.append(_as_json("words"))
    return [*found, _as_json("keywords")] if parameters.get("keywords") else found


#: Types of cells by the axes of an output, of whole numbers and of others; more axes are JSON.
_WHOLE: Sequence[CellType] = ("integer", "integers")
_REAL: Sequence[CellType] = ("number", "numbers", "rows")


def _tensors(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    """A column for each output."""
    form, found = ModelForm(manifest), []
    for name in form.require_outputs(parameters.get("outputs")):
        types = _REAL if form.is_real[name] else _WHOLE
        num_axes = len(form.outputs[name])
        kind: CellType = types[num_axes] if num_axes < len(types) else "json"
        found.append(AnswerColumn(name, kind, partial(_output, name, kind == "json")))
    return found


def _output(name: str, is_json: bool, answer: dict[str, Any]) -> Any:
    value = answer["outputs"][name]
    return _json(value) if is_json else value


def _forecasting(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    del parameters
    found = [_plain("forecast", "rows"), _plain("times", "texts"), _plain("channels", "texts", is_usual=False)]
    return [*found, _as_json("quantiles")] if getattr(manifest.options, "quantiles", ()) else found


_DETAILS: Mapping[str, CellType] = {
    "finish_reason": "text",
    "generated_tokens": "integer",
    "seed": "integer",
    "perplexity": "number",
    "bits_per_character": "number",
}
_OF_PROMPTS = ("perplexity", "bits_per_character")


def _generation(manifest: Manifest, parameters: Mapping[str, Any]) -> list[AnswerColumn]:
    del manifest
    found = [_plain("generated_text", "text")]
    if not parameters.get("details"):
        return found
    of_prompts = bool(parameters.get("decoder_input_details"))
    for name, kind in _DETAILS.items():
        if of_prompts or name not in _OF_PROMPTS:
            found.append(AnswerColumn(name, kind, partial(_detail, name)))
    return [*found, AnswerColumn("details", "json", lambda answer: _json(answer["details"]), is_usual=False)]


def _detail(name: str, answer: dict[str, Any]) -> Any:
    return answer["details"].get(name)


_COLUMNS: Mapping[str, Callable[[Manifest, Mapping[str, Any]], list[AnswerColumn]]] = {
    "classification": _classification,
    "tagging": _tagging,
    "parsing": _parsing,
    "translation": _seq2seq,
    "captioning": _seq2seq,
    "video": _video,
    "forecasting": _forecasting,
    "transcription": _transcription,
    "tensors": _tensors,
    "generation": _generation,
}

"""Vocabularies of other frameworks as tokenizers of bundles, and the table from the ids of one to those of the other.

A bundle's vocabulary begins with `<pad> <unk> <bos> <eos>`. A foreign one numbers its tokens as it likes; the graph of
an imported model looks the foreign ids up in a table. Read are: `tokenizer.json` of the tokenizers library, lists of
words (`vocab.txt`, one a line, or JSON), dictionaries of words (JSON, as torchtext's `get_stoi()` and Keras's
`word_index`), and Keras's `Tokenizer.to_json()`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from service.bundle.padding import IntArray
from service.bundle.tokenizer import SPECIAL_TOKENS, TextTokenizer
from training.config.recipe import TokenizerConfig
from training.importing.graph.source import ImportRefused
from training.preprocessing.vocabulary import word_tokenizer

Cut = Literal["english", "french", "portuguese", "whitespace"]

_MAX_FILE_BYTES = 256 * 1024 * 1024
_MAX_TOKENS = 5_000_000
#: How frameworks spell the special tokens, in the order of a bundle's.
_SPELLINGS = (
    ("<pad>", "[PAD]", "<PAD>", "[pad]", "PAD", "_PAD_", ""),
    ("<unk>", "[UNK]", "<UNK>", "[unk]", "UNK", "_UNK_", "<oov>", "<OOV>", "[OOV]", "OOV", "</unk>"),
    ("<bos>", "<s>", "<sos>", "[CLS]", "[BOS]", "<BOS>"),
    ("<eos>", "</s>", "[SEP]", "[EOS]", "<EOS>"),
)
_PAD, _UNK = 0, 1


@dataclass(frozen=True)
class ForeignVocabulary:
    """A tokenizer in the form of bundles. `ids[n]` is the foreign id of its token n."""

    tokenizer: TextTokenizer
    ids: IntArray
    notes: tuple[str, ...] = ()


def read_vocabulary(file: Path, num_ids: int | None, unknown: str = "", cut: Cut = "whitespace") -> ForeignVocabulary:
    """Read a vocabulary.

    Args:
        num_ids: rows of the embedding that its ids index; None if that is not known.
        unknown: the token that stands for words outside of it, where it has an unusual name.
        cut: where raw text is cut into words, for files that do not say so.

    Raises:
        ImportRefused: the file is no vocabulary, has no token for unknown words, or an id that the model has not.
    """
    content = _content(file)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        found = _of_tokenizers(content, unknown, file)
    else:
        found = _of_words(_numbered(content, file), unknown, cut, file)
    highest = int(found.ids.max())
    if num_ids is not None and highest >= num_ids:
        raise ImportRefused(f"{file} has the id {highest}, the model's embedding has rows for 0 to {num_ids - 1}")
    return found


def _content(file: Path) -> Any:
    """A list or an object of JSON; the lines of another file."""
    if not file.is_file():
        raise ImportRefused(f"there is no file {file}")
    if file.stat().st_size > _MAX_FILE_BYTES:
        raise ImportRefused(f"{file} is larger than {_MAX_FILE_BYTES:,} bytes")
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() != ".json":
            return text.removesuffix("\n").split("\n")
        content = json.loads(text)
        config = content.get("config") if isinstance(content, dict) else None
        if isinstance(config, dict) and isinstance(config.get("word_index"), str):
            return json.loads(config["word_index"])
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{file} is no vocabulary: it is neither JSON nor text in UTF-8") from error
    return content


def _numbered(content: Any, file: Path) -> dict[str, int]:
    """Words with their ids. Raises ImportRefused for another form."""
    if isinstance(content, list) and all(isinstance(word, str) for word in content):
        pairs = {word.rstrip("\r"): number for number, word in reversed(list(enumerate(content)))}
    elif isinstance(content, dict) and all(_is_id(number) for number in content.values()):
        pairs = dict(content)
    else:
        raise ImportRefused(f"{file} is no vocabulary: a list of words, or an object from words to whole numbers")
    if not 0 < len(pairs) <= _MAX_TOKENS:
        raise ImportRefused(f"{file} has {len(pairs):,} words; 1 to {_MAX_TOKENS:,} are read")
    return pairs


def _is_id(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**31


def _of_words(ids: Mapping[str, int], unknown: str, cut: Cut, file: Path) -> ForeignVocabulary:
    specials = _specials(ids, unknown, file)
    words = _others(ids, specials)
    keeps_case = any(word != word.lower() for word in words)
    config = TokenizerConfig(cut=cut, lowercase=not keeps_case, zero_digits=False)
    table = [*_ids_of(specials, ids), *(ids[word] for word in words)]
    note = f"texts are cut at {'white space' if cut == 'whitespace' else f'{cut} words'}"
    case = "and keep their case" if keeps_case else "and read in lower case, as all words of the vocabulary are"
    return ForeignVocabulary(TextTokenizer(word_tokenizer(words, config)), _table(table), (f"{note} {case}",))


def _specials(ids: Mapping[str, int], unknown: str, file: Path) -> list[str | None]:
    """The foreign spelling of each special token; None for one that there is not."""
    if unknown and unknown not in ids:
        raise ImportRefused(f"{file} has no token {unknown!r}")
    found: list[str | None] = [next((name for name in names if name in ids), None) for names in _SPELLINGS]
    found[_UNK] = unknown or found[_UNK]
    if found[_UNK] is None:
        raise ImportRefused(f"{file} names no token for unknown words: name it with --unknown TOKEN")
    return found


def _ids_of(specials: list[str | None], ids: Mapping[str, int]) -> list[int]:
    """Foreign ids of the special tokens. Padding without one is masked; what is never produced is unknown."""
    unknown = specials[_UNK]
    assert unknown is not None
    return [0 if place == _PAD and name is None else ids[name or unknown] for place, name in enumerate(specials)]


def _others(ids: Mapping[str, int], specials: Iterable[str | None]) -> list[str]:
    """The other tokens by id. One that is spelt as a special token of bundles cannot be told from it."""
    left_out = {*specials, *SPECIAL_TOKENS}
    return [word for word, _ in sorted(ids.items(), key=lambda pair: pair[1]) if word not in left_out]


def _table(ids: list[int]) -> IntArray:
    return np.array(ids, dtype=np.int64)


def _of_tokenizers(form: dict[str, Any], unknown: str, file: Path) -> ForeignVocabulary:
    """A file of the tokenizers library, with its own rules of normalising and cutting, numbered anew."""
    model, kind = form["model"], form["model"].get("type", "BPE")
    try:
        ids = _ids_of_model(model, kind) | {token["content"]: token["id"] for token in form.get("added_tokens", [])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ImportRefused(f"{file} is no file of the tokenizers library: its tokens have no ids") from error
    own = model.get("unk_token") or ""
    if not all(_is_id(number) for number in ids.values()) or not isinstance(own, str):
        raise ImportRefused(f"{file} is no file of the tokenizers library: ids are whole numbers from 0, tokens texts")
    specials = _specials(ids, unknown or own, file)
    words = _others(ids, specials)
    added = [token for token in form.get("added_tokens", []) if not token["special"] and token["content"] in words]
    numbers = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *words])}
    form = {**form, "post_processor": None, "truncation": None, "padding": None}
    form["added_tokens"] = [{**token, "id": numbers[token["content"]]} for token in added]
    form["model"] = _renumbered(model, kind, numbers)
    try:
        tokenizer = TextTokenizer(Tokenizer.from_str(json.dumps(form)))
    except Exception as error:  # the library raises bare Exception for what it cannot use
        raise ImportRefused(f"{file} is no tokenizer that can be numbered anew: {error}") from error
    return ForeignVocabulary(tokenizer, _table([*_ids_of(specials, ids), *(ids[word] for word in words)]))


def _ids_of_model(model: Mapping[str, Any], kind: str) -> dict[str, int]:
    if kind == "Unigram":
        return {token: number for number, (token, _) in enumerate(model["vocab"])}
    return {str(token): number for token, number in model["vocab"].items()}


def _renumbered(model: Mapping[str, Any], kind: str, numbers: dict[str, int]) -> dict[str, Any]:
    if kind != "Unigram":
        return {**model, "vocab": numbers, "unk_token": SPECIAL_TOKENS[_UNK]}
    scores = dict(model["vocab"])
    least = min(scores.values())
    return {**model, "vocab": [[token, scores.get(token, least - 10.0)] for token in numbers], "unk_id": _UNK}

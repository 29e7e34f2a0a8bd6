"""Cuts of a text in pieces: only where the tokenizer of the bundle splits at white space."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from service.api.streaming.pieces.text_pieces import TextPieces
from service.bundle.load import Bundle, load_bundle
from service.bundle.tokenizer import SPECIAL_TOKENS, TextTokenizer
from service.errors import InvalidInput

PRE_TOKENIZERS = {
    "words and punctuation": pre_tokenizers.Whitespace(),
    "white space": pre_tokenizers.WhitespaceSplit(),
    "Metaspace": pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()]),
    "bytes": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "characters": pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated"),
    "letters alone": pre_tokenizers.Split(Regex(r"[a-z]+(-[a-z]+)*"), behavior="removed", invert=True),
}
TEXT = "It's 3.14,\tor  so -- don't\nask\u00a0why.  \u00dcber\u2003alles\x1cgut foo- bar-baz "


@pytest.fixture
def bundle(stream_models: Path) -> Bundle:
    return load_bundle(stream_models / "tiny-classifier-chunks" / "1")


def with_tokenizer(bundle: Bundle, name: str) -> TextTokenizer:
    tokenizer = Tokenizer(models.WordLevel(dict(zip(SPECIAL_TOKENS, range(4), strict=True)), unk_token="<unk>"))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]
    bundle.tokenizers["text"] = TextTokenizer(tokenizer)
    return bundle.tokenizers["text"]


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_the_words_of_the_parts_are_those_of_the_whole(bundle: Bundle, name: str, size: int) -> None:
    tokenizer = with_tokenizer(bundle, name)
    pieces = TextPieces(bundle, "codepoints")
    parts = [pieces.add(TEXT[start : start + size]) for start in range(0, len(TEXT), size)] + [pieces.rest()]
    found = [
        (piece.text, part.start + piece.start, part.start + piece.end)
        for part in parts
        if part is not None
        for piece in tokenizer.pieces(part.text)
    ]
    assert found == [tuple(piece) for piece in tokenizer.pieces(TEXT)]


def test_a_word_is_held_only_so_far(bundle: Bundle) -> None:
    """Where the model itself would take more."""
    limits = bundle.manifest.limits.model_copy(update={"max_input_tokens": 1000})
    object.__setattr__(bundle, "manifest", bundle.manifest.model_copy(update={"limits": limits}))
    pieces = TextPieces(bundle, "codepoints")
    assert pieces.add("x" * 2000) is None
    with pytest.raises(InvalidInput, match="flush"):
        pieces.add("x")
    assert pieces.add("", flush=True) is not None

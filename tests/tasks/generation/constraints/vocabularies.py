"""Vocabularies for constraints: tokens of several characters, parts of characters, spaces before words."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from service.bundle.tokenizer import TextTokenizer
from tests.tasks.builders import vocabulary


def fused(tokens: Sequence[str]) -> TextTokenizer:
    """Tokens of any length, whose texts follow each other without anything between."""
    tokenizer = Tokenizer(models.WordLevel(vocabulary(tokens), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return TextTokenizer(tokenizer)


def spaced(tokens: Sequence[str]) -> TextTokenizer:
    """Subwords: a token that begins with the sign for a space begins a word."""
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary(tokens), merges=[], unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return TextTokenizer(tokenizer)


def with_byte_fallback(tokens: Sequence[str]) -> TextTokenizer:
    """Tokens, and one for each byte."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary([*tokens, *names]), merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return TextTokenizer(tokenizer)

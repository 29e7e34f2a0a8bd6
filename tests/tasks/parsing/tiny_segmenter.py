"""A segmenter that cuts by rules instead of a network, so that a test knows what it would say."""

from __future__ import annotations

from collections.abc import Mapping
from string import printable

import numpy as np

from service.bundle.load import Bundle
from service.bundle.task_options import SegmenterOptions
from service.tasks.core.task import Array
from service.tasks.parsing.segmenter import INSIDE, SEGMENTER, SENTENCE_END, TOKEN_END, CutSentence, RawText, Segmenter
from tests.tasks.builders import FunctionRunner, character_tokenizer, parsing_bundle

ALPHABET = "".join(sorted(set(printable) - set("\t\r\v\f")))
TOKENIZER = character_tokenizer(ALPHABET)
_LETTERS = {TOKENIZER.token_id(letter) for letter in ALPHABET if letter.isalnum() or letter in "'-@/"}
_STOP = TOKENIZER.token_id(".")
#: Small windows, so that short texts need several.
WINDOW, MARGIN = 32, 8


def by_rules(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """A token ends before a sign or a blank, and a sentence at a full stop; every window begins with nonsense."""
    ids = feeds["characters"]
    logits = np.zeros((*ids.shape, 3), dtype=np.float32)
    for row, length in enumerate(feeds["lengths"]):
        for place in range(length):
            is_letter = int(ids[row, place]) in _LETTERS
            goes_on = is_letter and place + 1 < length and int(ids[row, place + 1]) in _LETTERS
            kind = SENTENCE_END if ids[row, place] == _STOP else INSIDE if goes_on else TOKEN_END
            logits[row, place, kind] = 9.0
    return {"boundary_logits": logits}


def never_ending(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every character is inside a token."""
    logits = np.zeros((*feeds["characters"].shape, 3), dtype=np.float32)
    logits[:, :, INSIDE] = 9.0
    return {"boundary_logits": logits}


def segmenter_bundle(options: SegmenterOptions | None = None, words: int = 64) -> Bundle:
    """A parser of one relation that cuts text by `by_rules`."""
    made = options or SegmenterOptions(window=WINDOW, margin=MARGIN)
    bundle = parsing_bundle(("a",), ("NOUN",), ("root",), segmenter=made)
    limits = bundle.manifest.limits.model_copy(update={"max_input_tokens": words})
    object.__setattr__(bundle, "manifest", bundle.manifest.model_copy(update={"limits": limits}))
    bundle.tokenizers[SEGMENTER] = TOKENIZER
    return bundle


def cut(
    text: str, options: SegmenterOptions | None = None, words: int = 64, graph: object = by_rules
) -> list[CutSentence]:
    """The sentences of a text."""
    bundle = segmenter_bundle(options, words)
    segmenter = Segmenter(bundle, bundle.manifest.options.segmenter)  # type: ignore[union-attr, arg-type]
    runner = FunctionRunner(**{SEGMENTER: graph})  # type: ignore[arg-type]
    raw: RawText = segmenter.read(text)
    (found,) = segmenter.cut(runner, [raw])
    assert found is not None
    return found

"""Builds the corpora: random inputs, each with the bundle's answer for that input alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from service.bundle.tokenizer import EOS
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.tasks.generation.recorded_form import GenerationAnswer
from service.tasks.seq2seq.translation import TranslationAnswer
from tests.load.places import CORPORA, GENERATOR, TAGGER, TRANSLATOR, bundle
from tests.load.workload.corpus import (
    CHARACTERS,
    FEW_NEW_TOKENS,
    LEAST_NEW_TOKENS,
    LEAST_OF_MIXED,
    MAX_LENGTH,
    MAX_NEW_TOKENS,
    MEAN_LENGTH,
    MOST_OF_MIXED,
    NUM_PROMPTS,
    NUM_SENTENCES,
    NUM_SOURCES,
    NUM_SPECIAL_TOKENS,
    NUM_STEPS,
    NUM_TRANSLATION_WORDS,
    NUM_WORDS,
    SIGMA,
    SOURCE_WORDS,
    Item,
)

#: Below this margin the best label may change with rounding in another batch shape, so the answer is undefined.
_LEAST_MARGIN = 1e-4


def build_corpora(names: Iterable[str] | None = None) -> None:
    """Write the missing corpora, all or those of these names."""
    CORPORA.mkdir(parents=True, exist_ok=True)
    for name in BUILDERS if names is None else names:
        file = CORPORA / f"{name}.json"
        if not file.is_file():
            partial = Path(f"{file}.partial")
            partial.write_text(json.dumps(BUILDERS[name]()), encoding="utf-8")
            partial.rename(file)


def sentence_lengths(number: int, rng: np.random.Generator) -> list[int]:
    """Return log-normal lengths with the given mean, like sentences: most are short, a few are six times as long."""
    drawn = rng.lognormal(np.log(MEAN_LENGTH) - SIGMA**2 / 2, SIGMA, number)
    return [int(length) for length in np.clip(np.round(drawn), 1, MAX_LENGTH)]


def _sentences() -> list[Item]:
    rng = np.random.default_rng(12345)
    return _tagged(sentence_lengths(NUM_SENTENCES, rng), rng)


def _sentences_of_mixed_lengths() -> list[Item]:
    """Return sentences whose lengths are log-uniform, from 3 to 128 words."""
    rng = np.random.default_rng(31)
    drawn = rng.uniform(np.log(LEAST_OF_MIXED), np.log(MOST_OF_MIXED), NUM_SENTENCES // 2)
    return _tagged([int(length) for length in np.round(np.exp(drawn))], rng)


def _sentences_of_one_length() -> list[Item]:
    return _tagged([MEAN_LENGTH] * 500, np.random.default_rng(54321))


def _tagged(lengths: list[int], rng: np.random.Generator) -> list[Item]:
    opened = _open(TAGGER)
    items = []
    for length in lengths:
        item = None
        while item is None:
            item = _tag([f"w{number}" for number in rng.integers(0, NUM_WORDS - NUM_SPECIAL_TOKENS, length)], opened)
        items.append(item)
    return items


def _tag(words: list[str], opened: OpenBundle) -> Item | None:
    """Return an item, or None if two labels are nearly equal."""
    ids = opened.bundle.tokenizers["words"].encode_words(words)
    feeds = {"words": np.array([ids], dtype=np.int64), "lengths": np.array([len(ids)], dtype=np.int64)}
    emissions = opened.runner.run("tagger", feeds)["emissions"][0]
    second, best = np.sort(emissions, axis=1)[:, -2:].T
    if (best - second).min() < _LEAST_MARGIN:
        return None
    return {"words": words, "ids": ids, "labels": emissions.argmax(axis=1).tolist(), "tokens": len(words)}


def _prompts() -> list[Item]:
    """Return prompts that are all continued by the same number of tokens."""
    return [_shortened(item, FEW_NEW_TOKENS) for item in _continued_prompts()]


def _prompts_of_mixed_lengths() -> list[Item]:
    """Return prompts whose continuations have log-uniform lengths: most are short, a few are long."""
    drawn = np.random.default_rng(7).uniform(np.log(LEAST_NEW_TOKENS), np.log(MAX_NEW_TOKENS), NUM_PROMPTS)
    numbers = np.round(np.exp(drawn)).astype(int)
    return [_shortened(item, int(number)) for item, number in zip(_continued_prompts(), numbers, strict=True)]


def _shortened(item: Item, number: int) -> Item:
    """Truncate greedy text: the first tokens of a long continuation equal a short one."""
    return {**item, "answer": item["answer"][:number], "answer_ids": item["answer_ids"][:number], "tokens": number}


def _continued_prompts() -> list[Item]:
    opened, rng = _open(GENERATOR), np.random.default_rng(99)
    return [_continued(opened, "".join(rng.choice(list(CHARACTERS), rng.integers(2, 5)))) for _ in range(NUM_PROMPTS)]


def _continued(opened: OpenBundle, prompt: str) -> Item:
    found = answer_one(opened, prompt, {"max_new_tokens": MAX_NEW_TOKENS})
    assert isinstance(found, GenerationAnswer)
    tokenizer = opened.bundle.tokenizers["text"]
    answer_ids = _all_of(tokenizer.encode(found.generated_text), MAX_NEW_TOKENS)
    return {
        "prompt": prompt,
        "ids": tokenizer.encode(prompt),
        "answer": found.generated_text,
        "answer_ids": answer_ids,
    }


def _sources() -> list[Item]:
    opened, rng = _open(TRANSLATOR), np.random.default_rng(11)
    drawn = rng.integers(0, NUM_TRANSLATION_WORDS - NUM_SPECIAL_TOKENS, (NUM_SOURCES, SOURCE_WORDS))
    return [_translated(opened, " ".join(f"w{number}" for number in row)) for row in drawn]


def _translated(opened: OpenBundle, text: str) -> Item:
    found = answer_one(opened, text, {"num_beams": 1, "max_new_tokens": NUM_STEPS})
    assert isinstance(found, TranslationAnswer)
    tokenizers = opened.bundle.tokenizers
    return {
        "text": text,
        "ids": [*tokenizers["source"].encode(text), EOS],
        "answer": found.text,
        "answer_ids": _all_of(tokenizers["target"].encode(found.text), NUM_STEPS),
        "tokens": NUM_STEPS,
    }


def _all_of(answer_ids: list[int], number: int) -> list[int]:
    """Raises RuntimeError for an answer that ended early: the end token must be improbable."""
    if len(answer_ids) != number:
        raise RuntimeError(f"an answer has {len(answer_ids)} tokens instead of {number}")
    return answer_ids


def _open(name: str) -> OpenBundle:
    return open_bundle(bundle(name), "cpu", threads=1, precision="fp32")


#: Corpus -> its builder.
BUILDERS: dict[str, Callable[[], list[Item]]] = {
    "sentences": _sentences,
    "sentences-20": _sentences_of_one_length,
    "sentences-mixed": _sentences_of_mixed_lengths,
    "prompts": _prompts,
    "prompts-mixed": _prompts_of_mixed_lengths,
    "sources": _sources,
}

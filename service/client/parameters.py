"""Parameters of requests, as keyword arguments: names, units and limits are those of the HTTP API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict


class PredictParameters(TypedDict, total=False):
    """Of `predict`. Which of them a model takes depends on its task; others are refused with InvalidInput."""

    outputs: Sequence[str]  # named arrays: the outputs to return
    top_k: int  # classification: also list this many of the most likely labels
    offsets: Literal["codepoints", "utf16", "bytes"]  # tagging and parsing: the unit of `start`, `end`
    conllu: bool  # parsing: also the sentences as CoNLL-U
    segment: bool  # parsing: whether to cut a text into sentences; by default true where the model can
    return_hidden: bool  # tagging, parsing and classification: also the hidden state, as a vector
    normalize: bool  # scale that vector to length 1
    num_beams: int  # translation, captioning and video, as all below: 1 is greedy
    max_new_tokens: int
    length_penalty: float
    return_score: bool
    return_attention: bool
    constrained: bool  # translation: false also lets models with a grammar write what does not parse
    return_moments: bool  # video: also the actions after each frame
    words: bool  # transcription, as all below: also the words, with their times
    endpoint_ms: float
    language_model_weight: float
    vocabulary: Sequence[str]
    phrases: Sequence[str]
    phrase_boost: float
    keywords: Sequence[str]
    keyword_threshold: float


class GenerationParameters(TypedDict, total=False):
    """Of `generate` and `generate_stream`. Without any the text is sampled; with any it is greedy by default."""

    max_new_tokens: int
    do_sample: bool
    temperature: float
    top_k: int
    top_p: float
    typical_p: float
    seed: int
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    logit_bias: Mapping[str, float]
    choices: Sequence[str]
    regex: str
    bad_words: Sequence[str]
    stop: Sequence[str]
    truncate: int
    return_full_text: bool
    details: bool
    decoder_input_details: bool
    top_n_tokens: int
    best_of: int

"""Answers of the service as typed values. They cannot be changed; fields that this version does not know are kept.

What a newer service adds is in `model_extra` of an answer, and an attribute of it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="allow", frozen=True, defer_build=True, protected_namespaces=())


class LabelScore(Answer):
    """A label and its probability, 0 to 1."""

    label: str
    score: float


class Classification(Answer):
    """The most likely label and its probability, 0 to 1; the best labels with the parameter `top_k`."""

    label: str
    score: float
    top_k: list[LabelScore] | None = None
    hidden: list[float] | None = None


class TaggedToken(Answer):
    """A word and its tag. `start` and `end` in the unit of `offsets`; None if the input came as words."""

    text: str
    tag: str
    score: float
    start: int | None = None
    end: int | None = None


class TaggedSpan(Answer):
    """Adjacent words that form a unit, such as a name: the tokens from `first_token` up to before `end_token`."""

    label: str
    text: str
    score: float
    start: int | None = None
    end: int | None = None
    first_token: int
    end_token: int


class Tagging(Answer):
    """Every word with its tag; `spans` if the tags form spans, `label` if the model labels texts too."""

    tokens: list[TaggedToken]
    spans: list[TaggedSpan] | None = None
    label: str | None = None
    label_score: float | None = None
    hidden: list[float] | None = None


class ParsedToken(Answer):
    """A word with its tag, head and relation. `head` is an index into `tokens`, None for the root of the sentence."""

    text: str
    tag: str
    score: float
    head: int | None = None
    relation: str
    head_score: float
    relation_score: float
    features: str | None = None
    lemma: str | None = None
    start: int | None = None
    end: int | None = None


class Parsing(Answer):
    """Every word with its head: a tree with one root. `conllu` with the parameter of that name."""

    tokens: list[ParsedToken]
    conllu: str | None = None
    hidden: list[float] | None = None


class Attention(Answer):
    """`weights[i][j]`: attention to source token j when target token i was chosen. Each row sums to 1."""

    source_tokens: list[str]
    target_tokens: list[str]
    weights: list[list[float]]


class CopiedWord(Answer):
    """A word or mark that was copied: `text[start:end]` is `input[source_start:source_end]`."""

    start: int
    end: int
    source_start: int
    source_end: int


class Translation(Answer):
    """The best translation; `score` is log-probability / ((5 + length) / 6) ** length_penalty, 0 is certain.

    `copied` only of models that copy words of their input.
    """

    text: str
    score: float | None = None
    attention: Attention | None = None
    copied: list[CopiedWord] | None = None


class PictureAttention(Answer):
    """`weights[i]`: attention to each of `rows` x `columns` places when token i was chosen, row by row."""

    tokens: list[str]
    rows: int
    columns: int
    weights: list[list[float]]


class Captioning(Answer):
    """The best caption, with `score` as in a translation."""

    text: str
    score: float | None = None
    attention: PictureAttention | None = None


class ScoredAction(Answer):
    """An action, and its probability."""

    label: str
    score: float


class ClipAttention(Answer):
    """`weights[i][j]`: attention to each of `rows` x `columns` places of frame j when token i was chosen."""

    tokens: list[str]
    rows: int
    columns: int
    weights: list[list[list[float]]]


class Moments(Answer):
    """The probability of each action after each frame that was read, in the order of `labels`."""

    labels: list[str]
    action: list[list[float]]
    next_action: list[list[float]]


class Video(Answer):
    """The best caption of a clip, with `score` as in a translation, the action and the one that comes next.

    `frames` are the numbers of the frames that were read, of `num_frames`.
    """

    text: str
    score: float | None = None
    action: ScoredAction
    next_action: ScoredAction
    num_frames: int
    frames: list[int]
    attention: ClipAttention | None = None
    moments: Moments | None = None


class Forecasting(Answer):
    """The steps after the last frame: `forecast[step][channel]`, `quantiles["0.9"][step][channel]`."""

    forecast: list[list[float]]
    channels: list[str]
    times: list[str] | None = None
    quantiles: dict[str, list[list[float]]] | None = None


class TranscribedWord(Answer):
    """A word, its place in the input in seconds, and the mean probability of its tokens, 0 to 1."""

    word: str
    start_s: float | None = None
    end_s: float | None = None
    confidence: float


class SpottedKeyword(Answer):
    """A keyword that was asked for, and where in the input it ends, in seconds."""

    keyword: str
    time_s: float | None = None
    confidence: float


class Transcript(Answer):
    """What was said; in a stream one utterance, which may go on and change while `is_final` is false."""

    text: str
    confidence: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    is_final: bool = True
    words: list[TranscribedWord] | None = None
    keywords: list[SpottedKeyword] | None = None


class OtherPrediction(Answer):
    """A prediction of a task that this version does not know: everything is in `model_extra`."""


AnyPrediction = (
    Classification | Tagging | Parsing | Translation | Captioning | Video | Forecasting | Transcript | OtherPrediction
)

#: What the predictions of each task are.
PREDICTIONS: Mapping[str, type[AnyPrediction]] = {
    "classification": Classification,
    "tagging": Tagging,
    "parsing": Parsing,
    "translation": Translation,
    "captioning": Captioning,
    "video": Video,
    "forecasting": Forecasting,
    "transcription": Transcript,
}

P = TypeVar("P", bound=Answer)


class StageTimings(Answer):
    """Duration of each stage in milliseconds, and the number of inputs that shared the run."""

    preprocess_ms: float
    queue_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float
    batch_size: int


class PredictResponse(Answer, Generic[P]):
    """One prediction for each input, in order; `state` if it was asked for."""

    model: str
    version: str
    task: str
    predictions: list[P]
    timings: StageTimings | None = None
    state: str | None = None

    @property
    def prediction(self) -> P:
        """The prediction of a request with one input. Raises ValueError where there are several."""
        if len(self.predictions) != 1:
            raise ValueError(f"there are {len(self.predictions)} predictions: take them from `predictions`")
        return self.predictions[0]


class PromptToken(Answer):
    """A token of the prompt; the first of a text has no log-probability, nothing came before it."""

    id: int
    text: str
    logprob: float | None = None


class Token(Answer):
    """A token of a text. `logprob` is natural; `special` is the end token, which is no part of the text."""

    id: int
    text: str
    logprob: float
    special: bool = False


class TextDetails(Answer):
    """How a text came about. `finish_reason`: length, eos_token, stop_sequence; `seed` is None if nothing was drawn."""

    finish_reason: str
    generated_tokens: int
    seed: int | None = None
    prefill: list[PromptToken] = []
    perplexity: float | None = None
    bits_per_character: float | None = None
    tokens: list[Token] = []
    top_tokens: list[list[Token]] | None = None


class OtherText(TextDetails):
    """A text that was made with `best_of` and is not the best."""

    generated_text: str


class GenerationDetails(TextDetails):
    """How a text came about, and with `best_of` the others, the better first."""

    best_of_sequences: list[OtherText] | None = None


class Continuation(Answer):
    """One text, with details and state if they were asked for."""

    generated_text: str
    details: GenerationDetails | None = None
    state: str | None = None


class GenerateResponse(Continuation):
    """The text; with `n` above 1 the first of `continuations`. Continue a session with `session` of the answer.

    `session_kept` is False if there was no room for the session: continue with `state`, which is then there.
    """

    continuations: list[Continuation] | None = None
    session: str | None = None
    session_kept: bool = True


class Embedding(Answer):
    """The hidden state of one input as a vector."""

    index: int
    embedding: list[float]


class Embeddings(Answer):
    """One vector for each input, in order."""

    model: str
    data: list[Embedding]

    @property
    def vectors(self) -> list[list[float]]:
        """Numbers `[inputs, width]`, for `numpy.array`."""
        return [each.embedding for each in self.data]


class TokenEvent(Answer):
    """One token of a streamed text; `index` counts from 1. The last has `generated_text`, and details on request."""

    index: int
    token: Token
    top_tokens: list[Token] | None = None
    generated_text: str | None = None
    details: GenerationDetails | None = None
    state: str | None = None
    tokens_left: int | None = None
    session: str | None = None
    session_kept: bool = True

    @property
    def text(self) -> str:
        """What the token adds to the text: nothing if it is special, as the end of a text is."""
        return "" if self.token.special else self.token.text


class TextScore(Answer):
    """How well a language model predicts a text: lower is better, None for a text of one token.

    `perplexity` is per token; `bits_per_character` compares models with different tokens.
    """

    perplexity: float | None = None
    bits_per_character: float | None = None
    tokens: list[PromptToken]


class TextToken(Answer):
    """A token of a text: `text[start:stop]`, in code points."""

    id: int
    text: str
    start: int
    stop: int

"""Answers of the service as typed values. They cannot be changed; fields that this version does not know are kept.

What a newer service adds is in `model_extra` of an answer, and an attribute of it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

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


class TextPart(Answer):
    """A sentence of a text that was cut; or, with its `text`, a token of several words, as "du" is "de" and "le"."""

    text: str | None = None
    start: int
    end: int
    first_token: int
    num_tokens: int


class Parsing(Answer):
    """Every word with its head: a tree with one root for each sentence. `conllu` with the parameter of that name.

    `sentences` and `multiword_tokens` of a text that the model cut.
    """

    tokens: list[ParsedToken]
    sentences: list[TextPart] | None = None
    multiword_tokens: list[TextPart] | None = None
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


class TensorsAnswer(Answer):
    """The outputs by name as nested lists, without a batch axis: `numpy.float32(answer.outputs["y"])` is an array."""

    outputs: dict[str, Any]


class OtherPrediction(Answer):
    """A prediction of a task that this version does not know: everything is in `model_extra`."""


AnyPrediction = (
    Classification
    | Tagging
    | Parsing
    | Translation
    | Captioning
    | Video
    | Forecasting
    | Transcript
    | TensorsAnswer
    | OtherPrediction
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
    "tensors": TensorsAnswer,
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

"""The interface of a task: all that data, preprocessing, fit, evaluation, export and pipeline ask of it.

A task is one object. Its first half, `EvaluationTask`, loads and scores records and needs no torch, so that
`unroll evaluate` starts without it; `TrainingTask` adds what training needs. Implementations are in
`training/evaluation/tasks/` and `training/tasks/`, each with a catalogue, the only place that lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from service.bundle.load import Bundle
from service.bundle.manifest import Manifest
from service.bundle.task_options import TaskOptions, TrainedTask
from service.bundle.tokenizer import TextTokenizer
from service.tasks.core.task import Array, Runner
from training.config.networks import NetworkTable
from training.config.recipe import Recipe
from training.data.formats.options import ReadOptions
from training.data.records import Record
from training.data.split import Parts, group_of, split_records
from training.evaluation.analysis.findings import Findings
from training.evaluation.analysis.interval import Interval
from training.evaluation.answers import Job, Scores
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.predictions import Prediction
from training.preprocessing.load_records import RunData

if TYPE_CHECKING:
    from training.networks.build import WordEmbedding
    from training.networks.network import Network
    from training.preprocessing.batching import TrainingSet
    from training.preprocessing.scales.signal_scale import SignalScale
    from training.preprocessing.vocabulary import Vocabulary
    from training.preprocessing.word_vectors import WordVectors

RecordT = TypeVar("RecordT", bound=Record)
OptionsT = TypeVar("OptionsT", bound=TaskOptions)


@dataclass(frozen=True)
class CardTexts:
    """A task's part of the model card. `limits` are lines of a list: the largest input and the longest answer."""

    purpose: Callable[[Manifest], str]
    intended_use: str
    limits: Callable[[Manifest], list[str]]
    #: Shell lines that call the service at the given address, where the usual JSON request is not what one types.
    commands: Callable[[Manifest, str], list[str]] | None = None
    #: Whether the language of the data limits what the model can read.
    reads_one_language: bool = True


@dataclass(frozen=True)
class Question:
    """An input and its parameters, as a caller would send them. The network's answer to it becomes an example."""

    inputs: Any
    parameters: Mapping[str, Any] = field(default_factory=dict)


class OwnBaseline(NamedTuple):
    """What a measure is compared with instead of a cheap method: another measure of the same model, and its name."""

    measure: str
    name: str


class EvaluationTask(ABC, Generic[RecordT]):
    """The half of a task that needs no torch: its records, its measures and its texts."""

    name: TrainedTask
    card: CardTexts
    #: Measures of `score` that go into the manifest, best known first.
    reported: tuple[str, ...]
    #: Of measures that tell of the service's way to answer rather than of the weights.
    own_baselines: ClassVar[Mapping[str, OwnBaseline]] = {}
    #: Measures scored after each epoch; the first one present chooses the best epoch. Without any, the loss does.
    dev_measures: tuple[str, ...] = ()
    #: Measures that accept or refuse a variant; the first one present decides.
    deciding: tuple[str, ...]
    #: Graphs that get int8 weights. What runs step by step is quantised in its step graph alone.
    int8_graphs: tuple[str, ...]
    #: Request parameters while epochs or variants are compared, where the default ones are slow.
    quick_parameters: ClassVar[Mapping[str, Any]] = {}
    #: Request parameters while predictions are kept for `analyse`.
    analysis_parameters: ClassVar[Mapping[str, Any]] = {}
    #: Whether `analyse` finds anything: tasks without one right answer have no errors to show.
    has_errors: bool = True
    #: Whether train is the past of dev, which cannot be read without it.
    dev_continues_train: bool = False

    def split(self, records: Sequence[RecordT], dev_fraction: float) -> Parts:
        """Divide records into train and dev where there is no dev file."""
        return split_records(records, dev_fraction)

    def prepare(self, recipe: Recipe, data: RunData) -> RunData:
        """Records as the network learns from them, such as sounds at the recipe's sample rate."""
        return data

    def group_of(self, record: RecordT) -> str:
        """The speaker or other source of a record, which can be held out as a whole; empty where there is none."""
        return group_of(record)

    def read_options(self, bundle: Bundle, options: ReadOptions) -> ReadOptions:
        """The caller's options for a labelled file, completed with what the bundle knows of its columns."""
        return options

    @abstractmethod
    def score(self, job: Job, records: Sequence[RecordT]) -> Scores:
        """Measures of the bundle's answers, by name."""

    @abstractmethod
    def baselines(
        self,
        train: Sequence[RecordT],
        dev: Sequence[RecordT],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """Cheap methods learned from `train` and scored on `dev`, from the crudest to the strongest.

        `encode` is the network's tokenizer, so that losses per token compare; `options` are those of the bundle.
        """

    def deciding_measure(self, scores: Mapping[str, Any], chosen_by: str = "") -> str:
        """The measure that judges a bundle: `training.chosen_by` of its recipe, or else the task's; "" for none."""
        return next((name for name in (chosen_by, *self.deciding) if name and name in scores), "")

    def analyse(self, predictions: Sequence[Prediction[RecordT]]) -> Findings | None:
        """Errors by kind; None without predictions, or for a task that has no one right answer."""
        return None

    def interval(self, measure: str, predictions: Sequence[Prediction[RecordT]]) -> Interval | None:
        """The 95 % confidence interval of a measure of these predictions; None where none is known."""
        return None

    def loss_measures(
        self, loss: float, records: Sequence[RecordT], tokenizers: Mapping[str, TextTokenizer]
    ) -> dict[str, float]:
        """Further measures that follow from the dev loss, in nats."""
        return {}

    def variant_loss(self, bundle: Bundle, runner: Runner, records: Sequence[RecordT]) -> float | None:
        """The loss by which a variant is judged; None where the measures of `score` decide."""
        return None

    def typical_values(self, bundle: Bundle) -> dict[str, Array]:
        """Typical inputs, `[time, width]` by name, for graphs whose numbers lose precision far away from them."""
        return {}


class TrainingTask(EvaluationTask[RecordT]):
    """A whole task: what the pipeline hands to every part of training."""

    #: The embedding that word vectors start from and that later runs take them from; None where no words are read.
    word_embedding: WordEmbedding | None = None
    #: Whether the network of a bundle can be built again from its recipe, tokenizers and labels, to learn further.
    fine_tunes: bool = False
    #: Label sets of the vocabulary that fine-tuning leaves as they are.
    kept_label_sets: frozenset[str] = frozenset()

    @abstractmethod
    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[RecordT], vectors: WordVectors | None = None
    ) -> Vocabulary:
        """Tokenizers, labels and scales, fitted on `records`, which must be the training part alone."""

    def character_models(self, recipe: Recipe) -> tuple[str, ...]:
        """Run folders of the character models that the network reads with."""
        return ()

    def label_sets_of(self, options: TaskOptions) -> Mapping[str, tuple[str, ...]]:
        """The label sets of the vocabulary that a bundle with these options was trained with."""
        return {}

    def body_settings(self, language_model: NetworkTable) -> dict[str, Any]:
        """Keys of [network] for a network that reads as a language model does; empty where the task has none."""
        return {}

    def body_weight(self, name: str) -> str:
        """The weight that starts as that of a language model called `name`; empty for none."""
        return ""

    def blank_scale(self, recipe: Recipe, options: TaskOptions) -> SignalScale | None:
        """The features of a bundle that reads signals, not scaled yet; None for other inputs."""
        return None

    def restored_scale(self, network: Network, blank: SignalScale) -> SignalScale:
        """The scale that a network with the weights of a bundle brings features to."""
        return blank

    def start_from(self, recipe: Recipe) -> str:
        """The run folder whose weights training starts from; empty for random weights."""
        return ""

    def language_model(self, recipe: Recipe) -> str:
        """The run folder of the language model that a recogniser is published with; empty if there is none."""
        return ""

    @abstractmethod
    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[RecordT], *, is_dev: bool = False
    ) -> TrainingSet:
        """Records as batches. Those of dev are the same in every epoch."""

    @abstractmethod
    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        """A new network with random weights."""

    @abstractmethod
    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> TaskOptions:
        """The task options of the manifest: how the service reads the network's outputs."""

    @abstractmethod
    def samples(self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[RecordT]) -> tuple[str, ...]:
        """A few dev predictions as lines of text, shown after each epoch."""

    @abstractmethod
    def questions(self, recipe: Recipe, records: Sequence[RecordT]) -> list[Question]:
        """The inputs of the bundle's examples: those of the recipe, or else some of dev, cut to the recipe's limits."""

    @abstractmethod
    def defaults(self, records: Sequence[RecordT]) -> dict[str, Any]:
        """Tables of a recipe for a user's own files, where they differ from the defaults of `Recipe`."""

    def num_batches(self, records: Sequence[RecordT], batch_size: int) -> int:
        """Approximate updates per epoch."""
        return -(-len(records) // batch_size)


def options_as(options: TaskOptions | None, kind: type[OptionsT]) -> OptionsT:
    """The options of a bundle as those of the task that reads them. Raises TypeError for another task's options."""
    if not isinstance(options, kind):
        raise TypeError(f"expected {kind.__name__}, got {type(options).__name__}")
    return options

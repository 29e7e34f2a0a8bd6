"""Recipes, read and validated: the whole configuration of a run in one immutable object.

Recipes are TOML files in `training/recipes/`, each key of which is commented there. Unknown keys are errors. The
effective configuration, defaults included, is written into the run folder and into the bundle.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from pydantic import Field, ValidationError, model_validator

from service.bundle.manifest import NAME_PATTERN, VERSION_PATTERN, Limits
from service.bundle.task_options import TrainedTask
from service.errors import UnrollError
from training.config.faults import in_words, oversized
from training.config.grammar import FOLDER
from training.config.network_tables import NetworkConfig
from training.config.networks import NetworkTable, Strict
from training.config.pictures import PictureConfig
from training.config.signals import AugmentConfig, SignalConfig
from training.config.start import StartConfig
from training.data.formats.options import ReadOptions

TableT = TypeVar("TableT", bound=NetworkTable)
TrackerName = Literal["tensorboard", "mlflow", "wandb"]

RECIPES = Path(__file__).parents[1] / "recipes"

#: The largest whole number of a recipe but the seed, which may take 63 bits.
LARGEST: Final = 2**31 - 1
LARGEST_SEED: Final = 2**63 - 1
#: Other words for the tasks, and how many first letters tell them apart.
_OTHER_WORDS: Final[dict[TrainedTask, tuple[str, ...]]] = {
    "tagging": ("ner", "pos", "chunking", "slots", "token-classification", "sequence-labelling"),
    "classification": ("text-classification", "sentiment", "intent", "audio-classification"),
    "translation": ("seq2seq", "mt"),
    "generation": ("lm", "language-model", "text-generation"),
    "forecasting": ("time-series", "timeseries", "series"),
    "captioning": ("image-to-text", "captions"),
    "video": ("video-captioning", "action-recognition", "action-prediction", "clips"),
    "transcription": ("asr", "speech", "speech-recognition", "speech-to-text", "stt", "ctc"),
    "parsing": ("parser", "dependency", "dependency-parsing", "dependencies", "treebank", "syntax"),
}
_FEW: Final = 4


class ConfigFault(UnrollError):
    """A recipe is invalid. The message names the file and the key."""


class DataConfig(Strict):
    """Training data: a public data set by `dataset`, or own files by `train` and `dev`."""

    dataset: str = ""
    train: str = ""
    dev: str = ""
    dev_percent: int = Field(default=10, ge=1, le=50, description="percentage held out when there is no dev file")
    hold_out: str = Field(
        default="", description="a group, such as a speaker: its records become dev, all others train"
    )
    also: tuple[str, ...] = Field(
        default=(),
        description="further training data: public data sets by name, own files by path or as folder/part-*.tsv; "
        "`NAME x3`, or a repeated name, is read so often. A language model takes public sets for tagging only",
    )
    reverse: bool = Field(default=False, description="reverse the text of a language model")
    read: ReadOptions = ReadOptions()

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if bool(self.dataset) == bool(self.train):
            raise ValueError("name either a `dataset` or a `train` file")
        return self


class TokenizerConfig(Strict):
    """Tokenization. `word` and `character` are look-ups; `subword` is byte-pair encoding fitted on train."""

    unit: Literal["word", "subword", "character"] = "word"
    cut: Literal["english", "french", "portuguese", "whitespace", "code"] = Field(
        default="english",
        description="word boundaries in raw text: a language splits off punctuation and its clitics; `code`, for "
        "translation, quotes, brackets and operators, which are joined again in the output",
    )
    lowercase: bool = True
    zero_digits: bool = Field(default=True, description="replace every digit by 0, so that numbers share tokens")
    min_count: int = Field(default=1, ge=1, description="rarer words are unknown")
    vocabulary_size: int = Field(default=8000, ge=64, le=10_000_000, description="size of a subword vocabulary")
    vectors: str = Field(
        default="",
        description="pretrained word vectors: a name, a folder, or the folder of an earlier run",
    )
    max_vectors: int = Field(
        default=30_000, ge=0, description="most frequent pretrained words kept in addition to those of train"
    )


class TrainingConfig(Strict):
    """Optimiser, schedule and early stopping."""

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd")
    beta2: float = Field(default=0.999, gt=0, lt=1, description="second-moment decay of adam and adamw")
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine", "linear", "plateau"] = "cosine"
    warmup_steps: int = Field(default=0, ge=0)
    final_rate: float = Field(default=0.02, ge=0, le=1, description="share of learning_rate left at the end")
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    plateau_epochs: int = Field(default=1, ge=1, description="epochs without improvement before the rate falls")
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="rate of each layer as a share of that of the layer above it (discriminative fine-tuning)",
    )
    unfreeze: Literal["at once", "gradual"] = Field(
        default="at once", description="`gradual`: the output layers learn first, and with each epoch one layer more"
    )
    epochs: int = Field(default=20, ge=1, le=1_000_000)
    patience: int = Field(default=5, ge=1, description="early stopping: epochs without improvement on dev")
    batch_size: int = Field(
        default=32, ge=1, le=1_000_000, description="sequences; for language models, parallel streams"
    )
    clip_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="moving average of weights, which is scored and exported; 0 is off"
    )
    average: Literal["ema", "swa", "asgd"] = Field(
        default="ema",
        description="instead of `ema_decay`, the plain mean of all weights: `swa` of those after `average_from`, "
        "`asgd` of those after dev has stopped getting better",
    )
    average_from: float = Field(
        default=0.5, ge=0, lt=1, description="share of the run before averaging by `swa` begins"
    )
    average_patience: int = Field(
        default=3, ge=0, description="`asgd` begins once dev is worse than its best score up to this many epochs ago"
    )
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_every_s: float = Field(default=300.0, gt=0)
    threads: int = Field(default=0, ge=0, le=1024, description="torch threads on the CPU; 0 is torch's default")
    chosen_by: str = Field(
        default="", description="dev measure that chooses the best epoch and judges the bundle, if not the task's first"
    )
    evaluate_records: int = Field(default=0, ge=0, description="dev records scored each epoch; 0 is all of them")
    deterministic: bool = Field(default=False, description="deterministic kernels only, on a GPU too; slower")
    trackers: tuple[TrackerName, ...] = Field(default=("tensorboard",), description="experiment trackers to log to")

    @model_validator(mode="after")
    def _averages_before_the_end(self) -> TrainingConfig:
        if self.average == "asgd" and self.patience <= self.average_patience:
            raise ValueError(
                f"patience ({self.patience}) must be more than average_patience ({self.average_patience}), "
                "or the run stops before its weights are averaged"
            )
        return self


class Recipe(Strict):
    """The configuration of one run; on a CPU it determines the weights to the bit."""

    name: str = Field(pattern=NAME_PATTERN)
    version: str = Field(default="1", pattern=VERSION_PATTERN)
    task: TrainedTask
    description: str = ""
    language: str = ""
    licence: str = ""
    seed: int = Field(default=1, ge=0, le=LARGEST_SEED)
    start: StartConfig = StartConfig()
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    signal: SignalConfig = SignalConfig()
    augment: AugmentConfig = AugmentConfig()
    picture: PictureConfig = PictureConfig()
    network: NetworkConfig
    training: TrainingConfig = TrainingConfig()
    limits: Limits = Limits()
    examples: tuple[str, ...] = Field(default=(), description="inputs of the examples recorded in the bundle")
    examples_from_dev: bool = Field(
        default=False,
        description="record inputs of dev as examples; without it, those of own files are invented",
    )

    @model_validator(mode="before")
    @classmethod
    def _network_follows_task(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("network", {}), dict):
            return {**values, "network": {"task": values.get("task"), **values.get("network", {})}}
        return values

    @model_validator(mode="after")
    def _tables_agree(self) -> Recipe:
        if self.network.task != self.task:
            raise ValueError(f"the network is for {self.network.task}, the task is {self.task}")
        if self.data.reverse and not self.network.learns_running_text:
            raise ValueError("data.reverse is for language models, which learn from running text")
        if self.data.also and self.task == "forecasting":
            raise ValueError("data.also is not for forecasting, which learns from one series")
        if self.start.replay and self.network.learns_running_text:
            raise ValueError("start.replay is not for language models: name the earlier texts in data.also")
        self.network.check_recipe(self.tokenizer.unit, self.limits.max_input_tokens)
        return self

    def network_as(self, kind: type[TableT]) -> TableT:
        """The network table of the task that reads it. Raises TypeError for the table of another task."""
        if not isinstance(self.network, kind):
            raise TypeError(f"the network is for {self.network.task}, not a {kind.__name__}")
        return self.network


def find_recipe(name_or_path: str) -> Path:
    """The path of a shipped recipe by name, or of a TOML file by path.

    Raises:
        ConfigFault: neither exists; similar names are suggested.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" and path.is_file():
        return path
    shipped = RECIPES / f"{name_or_path}.toml"
    if shipped.is_file():
        return shipped
    names = sorted(file.stem for file in RECIPES.glob("*.toml"))
    near = _nearest(name_or_path, names)
    hint = f"; did you mean {near}?" if near else "."
    tasks = ", ".join(get_args(TrainedTask))
    raise ConfigFault(
        f"no recipe {name_or_path!r}{hint} For your own files give a task ({tasks}) with --train; "
        f"recipes are {', '.join(names)}; or give a .toml file"
    )


def nearest_task(word: str) -> str:
    """The task that a word may mean, such as `classify`; "" if it resembles none."""
    return _nearest(word, ())


def _nearest(word: str, recipes: Sequence[str]) -> str:
    """The task or the recipe that a word may mean."""
    tasks: tuple[TrainedTask, ...] = get_args(TrainedTask)
    asked = word.casefold()
    meant = next((task for task, words in _OTHER_WORDS.items() if asked in words), "")
    close = next(iter(difflib.get_close_matches(asked, [*tasks, *recipes], n=1)), "")
    return meant or close or next((task for task in tasks if len(asked) >= _FEW and task.startswith(asked[:_FEW])), "")


def load_recipe(path: Path, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe; `overrides` maps dotted keys (`training.epochs`) to values."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigFault(f"{path}: not TOML: {error}") from error
    return parse_recipe(values, str(path), overrides, path.parent)


def parse_recipe(
    values: dict[str, Any], where: str, overrides: dict[str, Any] | None = None, folder: Path = Path()
) -> Recipe:
    """Check the values of a recipe; a grammar's path is relative to `folder`. Raises ConfigFault for each wrong key."""
    for key, value in (overrides or {}).items():
        _set_dotted(values, key, value)
    large = oversized({key: value for key, value in values.items() if key != "seed"}, LARGEST)
    if large:
        raise ConfigFault(f"{where}: {large} must be between {-LARGEST:,} and {LARGEST:,}")
    try:
        return Recipe.model_validate(values, context={FOLDER: folder})
    except ValidationError as error:
        faults = [in_words(fault, Recipe) for fault in error.errors()]
        raise ConfigFault(f"{where}: " + "; ".join(faults)) from error


def _set_dotted(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigFault(f"{key}: {parent} is a value, not a table")
    values[last] = value

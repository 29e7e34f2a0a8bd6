"""Run folder: files, logs and progress bar of a run.

config.toml            the effective recipe          metrics.jsonl   one line an epoch, and one for each log step
tokenizer-*.json       fitted on train               curves.png      loss and dev scores
labels.json            in id order                   samples.txt     example predictions, each epoch
text_labels.json       those of whole texts, of a joint tagger
label_sets.json        further labels of words, such as the relations of a parser
scale.json             means and deviations of a series
character_models.safetensors   the two that a tagger with contextual features reads with
data.json              what the data was             metrics.csv     the epochs as a table
environment.json       machine, libraries            tensorboard/    the same curves, for TensorBoard
parent.json            the model that it was fine-tuned from, and its scores before
last.safetensors       to resume from                analysis/       what it gets wrong on dev, once it is exported
best.safetensors       the weights with the best dev score
previous-last.safetensors   the checkpoint before the last one
language_model/        that of a speech recogniser, for beam search
published.json         the bundles that were published from it
.lock                  held while a process trains in it (see run_lock.py)
"""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from service.bundle.manifest import DataSource
from service.bundle.tokenizer import TextTokenizer
from service.errors import UnrollError
from training.config.recipe import Recipe, load_recipe
from training.data.digests import changed_names
from training.fit.checkpoint import Progress as RunProgress
from training.fit.checkpoint import previous_of, recover_checkpoint
from training.fit.curves import draw_curves, write_table
from training.fit.environment import hardware, library_versions
from training.fit.trackers import Tracker
from training.preprocessing.character_models import CharacterModels
from training.preprocessing.scales.series_scale import SeriesScale
from training.preprocessing.scales.signal_scale import SignalScale
from training.preprocessing.tensor_file import CheckpointFault
from training.preprocessing.vocabulary import Vocabulary

#: Seconds between two log lines where standard error is no terminal.
PLAIN_LINE_EVERY_S = 30.0
#: Steps between two points of the training curve.
LOG_EVERY_STEPS = 50
_TEXT_LABELS = "text_labels.json"
_LABEL_SETS = "label_sets.json"
_SCALE = "scale.json"
_SIGNAL_SCALE = "signal_scale.json"
_CHARACTER_MODELS = "character_models.safetensors"
_PUBLISHED = "published.json"
#: Data sources of the run whose weights a run started from.
STARTED_FROM = "started_from.json"
#: The bundle or run that a run was fine-tuned from, with its scores before.
PARENT_FILE = "parent.json"
#: A copy of the run of a language model.
LANGUAGE_MODEL_FOLDER = "language_model"


class RunFolderFault(UnrollError):
    """The folder is no run, or already holds one."""


class RunFolder:
    """Paths, logs and the progress bar of one run."""

    def __init__(
        self, path: Path, console: Console | None = None, writes: bool = True, original: Path | None = None
    ) -> None:
        """`writes` is false for workers that do not write the folder but read `path`, their copy of `original`."""
        self.path = path
        self.original = original or path
        self.trackers: tuple[Tracker, ...] = ()
        self._writes = writes
        self.checkpoint = path / "last.safetensors"
        self.best_weights = path / "best.safetensors"
        #: Those of an earlier run, if the run starts from some.
        self.starting_weights = path / "start.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.txt"
        self.console = console or Console(stderr=True, quiet=not writes)

    @classmethod
    def create(
        cls, path: Path, recipe: Recipe, vocabulary: Vocabulary, source: DataSource, overwrite: bool = False
    ) -> RunFolder:
        """Create the folder of a new run. Raises RunFolderFault if it exists, unless `overwrite` is set."""
        folder = cls(path)
        folder.check_new(overwrite)
        path.mkdir(parents=True, exist_ok=True)
        folder._clear()
        values = recipe.model_dump(mode="json", exclude_none=True)
        folder._write_whole("config.toml", tomli_w.dumps(values))
        for role, tokenizer in vocabulary.tokenizers.items():
            tokenizer.save(path / f"tokenizer-{role}.json")
        (path / "labels.json").write_text(_json_lines(vocabulary.labels), encoding="utf-8")
        if vocabulary.text_labels:
            (path / _TEXT_LABELS).write_text(_json_lines(vocabulary.text_labels), encoding="utf-8")
        if vocabulary.label_sets:
            (path / _LABEL_SETS).write_text(_json_sets(vocabulary.label_sets), encoding="utf-8")
        if vocabulary.scale is not None:
            (path / _SCALE).write_text(vocabulary.scale.to_json(), encoding="utf-8")
        if vocabulary.signal_scale is not None:
            (path / _SIGNAL_SCALE).write_text(json.dumps(vocabulary.signal_scale._asdict()) + "\n", encoding="utf-8")
        if vocabulary.character_models is not None:
            vocabulary.character_models.save(path / _CHARACTER_MODELS)
        (path / "data.json").write_text(source.model_dump_json(indent=2) + "\n", encoding="utf-8")
        machine = hardware(recipe.training.threads)
        folder._write_json("environment.json", {"hardware": machine, "libraries": library_versions()})
        return folder

    def contents(self) -> dict[str, bytes]:
        """The files, by name, that another node needs to take part in the run, with the checkpoint if there is one."""
        of_labels = ("labels.json", _TEXT_LABELS, _LABEL_SETS)
        names = ("config.toml", "data.json", *of_labels, _SCALE, _SIGNAL_SCALE, _CHARACTER_MODELS)
        weights = self.starting_weights, self.checkpoint
        files = [*(self.path / name for name in names), *self.path.glob("tokenizer-*.json"), *weights]
        return {file.name: file.read_bytes() for file in files if file.is_file()}

    def check_new(self, overwrite: bool = False) -> None:
        """Raises RunFolderFault if the folder already holds a run, unless `overwrite` is set."""
        if self.checkpoint.exists() and not overwrite:
            raise RunFolderFault(
                f"{self.path} already holds a run: `unroll resume {self.path}` continues it, --overwrite replaces it "
                "(published bundles stay)"
            )

    def recover(self) -> str:
        """Make sure that there is a checkpoint to resume from; returns a sentence if the last one had to be replaced.

        Raises:
            RunFolderFault: the folder is no run, or was stopped before its first checkpoint.
            CheckpointFault: its checkpoints are damaged. Both say how to start again.
        """
        again = f"`unroll train {shlex.quote(str(self._file('config.toml')))}"
        if not self.checkpoint.exists() and not previous_of(self.checkpoint).exists():
            raise RunFolderFault(f"{self.path} was stopped before its first checkpoint: start it again with {again}`")
        try:
            return recover_checkpoint(self.checkpoint)
        except CheckpointFault as error:
            raise CheckpointFault(f"{error}; start the run again with {again} --overwrite`") from error

    def how_to_go_on(self) -> str:
        """The command that continues a run that could not go on."""
        path = shlex.quote(str(self.original))
        if self.checkpoint.exists() or not self._writes:
            return f"`unroll resume {path}` continues it from its last checkpoint"
        return f"`unroll train {path}/config.toml` starts it again"

    def published(self) -> list[dict[str, str]]:
        """The bundles that were published from this run, as `path` and `digest`, oldest first."""
        file = self.path / _PUBLISHED
        try:
            found = json.loads(file.read_bytes())
        except (OSError, ValueError):
            return []
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    def note_published(self, bundle: Path, digest: str) -> None:
        """Remember that a bundle was published from this run."""
        entry = {"path": str(bundle.absolute()), "digest": digest}
        self._write_whole(_PUBLISHED, json.dumps([*self.published(), entry], indent=2) + "\n")

    def recipe(self) -> Recipe:
        """The effective recipe of the run."""
        return load_recipe(self._file("config.toml"))

    def vocabulary(self) -> Vocabulary:
        """The vocabulary as fitted when the run started."""
        files = sorted(self.path.glob("tokenizer-*.json"))
        # Roles that share a tokenizer share the object again, as they did when it was fitted.
        loaded = {file.read_bytes(): TextTokenizer.load(file) for file in files}
        tokenizers = {file.stem.removeprefix("tokenizer-"): loaded[file.read_bytes()] for file in files}
        labels = tuple(json.loads(self._file("labels.json").read_bytes()))
        of_texts = self.path / _TEXT_LABELS
        text_labels = tuple(json.loads(of_texts.read_bytes())) if of_texts.exists() else ()
        of_words = self.path / _LABEL_SETS
        found = json.loads(of_words.read_bytes()) if of_words.exists() else {}
        label_sets = {name: tuple(labels) for name, labels in found.items()}
        of_series = self.path / _SCALE
        scale = SeriesScale.of_json(of_series.read_bytes()) if of_series.exists() else None
        of_signals = self.path / _SIGNAL_SCALE
        signal_scale = SignalScale.of_json(of_signals.read_bytes()) if of_signals.exists() else None
        characters = self.path / _CHARACTER_MODELS
        models = CharacterModels.load(characters) if characters.exists() else None
        return Vocabulary(tokenizers, labels, None, text_labels, scale, signal_scale, models, label_sets)

    def environment(self) -> dict[str, str]:
        """Hardware and library versions of the process that started the run."""
        values = json.loads(self._file("environment.json").read_bytes())
        return {"hardware": values["hardware"], **values["libraries"]}

    def source(self) -> DataSource:
        """The data of the run."""
        return DataSource.model_validate_json(self._file("data.json").read_bytes())

    def check_data(self, source: DataSource) -> None:
        """Raises RunFolderFault if the data files have changed since the run started."""
        changed = changed_names(self.source().splits, source.splits)
        if changed:
            raise RunFolderFault(
                f"{', '.join(changed)} changed since {self.path} was started; restore the old files, or start a new run"
            )

    def rewind(self, progress: RunProgress) -> None:
        """Remove log lines after the checkpoint with this progress: the resumed run logs them again.

        An incomplete last line of a killed process is removed too.
        """
        if self._writes and self.metrics.exists():
            lines = self.metrics.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _is_before(line, progress)]
            self.metrics.write_text("".join(kept), encoding="utf-8")

    def _file(self, name: str) -> Path:
        """The path of a required file. Raises RunFolderFault if it is missing."""
        file = self.path / name
        if not file.is_file():
            raise RunFolderFault(f"{self.path} is not a run folder: it has no {name}")
        return file

    def log(self, kind: str, values: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        if not self._writes:
            return
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")

    def log_epoch(
        self, progress: RunProgress, measures: dict[str, float], samples: Sequence[str], better: bool
    ) -> None:
        """Log and print the result of an epoch."""
        if not self._writes:
            return
        epoch = progress.epoch + 1
        values = {"epoch": epoch, "step": progress.step, "loss": progress.epoch_loss, "minutes": progress.seconds / 60}
        self.log("epoch", {**values, "best": better, **{f"dev_{name}": value for name, value in measures.items()}})
        for tracker in self.trackers:
            tracker.log(progress.step, {"train/loss": progress.epoch_loss, **_prefixed("dev/", measures)})
        draw_curves(self.metrics, self.path / "curves.png")
        write_table(self.metrics, self.path / "metrics.csv")
        scores = "  ".join(f"{name} {value:.4g}" for name, value in measures.items())
        mark = "best so far" if better else f"no improvement for {progress.stale_epochs}"
        minutes = progress.seconds / 60
        self.console.print(
            f"epoch {epoch:3d}  loss {progress.epoch_loss:.4f}  dev {scores}  ({mark}, {minutes:.1f} min)",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        with self.samples.open("a", encoding="utf-8") as file:
            file.write(f"epoch {epoch}\n" + "".join(f"  {sample}\n" for sample in samples) + "\n")
        for sample in samples[:3]:
            self.console.print(f"    {sample}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def progress_bar(self, progress: RunProgress, batches: int, epochs: int) -> Iterator[EpochBar]:
        """A progress bar on a terminal, occasional log lines elsewhere."""
        title = f"epoch {progress.epoch + 1}/{epochs}"
        columns = (
            TextColumn(title),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        live = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        with live:
            task = live.add_task("", total=batches, completed=progress.batch, status="")
            yield EpochBar(self, live, task, progress, batches, title)

    def _clear(self) -> None:
        """Remove the files of an older run."""
        kept = previous_of(self.checkpoint), self.path / _PUBLISHED
        old = (self.metrics, self.samples, self.checkpoint, *kept, self.best_weights, self.path / _TEXT_LABELS)
        of_trackers = self.path.glob("*-run.txt")
        pictures = (self.path / "curves.png", self.path / "metrics.csv")
        for file in (
            *old,
            self.path / _LABEL_SETS,
            self.path / _SCALE,
            self.path / _SIGNAL_SCALE,
            self.path / _CHARACTER_MODELS,
            self.path / STARTED_FROM,
            self.path / PARENT_FILE,
            self.starting_weights,
            *pictures,
            *of_trackers,
            *self.path.glob("tokenizer-*.json"),
        ):
            file.unlink(missing_ok=True)
        for folder in ("tensorboard", "wandb", "analysis", LANGUAGE_MODEL_FOLDER):
            shutil.rmtree(self.path / folder, ignore_errors=True)

    def _write_json(self, name: str, values: dict[str, Any]) -> None:
        (self.path / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def _write_whole(self, name: str, text: str) -> None:
        """Write a file that is there whole or not at all."""
        partial = self.path / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / name)


class EpochBar:
    """Progress of an epoch: counts updates, shows speed and remaining time, logs the training curve."""

    def __init__(
        self, folder: RunFolder, live: Progress, task: TaskID, progress: RunProgress, batches: int, title: str
    ) -> None:
        self._folder = folder
        self._live = live
        self._task = task
        self._progress = progress
        self._batches = batches
        self._title = title
        self._started = self._said = time.monotonic()
        self._first = progress.batch

    def advance(self, loss: float, norm: float, rate: float) -> None:
        """Record an update: its loss, gradient norm before clipping and learning rate."""
        done = self._progress.batch
        per_s = (done - self._first) / max(1e-9, time.monotonic() - self._started)
        status = f"loss {self._progress.epoch_loss:.4f}  norm {norm:.2f}  rate {rate:.2g}  {per_s:.1f} batches/s"
        self._live.update(self._task, completed=done, status=status)
        if self._progress.step % LOG_EVERY_STEPS == 0:
            values = {"step": self._progress.step, "loss": loss, "gradient_norm": norm, "learning_rate": rate}
            self._folder.log("step", values)
        if not self._folder.console.is_terminal and time.monotonic() - self._said > PLAIN_LINE_EVERY_S:
            self._said = time.monotonic()
            left_s = (self._batches - done) / max(1e-9, per_s)
            line = f"{self._title}  {done}/{self._batches}  {status}  {left_s:.0f} s left in this epoch"
            self._folder.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _json_sets(sets: Mapping[str, Sequence[str]]) -> str:
    """A JSON object of lists, for diffs."""
    return json.dumps({name: list(items) for name, items in sets.items()}, ensure_ascii=False, indent=0) + "\n"


def _json_lines(items: Sequence[str]) -> str:
    """A JSON list with one item per line, for diffs."""
    return json.dumps(list(items), ensure_ascii=False, indent=0) + "\n"


def _is_before(line: str, progress: RunProgress) -> bool:
    """Whether a line of metrics.jsonl is whole and was written before the checkpoint with this progress."""
    try:
        row = json.loads(line)
        if row["kind"] == "epoch":
            return bool(row["epoch"] <= progress.epoch)
        return bool(row["step"] <= progress.step)
    except (ValueError, KeyError, TypeError):  # a loss of power can leave anything in the last lines
        return False


def _prefixed(prefix: str, values: dict[str, float]) -> dict[str, float]:
    return {prefix + name: value for name, value in values.items()}

"""Experiment trackers: TensorBoard, MLflow, Weights & Biases (`training.trackers` of a recipe).

Everything stays on this machine unless the environment says otherwise: MLflow writes into `mlflow.db`
beside the run folders (or where MLFLOW_TRACKING_URI points), W&B into the run folder without a connection (or as
WANDB_MODE says).
"""

from __future__ import annotations

import importlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from service.distribution import install_hint
from service.errors import UnrollError
from training.config.recipe import Recipe, TrackerName

PROJECT = "unroll"
#: MLflow refuses longer parameter values.
MAX_PARAMETER_CHARACTERS = 6000


class TrackerMissing(UnrollError):
    """The library of a tracker that the recipe asks for is not installed."""


class Tracker(Protocol):
    """Receives the metrics of a run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log values after `step` updates, by names such as `dev/f1`."""
        ...

    def close(self) -> None:
        """Finish logging in this process; the run may be resumed in another."""
        ...


class TensorBoardTracker:
    """Event files in `tensorboard/` of the run folder."""

    def __init__(self, folder: Path, _recipe: Recipe) -> None:
        # Imported here: it takes a second.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve and flush."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class MLflowTracker:
    """One MLflow run, named like the recipe. Its id is kept in the run folder, so that a resumed run continues it."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        mlflow = _library("mlflow", "mlflow")
        store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.parent.absolute() / 'mlflow.db'}"
        self._client = mlflow.MlflowClient(store)
        kept = folder / "mlflow-run.txt"
        if not kept.exists():
            kept.write_text(self._begin(recipe), encoding="utf-8")
        self._run = kept.read_text(encoding="utf-8")
        self._client.set_terminated(self._run, "RUNNING")

    def _begin(self, recipe: Recipe) -> str:
        known = self._client.get_experiment_by_name(PROJECT)
        experiment = self._client.create_experiment(PROJECT) if known is None else known.experiment_id
        run = str(self._client.create_run(experiment, run_name=recipe.name).info.run_id)
        for key, value in flat_values(recipe).items():
            self._client.log_param(run, key, value[:MAX_PARAMETER_CHARACTERS])
        return run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


class WandbTracker:
    """One run of Weights & Biases, in `wandb/` of the run folder; `wandb sync` uploads it."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = _library("wandb", "wandb")
        kept = folder / "wandb-run.txt"
        if not kept.exists():
            kept.write_text(secrets.token_hex(4), encoding="utf-8")
        self._run = wandb.init(
            project=PROJECT,
            name=recipe.name,
            id=kept.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=flat_values(recipe),
            settings=wandb.Settings(silent=True, disable_git=True, save_code=False),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Flush."""
        self._run.finish()


TRACKERS: dict[TrackerName, Callable[[Path, Recipe], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MLflowTracker,
    "wandb": WandbTracker,
}


@contextmanager
def open_trackers(folder: Path, recipe: Recipe) -> Iterator[tuple[Tracker, ...]]:
    """Open the recipe's trackers; closes them at the end, also when the run fails.

    Raises:
        TrackerMissing: a library is not installed.
    """
    with ExitStack() as stack:
        trackers = []
        for name in recipe.training.trackers:
            trackers.append(TRACKERS[name](folder, recipe))
            stack.callback(trackers[-1].close)
        yield tuple(trackers)


def flat_values(recipe: Recipe) -> dict[str, str]:
    """A recipe as dotted keys, as `--set` takes them."""
    flat: dict[str, str] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = str(value)

    add("", recipe.model_dump(mode="json", exclude_none=True))
    return flat


def _library(module: str, name: TrackerName) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TrackerMissing(
            f"training.trackers asks for {name}, which is not installed: {install_hint('tracking')}"
        ) from error

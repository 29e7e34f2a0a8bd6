"""`Scorer`: adds the answers of a model to batches of rows, in any process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from service.bundle.load import MANIFEST_FILE, file_digest, read_manifest
from service.bundle.manifest import Manifest
from service.bundle.models_folder import find_bundles, is_version
from service.bundle.versions import named
from service.errors import BundleIncomplete, InvalidInput
from service.inference.engines.open_bundle import open_bundle
from service.inference.runtime.device import is_device_name
from service.inference.runtime.precision import WantedPrecision
from service.offline.answer_columns import ERROR, AnswerColumn, CellType, added_names, answer_columns, cells_of
from service.offline.answering.row_answers import RowAnswer, RowAnswers
from service.offline.batch_kinds import batch_kind
from service.offline.row_values import InputKind, input_column, input_kind, row_values
from service.tasks.catalogue import TASKS
from service.tasks.core.parameters import check_parameters


def find_bundle(model: str | Path, models: str | Path = "models") -> Path:
    """The folder of a bundle: `models/NAME/VERSION` as a path, `models/NAME` or NAME for its highest version, or
    NAME@VERSION, where names are looked for in `models`.

    Raises:
        UnknownModel: there is no such model or version; with the nearest name.
        BundleIncomplete: the folder is no bundle.
    """
    path = Path(model)
    if (path / MANIFEST_FILE).is_file():
        return path
    if path.is_dir() and any(is_version(child.name) and child.is_dir() for child in path.iterdir()):
        return named(find_bundles(path.absolute().parent), path.absolute().name)
    name, _, version = str(model).partition("@")
    if "/" in name:
        raise BundleIncomplete(path, "there is no bundle in this folder; a bundle is a folder models/NAME/VERSION")
    return named(find_bundles(Path(models)), name, version or None)


class Scorer:
    """Adds a model's answers to batches of rows: `Scorer("models/intent-en")(batch)`.

    A batch is a dict of arrays by column name, a `pyarrow.Table` or `RecordBatch`, or a `pandas.DataFrame`; the result
    is of the same kind, with the same rows in the same order and the columns of the answers after its own. The last
    column, `error`, has the reason why a row has no answer, and is null for all others. The answers are those of
    `POST /predict` and `POST /generate`, by the same code.

    The bundle is opened at the first batch, once. Pickling takes along options alone, and the copy opens the bundle
    where it is used: Ray and Spark may send a scorer to other processes, which need the same path.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        text_column: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        output_columns: Sequence[str] | None = None,
        prefix: str = "",
        device: str = "auto",
        precision: WantedPrecision = "fp32",
        threads: int = 1,
        models: str | Path = "models",
    ) -> None:
        """Find the bundle, and check what can be checked without opening it.

        Args:
            model: the folder of a bundle, the folder of a model for its highest version, or NAME or NAME@VERSION in
                the folder `models`.
            text_column: the column of inputs, of whatever kind; None for the one with a usual name.
            parameters: of the request, such as `{"top_k": 3}`; they hold for all rows.
            output_columns: which columns to add, besides `error`; None for the usual ones of the model's task.
            prefix: of the names of the added columns. A name that the batch has already gets `predicted_` as well.
            device: auto, cpu, cuda or cuda:N.
            precision: fp32, bf16 or int8, as far as the bundle has them; auto takes the faster of fp32 and bf16.
            threads: of one run of a graph; 0 for all cores.

        Raises:
            UnknownModel, BundleError: there is no such bundle, or its manifest cannot be read.
            InvalidInput: a parameter is none of the task's, or there is no such device.
            MissingColumn: one of `output_columns` is none of the model's.
        """
        self._path = find_bundle(model, models).absolute()
        self._text_column = text_column
        self._parameters = dict(parameters or {})
        self._output_columns = None if output_columns is None else tuple(output_columns)
        self._prefix = prefix
        self._device, self._precision, self._threads = device, precision, threads
        if not is_device_name(device):
            raise InvalidInput(f"there is no device {device!r}; there are: auto, cpu, cuda, cuda:N", ("device",))
        check_parameters(TASKS[self.manifest.task].parameters_type, self._parameters)
        self._columns = answer_columns(self.manifest, self._parameters, self._output_columns)

    @property
    def path(self) -> Path:
        """The folder of the bundle."""
        return self._path

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest of the bundle."""
        return read_manifest(self._path)

    @property
    def kind(self) -> InputKind:
        """What the model takes."""
        return input_kind(self.manifest)

    @property
    def columns(self) -> tuple[AnswerColumn, ...]:
        """The columns that are added, but for that of the errors."""
        return self._columns

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the requests."""
        return self._parameters

    @property
    def identity(self) -> dict[str, str]:
        """The digest of the bundle and the precision it is opened in: another one may give other answers."""
        return {"digest": file_digest(self._path / MANIFEST_FILE), "precision": self._precision}

    def names(self, taken: Sequence[str]) -> list[str]:
        """The names of the added columns, `error` the last, in a batch that has the columns `taken`."""
        return added_names([*(column.name for column in self._columns), ERROR], taken, self._prefix)

    def arrow_schema(self, schema: Any) -> Any:
        """The `pyarrow.Schema` of the results for tables of this one, for engines that ask before the first batch."""
        from service.offline.arrow_types import arrow_field

        types: list[CellType] = [*(column.type for column in self._columns), "text"]
        for name, kind in zip(self.names(schema.names), types, strict=True):
            schema = schema.append(arrow_field(name, kind))
        return schema

    def open(self) -> None:
        """Open the bundle now, rather than with the first batch.

        Raises:
            BundleError: it cannot be used on this machine.
            InvalidInput: the model refuses the parameters.
        """
        _ = self._answers

    def answer(self, cells: Sequence[Any]) -> list[RowAnswer]:
        """The answers to inputs, in order: cells of the column of inputs."""
        return self._answers(row_values(cells, self.kind))

    def __call__(self, batch: Any) -> Any:
        """The batch with the columns of the answers.

        Raises:
            MissingColumn: the batch has no column of inputs.
            InvalidInput: it is no batch, or the model refuses the parameters.
            BundleError: the bundle cannot be used.
        """
        kind = batch_kind(batch)
        taken = kind.names(batch)
        rows = self.answer(kind.cells(batch, input_column(taken, self.kind, self._text_column)))
        types = [*(column.type for column in self._columns), "text"]
        cells = cells_of(self._columns, rows)
        return kind.extended(batch, dict(zip(self.names(taken), zip(types, cells, strict=True), strict=True)))

    @cached_property
    def _answers(self) -> RowAnswers:
        opened = open_bundle(self._path, self._device, self._threads, self._precision)
        return RowAnswers(opened, self._parameters)

    def __getstate__(self) -> dict[str, Any]:
        """The options: neither the open bundle nor anything made of it."""
        return {
            "model": self._path,
            "text_column": self._text_column,
            "parameters": self._parameters,
            "output_columns": self._output_columns,
            "prefix": self._prefix,
            "device": self._device,
            "precision": self._precision,
            "threads": self._threads,
        }

    def __setstate__(self, options: dict[str, Any]) -> None:
        self.__init__(**options)  # type: ignore[misc]  # the same object, begun anew

    def __repr__(self) -> str:
        return f"Scorer({str(self._path)!r})"

"""Form of the output: Parquet, CSV, TSV, JSON lines or CoNLL-U, its columns, and what may stop it before the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from service.distribution import install_hint
from service.errors import UnrollError
from service.offline.answer_columns import CONLLU, CellType
from service.offline.reading.source import KeptType, Source

OutputForm = Literal["parquet", "csv", "tsv", "jsonl", "conllu"]
Compression = Literal["zstd", "snappy", "gzip", "lz4", "none"]
_FORMS: Mapping[str, OutputForm] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".conllu": "conllu",
}


class RefusedOutput(UnrollError):
    """The output cannot be written as asked; said before the work begins."""


@dataclass(frozen=True)
class OutputPlan:
    """How rows are written.

    Attributes:
        suffix: of a part, such as `.csv.gz`.
        kept: the columns of the input that are kept.
        kept_schema: their `pyarrow.Schema`, if they come from a Parquet file.
        names, types: of the columns of the answers, that of the errors as the last.
        compression: of Parquet; text is compressed by gzip where the suffix says so.
    """

    form: OutputForm
    suffix: str
    kept: Mapping[str, KeptType]
    kept_schema: Any
    names: tuple[str, ...]
    types: tuple[CellType, ...]
    compression: Compression

    @property
    def columns(self) -> list[str]:
        """All columns of the output, in order."""
        return [*self.kept, *self.names]

    @property
    def is_packed(self) -> bool:
        """Whether a text is compressed."""
        return self.suffix.endswith(".gz")


def output_plan(
    out: Path, source: Source, names: Sequence[str], types: Sequence[CellType], compression: str | None
) -> OutputPlan:
    """The plan for a path, whose suffix says the form. Raises RefusedOutput."""
    is_packed = out.name.lower().endswith(".gz")
    suffix = Path(out.name.lower().removesuffix(".gz")).suffix
    form = _FORMS.get(suffix)
    if form is None or (is_packed and form == "parquet"):
        raise RefusedOutput(f"{out}: the suffix says the form: {', '.join(_FORMS)}, of texts also with .gz")
    allowed = get_args(Compression)
    if compression is not None and form != "parquet":
        raise RefusedOutput(f"compression is of Parquet files; for a compressed text name it {out.name}.gz")
    if compression is not None and compression not in allowed:
        raise RefusedOutput(f"there is no compression {compression!r}; there are: {', '.join(allowed)}")
    if form == "conllu" and CONLLU not in names:
        raise RefusedOutput(f"{out}: a .conllu file needs the column {CONLLU!r} of the answers, under this name")
    if form == "parquet":
        _require_pyarrow(out)
    schema = getattr(source, "kept_schema", None)
    chosen: Compression = compression or "zstd"  # type: ignore[assignment]  # checked above
    return OutputPlan(
        form, suffix + (".gz" if is_packed else ""), source.kept, schema, tuple(names), tuple(types), chosen
    )


def _require_pyarrow(out: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401 - whether it is there
    except ModuleNotFoundError as error:
        raise RefusedOutput(
            f"{out}: Parquet files need pyarrow: {install_hint('parquet')}; .csv and .jsonl do not"
        ) from error

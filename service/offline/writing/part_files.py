"""One part of the output, and all parts as one file."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from service.offline.answer_columns import CONLLU
from service.offline.writing.output_plan import OutputPlan

#: Compression of texts: a higher level takes longer than scoring a short row does.
_GZIP_LEVEL = 4
_COPY_BYTES = 1 << 20


def write_part(path: Path, plan: OutputPlan, kept: Any, answers: Sequence[Sequence[Any]]) -> None:
    """Write the rows of a window: `kept` as it is in `Window`, and the cells of each column of the answers.

    Of CoNLL-U the sentences alone: rows without an answer have none.
    """
    if plan.form == "parquet":
        from service.offline.writing.parquet_parts import write_table

        write_table(path, plan, kept, answers)
        return
    columns = kept if isinstance(kept, Mapping) else kept.to_pydict()
    rows = zip(*columns.values(), *answers, strict=True)
    with _text(path, plan) as file:
        if plan.form == "jsonl":
            file.writelines(_json_lines(plan, rows))
        elif plan.form == "conllu":
            file.writelines(sentence for sentence in answers[plan.names.index(CONLLU)] if sentence is not None)
        else:
            _writer(file, plan).writerows(map(_cells, rows))


def join_parts(path: Path, plan: OutputPlan, parts: Iterable[Path]) -> None:
    """Write all parts into one file, in their order; a file without rows has its columns."""
    if plan.form == "parquet":
        from service.offline.writing.parquet_parts import join_tables

        join_tables(path, plan, parts)
        return
    write_header(path, plan)
    with path.open("ab") as joined:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined, _COPY_BYTES)


def write_header(path: Path, plan: OutputPlan) -> None:
    """Write what comes before the first row; JSON lines and CoNLL-U have nothing."""
    with _text(path, plan) as file:
        if plan.form in ("csv", "tsv"):
            _writer(file, plan).writerow(plan.columns)


def _text(path: Path, plan: OutputPlan) -> IO[str]:
    raw: Any = gzip.GzipFile(path, "wb", _GZIP_LEVEL, mtime=0) if plan.is_packed else path.open("wb")
    return io.TextIOWrapper(raw, encoding="utf-8", errors="surrogatepass", newline="")


def _writer(file: IO[str], plan: OutputPlan) -> Any:
    return csv.writer(file, delimiter="\t" if plan.form == "tsv" else ",", lineterminator="\n")


def _cells(row: Sequence[Any]) -> list[Any]:
    return [_cell(value) for value in row]


def _cell(value: Any) -> Any:
    """Words with blanks between them, as `unroll predict --out` writes them; other lists and objects as JSON."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False, default=_plain) if isinstance(value, list | dict) else str(value)


def _json_lines(plan: OutputPlan, rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    names = plan.columns
    kinds = [*plan.kept.values(), *plan.types]
    parsed = [place for place, kind in enumerate(kinds) if kind == "json"]
    for row in rows:
        cells = list(row)
        for place in parsed:
            if cells[place] is not None:
                cells[place] = json.loads(cast(str, cells[place]))
        yield json.dumps(dict(zip(names, cells, strict=True)), ensure_ascii=False, default=_plain) + "\n"


def _plain(value: Any) -> str:
    """Values of Parquet files that JSON has not, such as times and decimals."""
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)

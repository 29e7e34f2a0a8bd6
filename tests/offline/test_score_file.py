"""A file scored in parts: every row once and in order, whatever stops a run, and nothing of another run mixed in."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from service.errors import UnrollError
from service.offline import Scorer
from service.offline.job import part_store, run
from service.offline.job.part_store import ForeignFolder, OtherJob, OutputBusy, PartStore
from service.offline.job.run import FileJob, score_file
from service.offline.reading.options import ReadOptions
from service.offline.reading.text_lines import UnreadableInput
from service.offline.writing.output_plan import RefusedOutput
from tests.conftest import wait_until

NUM_ROWS = 40


@pytest.fixture(scope="module")
def scorer(tiny_models: Path) -> Scorer:
    return Scorer(tiny_models / "tiny-classifier")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows of different lengths, two of which have no answer."""
    path = tmp_path / "in.csv"
    rows = [f"{number},{'one ' * (1 + number % 7) if number % 19 else ''}" for number in range(NUM_ROWS)]
    path.write_text("\n".join(["id,text", *rows]) + "\n", encoding="utf-8")
    return path


def job_of(scorer: Scorer, source: Path, out: Path, **options: Any) -> FileJob:
    read = ReadOptions(scorer.kind, keep=options.pop("keep", None))
    return FileJob(scorer, source, out, read, **{"part_rows": 8, **options})


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = data.decode("utf-8").splitlines()
    return list(map(json.loads, lines)) if ".jsonl" in path.name else list(csv.DictReader(lines))


def test_each_row_is_answered_once_and_in_order_in_every_form(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    """The forms hold the same; parts and lock are gone."""
    found = []
    for name in ("out.parquet", "out.csv", "out.tsv.gz", "out.jsonl", "out.jsonl.gz"):
        summary = score_file(job_of(scorer, table, tmp_path / name))
        assert (summary.counts.rows, summary.counts.num_errors) == (NUM_ROWS, 3)
        assert sum(summary.counts.labels.values()) == NUM_ROWS - 3
        if ".tsv" not in name:
            found.append(rows_of(tmp_path / name))
    assert [row["id"] for row in found[0]] == [str(number) for number in range(NUM_ROWS)]
    assert [(row["id"], row["label"] or None) for row in found[1]] == [(row["id"], row["label"]) for row in found[0]]
    assert found[0] == found[2] == found[3]
    assert "empty" in found[0][19]["error"]
    assert list(tmp_path.glob("*.parts")) == []


def test_answers_do_not_depend_on_the_parts(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    labels = []
    for part_rows in (3, 1000):
        out = tmp_path / f"{part_rows}.jsonl"
        score_file(job_of(scorer, table, out, part_rows=part_rows))
        labels.append([(row["label"], row["error"]) for row in rows_of(out)])
    assert labels[0] == labels[1]


def test_columns_are_kept_as_asked(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    score_file(job_of(scorer, table, tmp_path / "a.csv", keep=("id",)))
    assert list(rows_of(tmp_path / "a.csv")[0]) == ["id", "label", "score", "error"]
    score_file(job_of(scorer, table, tmp_path / "b.csv", keep=()))
    assert list(rows_of(tmp_path / "b.csv")[0]) == ["label", "score", "error"]


def test_a_file_without_rows_gives_a_file_with_columns(scorer: Scorer, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n", encoding="utf-8")
    for name in ("out.parquet", "out.csv"):
        assert score_file(job_of(scorer, tmp_path / "in.csv", tmp_path / name)).counts.rows == 0
    assert pq.read_schema(tmp_path / "out.parquet").names == ["id", "text", "label", "score", "error"]
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "id,text,label,score,error\n"


def test_shards_are_a_folder_of_whole_files(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    for suffix in (".parquet", ".csv"):
        out = tmp_path / f"out{suffix}"
        score_file(job_of(scorer, table, out, is_sharded=True))
        shards = sorted(out.iterdir())
        assert len(shards) == NUM_ROWS // 8
        assert [row["id"] for shard in shards for row in rows_of(shard)] == [str(n) for n in range(NUM_ROWS)]
    score_file(job_of(scorer, table, tmp_path / "out.parquet", is_sharded=True, overwrites=True, part_rows=20))
    assert len(list((tmp_path / "out.parquet").iterdir())) == 2


class _Stopped(BaseException):
    """Stands for a power cut: nothing catches it."""


@contextmanager
def stopped_before(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The process ends before the rename, link or removal with this number; yields those that were made."""
    made: list[str] = []
    with monkeypatch.context() as patch:
        for owner, name in ((part_store, "move_durably"), (run, "move_durably"), (run, "_replace_folder")):
            patch.setattr(owner, name, _counting(getattr(owner, name), name, step, made))
        patch.setattr(PartStore, "remove", _counting(PartStore.remove, "remove", step, made))
        yield made


def _counting(usual: Callable[..., Any], name: str, step: int, made: list[str]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        if len(made) == step:
            raise _Stopped
        made.append(name)
        return usual(*arguments)

    return counted


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "shards.jsonl"])
def test_a_run_that_is_stopped_anywhere_is_continued_to_the_same_output(
    scorer: Scorer, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Before every single step that changes what is on disk, one after another, until a run comes to its end."""
    is_sharded = name.startswith("shards")
    wanted = tmp_path / f"wanted-{name}"
    score_file(job_of(scorer, table, wanted, is_sharded=is_sharded))
    out, step, is_stopped = tmp_path / name, 0, True
    while is_stopped:
        job = job_of(scorer, table, out, is_sharded=is_sharded)
        with stopped_before(step, monkeypatch):
            try:
                score_file(job)
                is_stopped = False
            except _Stopped:
                step += 1
        if is_stopped:
            summary = score_file(job)
            assert (summary.counts.rows, summary.counts.num_errors) == (NUM_ROWS, 3)
        assert content(out) == content(wanted)
        assert not (tmp_path / f"{name}.parts").exists()
        shutil.rmtree(out) if is_sharded else out.unlink()
    assert step > 2 * NUM_ROWS // 8


def content(path: Path) -> list[bytes]:
    return [file.read_bytes() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


def test_a_run_continues_with_the_parts_that_are_there(
    scorer: Scorer, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(scorer, table, tmp_path / "out.csv")
    with stopped_before(7, monkeypatch), pytest.raises(_Stopped):  # job.json, and each part with its counts
        score_file(job)
    summary = score_file(job)
    assert summary.progress.rows_before == 3 * 8
    assert summary.counts.rows == NUM_ROWS


def test_parts_of_another_input_model_or_option_are_not_mixed_in(
    scorer: Scorer, tiny_models: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(scorer, table, tmp_path / "out.csv")
    with stopped_before(5, monkeypatch), pytest.raises(_Stopped):
        score_file(job)
    other = replace(job, scorer=Scorer(scorer.path, parameters={"top_k": 2}))
    with pytest.raises(OtherJob, match=r"parameters: \{\} before"):
        score_file(other)
    with pytest.raises(OtherJob, match="model: "):
        score_file(replace(job, scorer=Scorer(tiny_models / "tiny-tagger")))
    table.write_text(table.read_text(encoding="utf-8") + "40,one\n", encoding="utf-8")
    with pytest.raises(OtherJob, match="--restart"):
        score_file(job)
    summary = score_file(replace(job, restarts=True))
    assert (summary.counts.rows, summary.progress.rows_before) == (NUM_ROWS + 1, 0)


def test_an_input_that_changes_while_it_is_read_is_refused(
    scorer: Scorer, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(scorer, table, tmp_path / "out.csv")
    with pytest.raises(UnreadableInput, match="changed while it was read"):
        score_file(job, lambda _: os.utime(table, (1, 1)))
    assert not job.out.exists()


def test_other_files_beside_the_input_change_nothing(
    tiny_models: Path, scorer: Scorer, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output and its parts may be in the folder that is read."""
    folder = tmp_path / "shards"
    score_file(job_of(scorer, table, tmp_path / "in.parquet"))
    folder.mkdir()
    (tmp_path / "in.parquet").rename(folder / "in.parquet")
    job = job_of(scorer, folder, folder / "out.csv")
    with stopped_before(5, monkeypatch), pytest.raises(_Stopped):
        score_file(job)
    summary = score_file(job)
    assert summary.progress.rows_before > 0
    assert summary.counts.rows == NUM_ROWS


def test_what_a_finished_run_left_is_no_answer_to_another_one(
    scorer: Scorer, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed after its output was in place: another one is scored anew, the same one is finished."""
    job = job_of(scorer, table, tmp_path / "out.csv", overwrites=True)
    for options, was_finished in (({"keep": ("id",)}, False), ({}, True)):
        with monkeypatch.context() as patch:
            patch.setattr(PartStore, "remove", _stop)
            with pytest.raises(_Stopped):
                score_file(job)
        again = job_of(scorer, table, job.out, overwrites=True, **options)
        assert score_file(again).was_finished is was_finished
        assert not (tmp_path / "out.csv.parts").exists()
        assert ("text" in rows_of(job.out)[0]) is was_finished


def _stop(_: object) -> None:
    raise _Stopped


def test_a_folder_of_somebody_else_is_not_removed(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    """Nor is a file in the place of the parts a traceback."""
    thesis = tmp_path / "out.csv.parts" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("precious", encoding="utf-8")
    with pytest.raises(ForeignFolder, match=r"thesis\.txt"):
        score_file(job_of(scorer, table, tmp_path / "out.csv"))
    assert thesis.exists()
    (tmp_path / "b.csv.parts").touch()
    with pytest.raises(ForeignFolder, match="is a file"):
        score_file(job_of(scorer, table, tmp_path / "b.csv"))


def test_a_link_as_output_stays_one(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    """Its target is written, and is not replaced unasked."""
    link, target = tmp_path / "link.csv", tmp_path / "target.csv"
    link.symlink_to(target)
    score_file(job_of(scorer, table, link))
    assert link.is_symlink()
    assert len(rows_of(target)) == NUM_ROWS
    with pytest.raises(RefusedOutput, match="--force"):
        score_file(job_of(scorer, table, link))


def test_a_full_disk_is_said_in_a_sentence(
    scorer: Scorer, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of a write has no name of a file."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(PartStore, "commit", full)
    with pytest.raises(UnrollError, match=r"out\.csv: No space left on device; repeat"):
        score_file(job_of(scorer, table, tmp_path / "out.csv"))


def test_two_runs_never_write_one_output(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    job = job_of(scorer, table, tmp_path / "out.csv")
    refused = []

    def score_again(_: object) -> None:
        with pytest.raises(OutputBusy, match="another process"):
            score_file(job)
        refused.append(True)

    score_file(job, score_again)
    assert len(refused) == NUM_ROWS // 8
    assert len(rows_of(job.out)) == NUM_ROWS


def test_what_is_there_is_not_replaced_unasked(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("precious", encoding="utf-8")
    with pytest.raises(RefusedOutput, match="--force"):
        score_file(job_of(scorer, table, out))
    assert out.read_text(encoding="utf-8") == "precious"
    score_file(job_of(scorer, table, out, overwrites=True))
    assert len(rows_of(out)) == NUM_ROWS
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(RefusedOutput, match="no parts of an output"):
        score_file(job_of(scorer, table, folder, overwrites=True, is_sharded=True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("in.csv", "this is what is read"),
        ("nowhere/out.csv", "there is no folder"),
        ("out.xlsx", "the suffix says the form"),
        ("out.parquet.gz", "the suffix says the form"),
        ("out.conllu", "needs the column 'conllu'"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(
    scorer: Scorer, table: Path, tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(RefusedOutput, match=message):
        score_file(job_of(scorer, table, tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_and_is_continued(scorer: Scorer, table: Path, tmp_path: Path) -> None:
    """`kill -9` of the command while its worker processes have parts in hand; the lock does not outlive it."""
    out = tmp_path / "out.jsonl"
    big = tmp_path / "big.csv"
    big.write_text("id,text\n" + "".join(f"{number},hello world\n" for number in range(4000)), encoding="utf-8")
    arguments = [str(scorer.path), str(big), str(out), "--workers", "2", "--part-rows", "100"]
    command = [sys.executable, "-m", "service", "score", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(list(tmp_path.glob("out.jsonl.parts/part-*.jsonl"))) > 2)
        children = _children(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert children
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    summary = score_file(job_of(scorer, big, out, part_rows=100))
    assert summary.progress.rows_before >= 200
    assert [row["id"] for row in rows_of(out)] == [str(number) for number in range(4000)]


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return [int(child) for child in found]

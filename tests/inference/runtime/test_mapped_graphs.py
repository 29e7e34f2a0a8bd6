"""Workers map the weights of a bundle from the same files, which nothing that happens to the bundle can reach."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.self_check import self_check
from service.inference.runtime import mapped_graphs
from service.inference.runtime.mapped_graphs import DATA_FILE, GRAPH_FILE, MappedGraph, MappedGraphs
from service.inference.runtime.ort_runner import OrtRunner
from service.tasks.core.task import Array
from tests.allowed_skips import OTHER_SYSTEM
from tests.tiny_bundles import copy_bundle, write_tiny_bundle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: it has no workers")

ROOT = Path(__file__).parents[3]
SHIPPED = sorted(ROOT.glob("models/*/*/manifest.json"))
CLASSIFIER = ROOT / "models/intent-en/1"
_MAPPING = """
import sys
from pathlib import Path
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.self_check import self_check
from service.inference.runtime.mapped_graphs import MappedGraphs
opened = open_bundle(Path(sys.argv[1]), "cpu", mapped=MappedGraphs(Path(sys.argv[2])))
self_check(opened)
print(Path("/proc/self/smaps").read_text())
"""


@pytest.fixture
def mapped(tmp_path: Path) -> MappedGraphs:
    return MappedGraphs(tmp_path / "graphs", min_bytes=0)


def files_of(mapped: MappedGraphs) -> list[Path]:
    """The folders of graphs that are there."""
    return [file.parent for file in mapped._folder.glob(f"[!.]*/{GRAPH_FILE}")]


@contextmanager
def runs_of(opened: OpenBundle) -> Iterator[list[tuple[str, Mapping[str, Array], list[str], dict[str, Array]]]]:
    """Notes the graph, inputs and outputs of each run of a bundle."""
    noted: list[tuple[str, Mapping[str, Array], list[str], dict[str, Array]]] = []
    run = OrtRunner._run

    def noting(self: OrtRunner, graph: str, feeds: Mapping[str, Array], names: list[str]) -> dict[str, Array]:
        outputs = run(self, graph, feeds, names)
        noted.append((graph, dict(feeds), names, outputs))
        return outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OrtRunner, "_run", noting)
        yield noted


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_mapped_graphs_compute_the_same_to_the_bit(mapped: MappedGraphs, precision: Any) -> None:
    """Every run of the self-check of every shipped bundle gives the same bits as on a session of its own."""
    paths = [file.parent for file in SHIPPED if precision == "fp32" or '"int8"' in file.read_text(encoding="utf-8")]
    assert paths
    for path in paths:
        own = open_bundle(path, "cpu", precision=precision)
        with runs_of(own) as noted:
            self_check(own)
        shared = open_bundle(path, "cpu", precision=precision, mapped=mapped)
        assert len(files_of(mapped)) == len(shared.bundle.manifest.graphs), path
        for graph, feeds, names, outputs in noted:
            for name, value in shared.runner._run(graph, feeds, names).items():
                assert np.array_equal(value, outputs[name], equal_nan=True), (path, graph, name)
        del shared


def test_two_processes_have_the_weights_in_the_same_pages(tmp_path: Path) -> None:
    folder = tmp_path / "graphs"
    opened = open_bundle(CLASSIFIER, "cpu", mapped=MappedGraphs(folder))
    self_check(opened)
    command = [sys.executable, "-c", _MAPPING, str(CLASSIFIER), str(folder)]
    smaps = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [data] = folder.glob(f"*/{DATA_FILE}")
    kilobytes = {"Rss": 0, "Pss": 0, "Anonymous": 0}
    is_data = False
    for line in smaps.splitlines():
        name, _, rest = line.partition(":")
        if "-" in name.split(" ")[0]:
            is_data = line.endswith(str(data))
        elif is_data and name in kilobytes:
            kilobytes[name] += int(rest.split()[0])
    assert kilobytes["Anonymous"] == 0, "no page was copied"
    assert kilobytes["Rss"] > 1000, "the weights are in use"
    assert kilobytes["Pss"] < 0.6 * kilobytes["Rss"], f"each page counts half: {kilobytes}"


def test_what_happens_to_the_files_of_a_bundle_does_not_reach_its_sessions(
    tmp_path: Path, mapped: MappedGraphs
) -> None:
    path = copy_bundle(CLASSIFIER, tmp_path / "models")
    opened = open_bundle(path, "cpu", mapped=mapped)
    [folder] = files_of(mapped)
    assert (folder / DATA_FILE).stat().st_size > (path / "classifier.onnx").stat().st_size
    with (path / "classifier.onnx").open("r+b") as file:
        file.write(bytes(1_000_000))
        file.truncate(500_000)
    self_check(opened)


def test_files_are_removed_with_the_last_runner_that_uses_them(tmp_path: Path, mapped: MappedGraphs) -> None:
    path = write_tiny_bundle(tmp_path / "models", "classification")
    first = open_bundle(path, "cpu", mapped=mapped)
    second = open_bundle(path, "cpu", mapped=mapped)
    assert len(files_of(mapped)) == 1
    del first
    assert len(files_of(mapped)) == 1
    self_check(second)
    del second
    assert files_of(mapped) == []


def test_files_are_readable_by_nobody_else_and_written_by_nobody(tmp_path: Path, mapped: MappedGraphs) -> None:
    opened = open_bundle(CLASSIFIER, "cpu", mapped=mapped)
    [folder] = files_of(mapped)
    assert opened.runner.providers
    assert [mapped._folder.stat().st_mode & 0o777, folder.stat().st_mode & 0o777] == [0o700, 0o700]
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o400}


@pytest.mark.parametrize("obstacle", ["no room", "read-only", "cut off", "small"])
def test_a_bundle_whose_weights_cannot_be_mapped_still_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    """With a copy of its own, as in a process that serves alone."""
    mapped = MappedGraphs(tmp_path / "graphs", min_bytes=100_000_000 if obstacle == "small" else 0)
    if obstacle == "no room":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    if obstacle == "read-only":
        (tmp_path / "graphs").write_text("a file where the folder should be", encoding="utf-8")
    if obstacle == "cut off":
        complete = mapped_graphs._complete

        def cut(file: Path) -> None:
            with file.open("r+b") as data:
                data.truncate(file.stat().st_size // 2 if file.name == DATA_FILE else None)
            complete(file)

        monkeypatch.setattr(mapped_graphs, "_complete", cut)
    opened = open_bundle(CLASSIFIER, "cpu", mapped=mapped)
    self_check(opened)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_a_graph_that_is_none_leaves_nothing_behind(mapped: MappedGraphs) -> None:
    def fail(folder: Path) -> None:
        (folder / GRAPH_FILE).write_bytes(b"half of it")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        mapped.hold(b"content", b"", "1", fail)
    assert [file.name for file in mapped._folder.iterdir()] == [mapped_graphs._LOCK_FILE]


def test_files_that_were_just_removed_are_made_anew(mapped: MappedGraphs) -> None:
    """Who opened a file before its last user removed it does not get what is there no longer."""

    def make(folder: Path) -> None:
        (folder / GRAPH_FILE).write_bytes(b"graph")

    first = mapped.hold(b"content", b"", "1", make)
    assert isinstance(first, MappedGraph)
    first.release()
    second = mapped.hold(b"content", b"", "1", make)
    assert isinstance(second, MappedGraph)
    assert second.file.read_bytes() == b"graph"
    second.release()

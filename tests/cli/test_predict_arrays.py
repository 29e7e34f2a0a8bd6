"""`unroll predict` with named arrays: files of numpy and JSON, arguments and standard input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from service.bundle.load import load_bundle
from service.cli import commands as cli
from service.tasks.recorded import differences
from tests.tasks.tensors.tiny_tensors import sample, write_tensors_bundle

runner = CliRunner()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("arrays") / "models"
    for kind in ("masked", "several"):
        write_tensors_bundle(root, kind)
    return root


def run(models: Path, kind: str, *arguments: str, text: str | None = None, code: int = 0) -> str:
    options = ["predict", "--models", str(models), "-m", f"tiny-{kind}"]
    result = runner.invoke(cli.app, [*options, *arguments], input=text)
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def predictions(models: Path, kind: str, *arguments: str, text: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(models, kind, *arguments, "--json", text=text))["predictions"]
    return found


@pytest.fixture(scope="module")
def recorded(models: Path) -> list[Any]:
    """The examples of the bundle with several inputs: of 4 and of 6 steps."""
    return [(one.inputs["tensors"], one.answer) for one in load_bundle(models / "tiny-several" / "1").examples]


def check(found: list[dict[str, Any]], recorded: list[Any]) -> None:
    assert differences([answer for _, answer in recorded], found, 1e-5) == []


def test_rows_of_an_npz_file_are_inputs(models: Path, tmp_path: Path, recorded: list[Any]) -> None:
    """Arrays with an axis of rows are as many inputs, cut at their lengths; arrays without one are one input."""
    short, long = (arrays for arrays, _ in recorded)
    rows = {}
    for name in short:
        parts = [np.array(short[name]), np.array(long[name])]
        batch = np.zeros((2, *parts[1].shape))
        for place, part in zip(batch, parts, strict=True) if parts[0].ndim else ():
            place[: len(part)] = part
        rows[name] = (batch if parts[0].ndim else np.stack(parts)).astype(np.array(short[name]).dtype)
    np.savez(tmp_path / "rows.npz", **rows, lengths=np.array([4, 6]), target=np.zeros(2))
    check(predictions(models, "several", str(tmp_path / "rows.npz")), recorded)
    np.savez(tmp_path / "one.npz", **{name: np.array(value) for name, value in long.items()})
    check(predictions(models, "several", str(tmp_path / "one.npz")), recorded[1:])


def test_json_has_an_object_for_each_input(models: Path, tmp_path: Path, recorded: list[Any]) -> None:
    """A list of objects, an object in each line, an argument, and standard input, with `tensors` around or without."""
    objects = [recorded[0][0], {"tensors": recorded[1][0]}]
    lines = "\n".join(map(json.dumps, objects))
    (tmp_path / "all.json").write_text(json.dumps(objects), encoding="utf-8")
    (tmp_path / "all.jsonl").write_text(lines + "\n\n", encoding="utf-8")
    check(predictions(models, "several", str(tmp_path / "all.json")), recorded)
    check(predictions(models, "several", str(tmp_path / "all.jsonl")), recorded)
    check(predictions(models, "several", *map(json.dumps, objects)), recorded)
    check(predictions(models, "several", text=lines), recorded)


def test_the_only_input_may_be_an_npy_file(models: Path, tmp_path: Path) -> None:
    """An array file is the input of a model that has one; a model that has several says so."""
    np.save(tmp_path / "x.npy", np.array(sample("masked", 4)["x"]))
    (found,) = predictions(models, "masked", str(tmp_path / "x.npy"))
    assert len(found["outputs"]["z"]) == 4
    assert "the model has several inputs, x, pixels" in run(models, "several", str(tmp_path / "x.npy"), code=2)


def test_answers_are_readable_and_written_to_files(models: Path, tmp_path: Path) -> None:
    """On a terminal the rows of each output under its name; in a file the answer as JSON."""
    np.save(tmp_path / "x.npy", np.array(sample("masked", 3)["x"]))
    lines = run(models, "masked", str(tmp_path / "x.npy")).splitlines()
    assert (lines[0], lines[4]) == ("# z [3, 2]", "# last [2]")
    assert len(lines[1].split("\t")) == 2
    run(models, "masked", str(tmp_path / "x.npy"), "--out", str(tmp_path / "out.jsonl"))
    assert set(json.loads((tmp_path / "out.jsonl").read_text())["outputs"]) == {"z", "last"}


def broken(folder: Path) -> dict[str, tuple[str, str]]:
    """Names of files, the model, and what is said of them."""
    np.savez(folder / "missing.npz", y=np.zeros((2, 3)))
    np.savez(folder / "depth.npz", x=np.zeros(3))
    np.savez(folder / "lengths.npz", x=np.zeros((2, 4, 3)), lengths=np.array([0, 4]))
    np.savez(folder / "rows.npz", x=np.zeros((2, 4, 3)), lengths=np.array([4]))
    (folder / "text.npz").write_text("no archive")
    (folder / "bad.jsonl").write_text('{"x": [')
    (folder / "list.json").write_text("[1, 2]")
    (folder / "table.csv").write_text("x\n1\n")
    return {
        "missing.npz": ("masked", "there is no array 'x'; there are: y"),
        "depth.npz": ("masked", "all arrays have a first axis of rows, or none has one: x has [3] for ['time', 3]"),
        "lengths.npz": ("masked", "lengths are a whole number for each row, at least 1"),
        "rows.npz": ("masked", "the arrays have as many rows: x 2, lengths 1"),
        "text.npz": ("masked", "cannot be read"),
        "bad.jsonl": ("masked", "bad.jsonl:1: this is not JSON"),
        "list.json": ("masked", "an input is an object of arrays by name"),
        "table.csv": ("masked", "named arrays are read from .npz, .npy, .json"),
    }


def test_broken_files_are_told(models: Path, tmp_path: Path) -> None:
    """Each fault of a file is one sentence with the name of the file."""
    for name, (kind, message) in broken(tmp_path).items():
        told = run(models, kind, str(tmp_path / name), code=2)
        assert name in told
        assert message in told


def test_a_refused_row_keeps_its_place(models: Path, tmp_path: Path) -> None:
    """In a file of answers a row that is refused has its reason, and the others their answers."""
    path = tmp_path / "in.jsonl"
    path.write_text(f'{json.dumps(sample("masked", 2))}\n{{"x": [["a", 0, 0]]}}\n', encoding="utf-8")
    assert "1 inputs were refused" in run(models, "masked", str(path), "--out", str(tmp_path / "out.jsonl"), code=2)
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert len(first["outputs"]["z"]) == 2
    assert "tensors.x.0.0: this is the text 'a'" in second["error"]

"""Runs and bundles by name or by path."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import UnrollError
from training.cli.names import bundle_at, run_at


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run, and with a model of several versions."""
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.toml").touch()
    for version in ("1", "9", "10", "draft"):
        (tmp_path / "models" / "mine" / version).mkdir(parents=True)
        (tmp_path / "models" / "mine" / version / "manifest.json").touch()
    (tmp_path / "models" / "mine" / "11").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("mine", "models/mine/10"),
        ("mine/9", "models/mine/9"),
        ("models/mine", "models/mine/10"),
        ("models/mine/1", "models/mine/1"),
        ("models/mine/draft", "models/mine/draft"),
    ],
)
def test_bundles(asked: str, found: str, home: Path) -> None:
    """Of a name the highest version that is whole, by number; a path is itself."""
    assert bundle_at(Path(asked), Path("models")) == Path(found)
    assert bundle_at(home / found, Path("elsewhere")) == home / found


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("mien", r"no model 'mien'.* in models; did you mean mine\? --models"),
        ("mine/7", "no model 'mine/7'"),
        ("runs", "runs is not a bundle: it has no manifest.json"),
        ("models/mine/11", "is not a bundle"),
    ],
)
def test_missing_bundles(asked: str, reason: str, home: Path) -> None:
    """What is missing is said with the nearest name."""
    with pytest.raises(UnrollError, match=reason):
        bundle_at(Path(asked), Path("models"))


def test_runs(home: Path) -> None:
    """A run by name, by path and from elsewhere; a folder that is none, and a wrong name with the nearest one."""
    assert run_at(Path("mine"), Path("runs")) == Path("runs/mine")
    assert run_at(Path("runs/mine"), Path("runs")) == Path("runs/mine")
    assert run_at(home / "runs" / "mine", Path("elsewhere")) == home / "runs" / "mine"
    with pytest.raises(UnrollError, match=r"models is not a run folder: it has no config\.toml"):
        run_at(Path("models"), Path("runs"))
    with pytest.raises(UnrollError, match=r"no run 'mime'.*did you mean mine\?"):
        run_at(Path("mime"), Path("runs"))
    with pytest.raises(UnrollError, match="no run 'x'"):
        run_at(Path("x"), Path("nowhere"))

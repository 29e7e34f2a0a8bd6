"""The forms of `--vary`."""

from __future__ import annotations

import pytest

from training.config.recipe import ConfigFault
from training.pipeline.search_space import Choice, Range, parse_space


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("training.learning_rate=1e-4..1e-2:log", Range("training.learning_rate", 1e-4, 1e-2, log=True)),
        ("network.dropout=0.1..0.6", Range("network.dropout", 0.1, 0.6)),
        ("network.layers=1..3", Range("network.layers", 1, 3)),
        ("network.hidden_size=128,256", Choice("network.hidden_size", (128, 256))),
        ("network.cell=lstm, gru", Choice("network.cell", ("lstm", "gru"))),
        ("network.bidirectional=true,false", Choice("network.bidirectional", (True, False))),
        ("seed=1", Choice("seed", (1,))),
    ],
)
def test_forms(said: str, meant: Range | Choice) -> None:
    """Ranges of numbers, also on a log scale, and lists of any values are parsed."""
    (found,) = parse_space([said])
    assert found == meant
    if isinstance(found, Range) and isinstance(meant, Range):
        assert type(found.low) is type(meant.low)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("training.epochs", "not of the form key=values"),
        ("=1,2", "not of the form key=values"),
        ("a=", "not of the form key=values"),
        ("a=1..b", "b is not a number"),
        ("a=2..1", "low must be below high"),
        ("a=0..1:log", "above 0 for :log"),
        ("a=1..2:linear", "after the range comes :log or nothing, not :linear"),
    ],
)
def test_mistakes(said: str, reason: str) -> None:
    """The error has the given text and the valid forms."""
    with pytest.raises(ConfigFault, match=reason) as caught:
        parse_space([said])
    assert said in str(caught.value)


def test_a_key_is_varied_once() -> None:
    """Two ranges for one key, and a search without keys, are refused."""
    with pytest.raises(ConfigFault, match="seed: given twice"):
        parse_space(["seed=1,2", "seed=3..4"])
    with pytest.raises(ConfigFault, match="--vary is missing"):
        parse_space([])


class Trial:
    """Suggests the lower bound or the last choice, and records the requests."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        self.asked.append((name, low, high, log))
        return low

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        self.asked.append((name, low, high, log))
        return low

    def suggest_categorical(self, name: str, choices: tuple[object, ...]) -> object:
        self.asked.append((name, *choices))
        return choices[-1]


def test_whole_numbers_stay_whole() -> None:
    """A range between integers suggests integers, and any other range floats."""
    trial = Trial()
    space = parse_space(["a=1..3", "b=1..3.5:log", "c=x,y"])
    assert [each.suggest(trial) for each in space] == [1, 1, "y"]  # type: ignore[arg-type]
    assert trial.asked == [("a", 1, 3, False), ("b", 1, 3.5, True), ("c", "x", "y")]

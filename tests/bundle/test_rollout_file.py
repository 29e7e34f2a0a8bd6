"""The rollout file is checked as a whole, replaced at once, and says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.bundle.models_folder import list_models_folder
from service.bundle.rollout_file import ROLLOUT_FILE, Rollout, change_rollout, read_rollout, write_rollout
from service.errors import BundleCorrupt, InvalidInput, UnknownModel

GOOD = Rollout.model_validate(
    {"aliases": {"stable": "3", "canary": "4"}, "traffic": {"stable": 90, "4": 10}, "shadow": {"to": "4", "share": 0.1}}
)


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_rollout(tmp_path, GOOD)
    assert read_rollout(tmp_path) == GOOD
    assert list(tmp_path.iterdir()) == [tmp_path / ROLLOUT_FILE]
    write_rollout(tmp_path, Rollout())
    assert not list(tmp_path.iterdir())
    assert read_rollout(tmp_path).is_empty


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "EOF"),
        ("{", "EOF"),
        ("[]", "object"),
        ('{"aliases": {"3": "3"}}', "an alias is a-z"),
        ('{"aliases": {"Canary": "3"}}', "an alias is a-z"),
        ('{"aliases": {"canary": "latest"}}', "a version is a number"),
        ('{"aliases": {"canary": 3}}', "string"),
        ('{"traffic": {"canary": 3}}', "neither a version nor an alias"),
        ('{"traffic": {"3": -1}}', "greater than or equal to 0"),
        ('{"traffic": {"3": NaN}}', "finite"),
        ('{"traffic": {"3": 0}}', "above 0"),
        ('{"shadow": {"to": "x"}}', "neither a version nor an alias"),
        ('{"shadow": {"to": "3", "share": 1.5}}', "less than or equal to 1"),
        ('{"weights": {}}', "Extra inputs"),
        (json.dumps({"aliases": {f"a{number}": "1" for number in range(65)}}), "at most 64"),
        ("[" * 50_000, "JSON"),
        (" " * 70_000, "larger than"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / ROLLOUT_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(BundleCorrupt, match=reason) as refusal:
        read_rollout(tmp_path)
    assert ROLLOUT_FILE in str(refusal.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ROLLOUT_FILE).symlink_to("nowhere")
    with pytest.raises(BundleCorrupt, match="link to nothing"):
        read_rollout(tmp_path)
    (tmp_path / ROLLOUT_FILE).unlink()
    (tmp_path / ROLLOUT_FILE).mkdir()
    with pytest.raises(BundleCorrupt, match="no file"):
        read_rollout(tmp_path)


def test_aliases_change_one_by_one_and_weights_as_a_whole() -> None:
    after = GOOD.changed({"aliases": {"canary": "5", "old": "1"}, "traffic": {"stable": 1}})
    assert after.aliases == {"stable": "3", "canary": "5", "old": "1"}
    assert after.traffic == {"stable": 1}
    assert after.shadow == GOOD.shadow
    assert GOOD.changed({"aliases": {"canary": None}, "traffic": None, "shadow": None}) == Rollout(
        aliases={"stable": "3"}
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"aliases": {"stable": "x"}}, ("aliases", "stable")), ({"shadow": {"to": "4", "share": 0}}, ("shadow", "share"))],
)
def test_a_bad_change_names_the_field(changes: dict[str, Any], field: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        GOOD.changed(changes)
    assert refusal.value.field == field


def test_a_version_that_is_not_there_gets_no_name_but_old_names_may_stay(tmp_path: Path) -> None:
    """What an alias names may have been removed since; another alias can be changed all the same."""
    write_rollout(tmp_path, GOOD)
    with pytest.raises(UnknownModel, match="no version '7'; there are: 3, 10"):
        change_rollout(tmp_path, {"aliases": {"canary": "7"}}, ["10", "3"])
    assert read_rollout(tmp_path) == GOOD
    assert change_rollout(tmp_path, {"aliases": {"stable": "10"}}, ["10", "3"]).aliases["canary"] == "4"


def test_the_file_is_no_stray_of_the_models_folder(tmp_path: Path) -> None:
    (tmp_path / "spam-en" / "1").mkdir(parents=True)
    write_rollout(tmp_path / "spam-en", GOOD)
    listed = list_models_folder(tmp_path)
    assert (len(listed.bundles), listed.strays) == (1, ())

"""Storages that cannot be opened or reached are named, with the reason and without their password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import IntegrityError

from tests.ports import free_port
from training.pipeline.studies.storage import StorageFault, open_storage, storage_in_words

#: What SQLite says to the second of two processes that create Optuna's tables.
IN_THE_WAY = IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed: alembic_version.version_num"))


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("postgresql://me:secret@127.0.0.1/db", "driver|refused"),
        ("nonsense://x", "NoSuchModuleError"),
        ("postgresql://me:secret@127.0.0.1:port/db", "ValueError|port"),
        ("sqlite:////nowhere/at/all/study.db", "unable to open"),
    ],
)
def test_what_cannot_be_opened_is_said(where: str, reason: str) -> None:
    """A missing driver, an unknown kind, a wrong port and a missing folder are one sentence with --storage."""
    with pytest.raises(StorageFault, match=reason) as told:
        open_storage(where)
    assert str(told.value).startswith("--storage ")
    assert "secret" not in str(told.value)


def test_a_redis_that_does_not_answer_is_said() -> None:
    """Redis connects at the first command; its error is told as that of a storage."""
    where = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(StorageFault, match="ConnectionError") as told, storage_in_words(where):
        open_storage(where).get_all_studies()
    assert "secret" not in str(told.value)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    """A file of another kind is refused, and a folder as well."""
    (tmp_path / "a.db").write_text("text" * 1000, encoding="utf-8")
    with pytest.raises(StorageFault, match="not a database"):
        open_storage(str(tmp_path / "a.db"))
    with pytest.raises(StorageFault, match="directory"):
        open_storage(str(tmp_path))


def test_tables_that_another_process_creates_at_once_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two open a new database at once, the one that comes second opens it again."""
    where, created, refusals = str(tmp_path / "study.db"), optuna.storages.RDBStorage, [IN_THE_WAY]

    def create(*arguments: Any, **options: Any) -> Any:
        created(*arguments, **options)  # the other process
        if refusals:
            raise refusals.pop()
        return created(*arguments, **options)

    monkeypatch.setattr(optuna.storages, "RDBStorage", create)
    assert open_storage(where).get_all_studies() == []
    assert not refusals

"""Storage of an Optuna study: a file on a disk that all processes share, or a database by URL."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from service.errors import UnrollError

#: Seconds that a process waits for the others to let go of an SQLite file.
_SQLITE_WAIT_S: Final = 60
_SQLITE_SUFFIXES: Final = frozenset({".db", ".sqlite", ".sqlite3"})
#: How databases say that another process has just created a table, or the one row of a table.
_CREATED_ELSEWHERE: Final = re.compile(r"already exists|duplicate|unique constraint", re.IGNORECASE)
_PAUSES_S: Final = (0.1, 0.3, 1.0, 3.0)
_PASSWORD: Final = re.compile(r"(?<=://)([^/@:]*):[^@/]*@")


class StorageFault(UnrollError):
    """The storage of a study cannot be opened or reached."""


def open_storage(where: str) -> Any:
    """An `optuna.storages.BaseStorage` from a URL of SQLAlchemy or Redis, or from a file.

    A file named .db, .sqlite or .sqlite3 is SQLite, any other one a journal, which network file systems allow too.

    Raises:
        StorageFault: it cannot be opened, or another version of Optuna wrote it.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalRedisBackend

    with storage_in_words(where, opening=True):
        if where.startswith(("redis://", "rediss://")):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # meant for who calls Optuna, not for users
                return JournalStorage(JournalRedisBackend(where))
        if "://" in where:
            return _database(where)
        file = Path(where).absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in _SQLITE_SUFFIXES:
            return _database(f"sqlite:///{file}")
        return JournalStorage(JournalFileBackend(str(file)))


def _database(url: str) -> Any:
    """The storage in a database. Processes that open a new one at once create its tables at once, and all but one fail.

    Optuna takes no lock for that; who comes second finds the tables at the next attempt.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    for pause_s in _PAUSES_S:
        try:
            return _connected(url)
        except (StorageInternalError, SQLAlchemyError) as error:
            if not _CREATED_ELSEWHERE.search(f"{error} {error.__cause__}"):
                raise
            time.sleep(pause_s)
    return _connected(url)


def _connected(url: str) -> Any:
    from optuna.storages import RDBStorage

    if not url.startswith("sqlite"):
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _SQLITE_WAIT_S}})
    _serialise(storage.engine)
    return storage


def _serialise(engine: Any) -> None:
    """Begin each transaction of SQLite by taking the lock for writing.

    SQLite has no SELECT ... FOR UPDATE, with which Optuna keeps two processes from taking one trial.
    """
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # sqlite3 then begins no transactions by itself

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections from before are of the other kind


@contextmanager
def storage_in_words(where: str, opening: bool = False) -> Iterator[None]:
    """Turn errors of a storage into a StorageFault that names it, without its password."""
    from optuna.exceptions import StorageInternalError

    kinds: tuple[type[Exception], ...] = (StorageInternalError, *errors_of_clients())
    if opening:  # a missing driver, a port that is no number, tables of another version of Optuna, a folder
        kinds = (*kinds, ImportError, ValueError, RuntimeError, OSError)
    try:
        yield
    except kinds as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        reason = " ".join(str(cause).split())[:300]
        if isinstance(cause, ImportError):
            reason += " A driver is a package such as psycopg2-binary or PyMySQL (a URL mysql+pymysql://...)."
        shown, reason = (_PASSWORD.sub(r"\1:***@", text) for text in (where, reason))
        raise StorageFault(f"--storage {shown}: {type(cause).__name__}: {reason}") from error


def errors_of_clients() -> Iterator[type[Exception]]:
    """The errors of the clients of databases that are installed."""
    try:
        from sqlalchemy.exc import SQLAlchemyError

        yield SQLAlchemyError
    except ImportError:
        pass
    try:
        from redis.exceptions import RedisError

        yield RedisError
    except ImportError:
        pass

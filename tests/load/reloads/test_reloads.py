"""Reloads under load, in a short form: no request fails, and no version answers that should not."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.allowed_skips import OTHER_SYSTEM
from tests.load.reloads.run import ReloadPlan, ReloadTest
from tests.load.reloads.versions import REFUSED, Known, Versions, known_answers, write_versions
from tests.load.soak.run import SETTINGS
from tests.load.soak.verdict import Soaked
from tests.load.soak.watch.server_log import ServerLog
from tests.load.targets.own_server import own_server
from tests.load.targets.server_process import ServerProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: it has no /proc")


class Subject(NamedTuple):
    server: ServerProcess
    versions: Versions
    known: Known
    log: ServerLog


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    under = tmp_path_factory.mktemp("reloads")
    versions, log = write_versions(under), under / "log"
    with own_server(versions.models, log, SETTINGS) as server:
        yield Subject(server, versions, known_answers(versions), ServerLog(log, REFUSED))


def reloaded(subject: Subject, known: Known | None = None) -> Soaked:
    """Two rounds of all changes; growth of memory is judged in the long form only."""

    async def run() -> Soaked:
        test = ReloadTest(
            subject.server, subject.versions, known or subject.known, subject.log, ReloadPlan(40, 3), lambda _: None
        )
        return await test.run()

    return dataclasses.replace(asyncio.run(run()), warm_up_s=None)


def test_changes_under_load_fail_no_request_and_mix_no_versions(subject: Subject) -> None:
    found = reloaded(subject)
    faults = {sort: sentences for sort, sentences in found.findings.shown.items() if sentences}
    assert not faults
    assert all(found.findings.requests[kind] for kind in found.wanted_kinds)
    assert not any(found.left.values())


def test_an_answer_of_another_version_is_found(subject: Subject) -> None:
    """With the answers of both versions exchanged, every kind of question notices."""
    exchanged = Known(
        {"1": subject.known.labels["2"], "2": subject.known.labels["1"]},
        {version: dict.fromkeys(texts, "?") for version, texts in subject.known.texts.items()},
    )
    found = reloaded(subject, exchanged)
    assert {kind for kind, number in found.findings.wrong.items() if number} == {
        "predictions",
        "predictions by alias",
        "streams",
    }

"""The soak test, in a short form: it finds nothing wrong with the service, and it finds what is wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.allowed_skips import OTHER_SYSTEM
from tests.load.soak.callers.caller import Caller
from tests.load.soak.callers.findings import Findings
from tests.load.soak.callers.known_answers import KnownAnswers, Question, known_answers
from tests.load.soak.callers.published_versions import KIND as RELOADS
from tests.load.soak.callers.refusals import REFUSALS
from tests.load.soak.callers.visits import KINDS, ask_in_vain
from tests.load.soak.models_folder import RELOADED, write_folders
from tests.load.soak.run import SETTINGS, Extent, Load, Subject, run_soak
from tests.load.soak.verdict import Soaked
from tests.load.soak.watch.server_log import ServerLog
from tests.load.targets.own_server import own_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason=f"{OTHER_SYSTEM}: it has no /proc")

#: All kinds by every caller, and a version that came and went.
_SHORT = Extent(num_requests=600, num_reloads=2)
_FEW_CALLERS = Load(num_callers=4, reload_every_s=0)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """A server process with tiny bundles, and what it must answer."""
    under = tmp_path_factory.mktemp("soak")
    folders, log = write_folders(under), under / "log"
    with own_server(folders.models, log, SETTINGS) as server:
        yield Subject(server, folders, known_answers(*folders), ServerLog(log))


def soaked(subject: Subject, extent: Extent) -> Soaked:
    return run_soak(subject, extent, _FEW_CALLERS, lambda progress: None)


def test_a_short_soak_finds_nothing_wrong(subject: Subject) -> None:
    """All kinds at once: no wrong answer, no failure, no error in the log, and nothing open at the end."""
    found = soaked(subject, _SHORT)
    assert found.holds, [condition for condition in found.conditions() if not condition.holds] + found.log.shown
    assert set(found.wanted_kinds) == {*(kind.name for kind in KINDS), RELOADS}
    assert all(found.findings.requests[kind] for kind in found.wanted_kinds)
    assert found.findings.num_requests >= _SHORT.num_requests


def test_every_bundle_is_asked(subject: Subject) -> None:
    """Each task that has a tiny bundle, parsing among them, has known answers that callers compare."""
    bundles = {path.name for path in subject.folders.models.iterdir()}
    asked = {question.model for question in [*subject.known.predictions, *subject.known.texts]}
    assert "tiny-parser" in asked
    assert asked == bundles


def test_every_bad_request_is_refused_as_documented(subject: Subject) -> None:
    """Each with its status, its `error_type` and the name of the field, not only those that chance has chosen."""
    findings = Findings()

    async def ask_all() -> None:
        caller = Caller(subject.server.port, subject.known, findings, seed=0)
        for refusal in REFUSALS:
            await ask_in_vain(caller, refusal)
        caller.close()

    asyncio.run(ask_all())
    assert findings.num_requests == len(REFUSALS)
    assert not findings.shown


def test_wrong_answers_are_found_in_every_kind(subject: Subject) -> None:
    """Each kind notices when the server's answer is not the one that was known, and the soak fails."""
    found = soaked(subject._replace(known=falsified(subject.known)), Extent(num_requests=300))
    assert not found.holds
    assert found.findings.faults["wrong answer"] > 0
    noticed = {kind for kind in found.wanted_kinds if found.findings.wrong[kind]}
    silent = {"leavers", "bad requests", RELOADS}
    assert noticed == set(found.wanted_kinds) - silent


def falsified(known: KnownAnswers) -> KnownAnswers:
    """The same questions, each with another answer."""
    return KnownAnswers(
        predictions=[with_another_answer(each) for each in known.predictions],
        texts=[with_another_answer(each) for each in known.texts],
        passages=[dataclasses.replace(each, text=f"?{each.text}") for each in known.passages],
        chunked=[dataclasses.replace(each, tags=[f"?{tag}" for tag in each.tags]) for each in known.chunked],
    )


def with_another_answer(question: Question) -> Question:
    return dataclasses.replace(question, answers={version: {"answer": "another"} for version in question.answers})


def test_the_versions_of_the_reloaded_model_answer_differently(subject: Subject) -> None:
    """Otherwise an answer of the wrong version would pass."""
    questions = [each for each in subject.known.predictions if each.model == RELOADED]
    assert questions
    for question in questions:
        assert question.faults("1", question.answers["2"])
        assert question.faults("2", question.answers["1"])
        assert not question.faults("2", question.answers["2"])


def test_a_server_that_ends_is_found(tmp_path: Path, subject: Subject) -> None:
    """The load stops, and the soak fails."""
    log = tmp_path / "log"
    with own_server(subject.folders.models, log, SETTINGS) as server:
        dying = subject._replace(server=server, log=ServerLog(log))
        found = run_soak(
            dying, Extent(num_requests=10**9), _FEW_CALLERS, lambda progress: server.send_signal(signal.SIGKILL)
        )
    assert found.findings.faults["no answer"] > 0
    assert not found.holds

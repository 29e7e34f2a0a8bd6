"""The catalogue orders versions numerically, and readiness follows from its entries; no bundle is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import NotReady, UnknownModel
from service.inference.engines.bundle_entry import BundleEntry
from service.inference.engines.catalogue import Catalogue
from service.inference.engines.health import Health


def entry(version: str, is_failed: bool = False, is_required: bool = True) -> BundleEntry:
    state = "failed" if is_failed else "loading"
    return BundleEntry(Path("models") / "tagger" / version, state=state, reason="damaged", is_required=is_required)


def listed(*entries: BundleEntry, problem: str = "") -> Catalogue:
    catalogue = Catalogue()
    catalogue.replace(entries, problem)
    return catalogue


def test_the_default_is_the_highest_version_by_number() -> None:
    """The default is the highest numeric version: 10 comes after 9, and any number after a name."""
    catalogue = listed(entry("9"), entry("10"), entry("draft"))
    assert [one.version for one in catalogue.versions("tagger")] == ["draft", "9", "10"]
    assert catalogue.entry("tagger").version == "10"


def test_a_version_that_failed_in_a_reload_is_not_the_default() -> None:
    """A version that failed in a reload is not the default, but can still be requested by version."""
    catalogue = listed(entry("1"), entry("2", is_failed=True, is_required=False))
    assert catalogue.entry("tagger").version == "1"
    assert catalogue.entry("tagger", "2").reason == "damaged"


def test_an_unknown_version_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownModel, match="there are: tagger 1") as refusal:
        listed(entry("1")).entry("tagger", "3")
    assert refusal.value.available == ("tagger 1",)


def test_a_failed_bundle_has_a_reason_only_if_it_is_required() -> None:
    """A bundle that failed in a reload does not make the service unready."""
    assert Health(listed(entry("1", is_failed=True))).reasons()[0] == "tagger version 1 failed: damaged"
    assert Health(listed(entry("1", is_failed=True, is_required=False))).reasons() == []


def test_an_empty_models_folder_is_a_reason() -> None:
    assert Health(listed(problem="there are no bundles in models")).reasons() == ["there are no bundles in models"]


def test_an_announced_stop_ends_readiness_and_draining_ends_service() -> None:
    """After an announced stop requests are still served, and draining cannot be undone by a later announcement."""
    health = Health(listed())
    health.announce_stop()
    assert health.reasons() == ["the service is stopping"]
    health.require_serving()
    health.start_draining()
    health.announce_stop()
    with pytest.raises(NotReady) as refusal:
        health.require_serving()
    assert refusal.value.cause == "draining"

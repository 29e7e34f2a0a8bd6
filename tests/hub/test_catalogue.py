"""Catalogues: a name leads to an address and a digest, in JSON as in TOML, and what is no catalogue is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.bundle.load import MANIFEST_FILE, file_digest
from service.errors import HubError
from service.hub.address import parse_address
from service.hub.catalogue import Catalogue, read_catalogue
from service.hub.pull import Pulling, pull
from tests.hub.conftest import FAST
from tests.hub.servers import WebServer
from tests.hub.tampering import nothing_is_left

ENTRY = {"name": "tiny", "version": "3", "address": "https://host/tiny/3", "digest": "sha256:" + "4f" * 32}


def catalogue_of(*entries: dict[str, Any]) -> Catalogue:
    return Catalogue.model_validate({"bundles": entries})


def test_a_name_leads_to_the_highest_version_and_one_of_a_version_to_that() -> None:
    catalogue = catalogue_of(ENTRY, ENTRY | {"version": "10"}, ENTRY | {"name": "other"})
    assert catalogue.find("tiny").version == "10"
    assert catalogue.find("tiny@3").version == "3"
    with pytest.raises(HubError, match="did you mean tiny"):
        catalogue.find("tinny")


@pytest.mark.parametrize("kind", ["json", "toml"])
def test_what_a_catalogue_names_is_pulled_by_its_digest(kind: str, web: WebServer, bundle: Path, here: Pulling) -> None:
    """The file lies at an address as the bundles do; once the bundle is another, it is refused."""
    digest = f"sha256:{file_digest(bundle / MANIFEST_FILE)}"
    entry = ENTRY | {"address": f"http://{web.host}/tiny/3", "digest": digest, "task": "classification"}
    text = json.dumps({"bundles": [entry]})
    if kind == "toml":
        text = "[[bundles]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
    (web.folder / f"catalogue.{kind}").write_text(text, encoding="utf-8")
    found = read_catalogue(f"http://{web.host}/catalogue.{kind}", FAST).find("tiny")
    assert read_catalogue(str(web.folder / f"catalogue.{kind}"), FAST).find("tiny") == found
    assert pull(parse_address(found.address), here, found.expected).outcome == "pulled"


def test_a_bundle_of_another_digest_than_the_catalogue_has_is_refused(web: WebServer, here: Pulling) -> None:
    entry = catalogue_of(ENTRY | {"address": f"http://{web.host}/tiny/3"}).find("tiny")
    with pytest.raises(HubError, match="is wanted"):
        pull(parse_address(entry.address), here, entry.expected)
    assert nothing_is_left(here.models_root)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "valid dictionary"),
        ("[" * 100_000, "is no JSON"),
        (json.dumps({"bundles": [ENTRY | {"digest": "4f"}]}), r"bundles\.0\.digest"),
        (json.dumps({"bundles": [ENTRY | {"address": "tiny"}]}), "allowed are"),
        (json.dumps({"bundles": [ENTRY | {"name": "../tiny"}]}), r"bundles\.0\.name"),
        (json.dumps({"bundles": [ENTRY | {"path": "x"}]}), r"bundles\.0\.path"),
    ],
)
def test_what_is_no_catalogue_is_told_with_the_place(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "catalogue.json").write_text(content, encoding="utf-8")
    with pytest.raises(HubError, match=says):
        read_catalogue(str(tmp_path / "catalogue.json"), FAST)


def test_a_catalogue_by_plain_http_from_elsewhere_is_not_asked_for() -> None:
    """Digests that anybody on the way can change protect nothing."""
    with pytest.raises(HubError, match="use https"):
        read_catalogue("http://models.invalid/catalogue.json", FAST)

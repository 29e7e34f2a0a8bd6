"""Serving of the page's files; its behaviour in a browser is tested in tests/browser."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.api.routes.playground import DIGEST, FILES, FOLDER, PAGE
from tests.live_server import live_server, request

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_the_home_address_is_the_page(client: TestClient) -> None:
    answer = client.get("/", headers=BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.replace(f"{DIGEST}/", "") == (FOLDER / PAGE).read_text(encoding="utf-8")
    assert answer.headers["cache-control"] == "no-cache"


def test_programs_are_told_that_the_server_is_alive(client: TestClient) -> None:
    """KServe's client asks at `/`, and reads JSON; caches keep the two answers apart."""
    for accept in ("*/*", "application/json", ""):
        answer = client.get("/", headers={"Accept": accept})
        assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
        assert "Accept" in answer.headers["vary"].split(", ")
    assert "Accept" in client.get("/", headers=BROWSER).headers["vary"].split(", ")


def test_files_are_cached_by_their_digest(client: TestClient) -> None:
    """The page refers to its files by their digest, which is cached for good; the digest of another release is not."""
    addresses = re.findall(r'(?:src|href)="(playground/[^"]+)"', client.get("/", headers=BROWSER).text)
    assert len(addresses) >= 7
    for address in addresses:
        answer = client.get(f"/{address}")
        assert (answer.status_code, address.split("/")[1]) == (200, DIGEST)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    of_another_release = client.get(f"/playground/{'0' * len(DIGEST)}/app.js")
    assert of_another_release.content == (FOLDER / "app.js").read_bytes()
    assert of_another_release.headers["cache-control"] == "no-cache"


def test_every_file_in_the_folder_is_listed_and_every_listed_file_is_there() -> None:
    """The list of files matches the folder."""
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert there == set(FILES)
    assert len(FILES) == len(set(FILES))


def test_every_file_is_installed_with_the_service() -> None:
    """Every file of the page matches a package data pattern, so that it is installed with the service."""
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["service"]
    installed = {path for pattern in patterns for path in FOLDER.parent.glob(pattern)}
    assert {FOLDER / name for name in FILES} <= installed


def test_a_model_brings_examples_to_try(client: TestClient) -> None:
    """A model lists its bundle's recorded examples, with the answers that the self-check expects."""
    first, *_ = client.get("/models/tiny-classifier").json()["examples"]
    recorded = first.pop("answer")
    assert first == {"inputs": "hello world", "parameters": {"top_k": 2}}
    answer = client.post("/predict", json={"model": "tiny-classifier", **first})
    assert recorded["label"] == answer.json()["predictions"][0]["label"]


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_as_what_it_is_and_lets_nothing_foreign_in(client: TestClient, name: str) -> None:
    answer = client.get(f"/playground/{name}")
    kinds = {"js": "text/javascript", "css": "text/css", "html": "text/html", "svg": "image/svg+xml"}
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"].partition(";")[0] == kinds[name.rpartition(".")[2]]
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"


def test_an_unchanged_file_is_not_sent_again(client: TestClient) -> None:
    tag = client.get("/playground/app.js").headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get("/playground/app.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = client.get("/playground/app.js", headers={"If-None-Match": '"of an older release"'})
    assert changed.status_code == 200


def test_head_tells_the_size_without_the_body(client: TestClient) -> None:
    as_it_is = BROWSER | {"Accept-Encoding": "identity"}
    answer = client.head("/", headers=as_it_is)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len(client.get("/", headers=as_it_is).content)


@pytest.mark.parametrize("name", ["", "nothing.js", "views", "views/", "views/nothing.js", "App.js", "app.js/"])
def test_what_is_not_listed_is_a_404_with_the_usual_body(client: TestClient, name: str) -> None:
    answer = client.get(f"/playground/{name}")
    assert answer.status_code == 404
    assert answer.json()["error_type"] == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        "../settings.py",
        "..%2fsettings.py",
        "%2e%2e/settings.py",
        "views/../../settings.py",
        "//settings.py",
        "views%2f..%2fapp.js",
    ],
)
def test_a_path_cannot_leave_the_folder(tiny_models: Path, path: str) -> None:
    """Path traversal is refused; paths are sent as raw bytes, because HTTP clients would normalize them."""
    with live_server(tiny_models, lanes=1) as server, server.connect() as connection:
        answer = connection.ask(request("GET", f"/playground/{path}"))
        assert answer.status == 404
        assert b"import" not in answer.body


def test_the_page_names_no_other_address_and_holds_no_script_or_style() -> None:
    """The page contains no external addresses, inline scripts or inline styles."""
    page = (FOLDER / PAGE).read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    assert not [source for source in sources if "//" in source]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)


def test_data_never_becomes_markup() -> None:
    """The scripts insert data only through text nodes and attributes, never as HTML."""
    scripts = {name: (FOLDER / name).read_text(encoding="utf-8") for name in FILES if name.endswith(".js")}
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    assert scripts
    assert not [name for name, text in scripts.items() if forbidden.search(text)]


#: Folders of the page in import order: each may import only from itself and from later ones.
ROOMS = (
    "app.js",
    "views",
    "speech",
    "panels",
    "clips",
    "arrays",
    "editors",
    "workbench",
    "charts",
    "requests",
    "elements",
)


def test_folders_of_the_page_import_in_one_direction() -> None:
    """Imports between the page's folders follow one direction, without cycles."""
    scripts = [name for name in FILES if name.endswith(".js")]
    upwards = [
        (name, target)
        for name in scripts
        for target in re.findall(
            r'^import .* from "([^"]+)";$', (FOLDER / name).read_text(encoding="utf-8"), re.MULTILINE
        )
        if room_of(FOLDER / name) > room_of((FOLDER / name).parent / target)
    ]
    assert {Path(name).parts[0] for name in scripts} == set(ROOMS)
    assert not upwards


def room_of(script: Path) -> int:
    return ROOMS.index(script.resolve().relative_to(FOLDER).parts[0])


def test_no_folder_of_the_page_is_crowded() -> None:
    """No folder of the page has more than 13 files, the same limit as for Python modules."""
    folders = [FOLDER, *(path for path in FOLDER.iterdir() if path.is_dir())]
    assert not [folder for folder in folders if sum(path.is_file() for path in folder.iterdir()) > 13]

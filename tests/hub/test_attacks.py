"""What a hostile or broken server can send: refused within bounds, in plain words, and nothing is left of it."""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from service.bundle.load import MANIFEST_FILE
from service.errors import HubError, Unreachable
from service.hub.address import parse_address
from service.hub.pull import MAX_FILES, Pulling, pull
from service.hub.receive import Receiver
from service.hub.store import RemoteFile, Transport
from service.hub.stores.http_calls import open_client, reading
from service.hub.stores.opening import open_store
from tests.hub.conftest import FAST
from tests.hub.servers import Answer, WebServer, web_server
from tests.hub.tampering import at, name_more_files, nothing_is_left, reseal

GRAPH = "/tiny/3/classifier.onnx"
MANIFEST = f"/tiny/3/{MANIFEST_FILE}"


def refused(server: WebServer, here: Pulling, says: str, kind: type[HubError] = HubError) -> None:
    with pytest.raises(kind, match=says):
        pull(at(server), here)
    assert nothing_is_left(here.models_root)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".hidden", "a\\b", "a\0b", "x" * 200, MANIFEST_FILE])
def test_names_that_are_no_file_of_a_bundle_are_refused(
    name: str, web: WebServer, bundle: Path, here: Pulling, tmp_path: Path
) -> None:
    """They are refused before any file is received, so nothing is written beside the folder."""
    name_more_files(bundle, {name: "0" * 64})
    refused(web, here, "is no name of a file")
    assert not (tmp_path / "x").exists()
    assert len(web.requests) == 2


def test_thousands_of_files_are_refused(web: WebServer, bundle: Path, here: Pulling) -> None:
    name_more_files(bundle, {f"file-{number}": "0" * 64 for number in range(5_000)})
    refused(web, here, f"a bundle may have {MAX_FILES}")
    assert len(web.requests) == 2


def test_a_file_of_another_digest_is_refused(web: WebServer, bundle: Path, here: Pulling) -> None:
    """The same size, one byte changed."""
    content = bytearray((bundle / "classifier.onnx").read_bytes())
    content[100] ^= 1
    web.answers[GRAPH] = [Answer(body=bytes(content))]
    refused(web, here, "classifier.onnx: its digest is")


def test_a_changed_manifest_is_refused(web: WebServer, bundle: Path, here: Pulling) -> None:
    """Its own seal tells it, also where nobody knows which digest it should have."""
    content = (bundle / MANIFEST_FILE).read_bytes()
    web.answers[MANIFEST] = [Answer(body=content.replace(b'"version": "3"', b'"version": "4"'))]
    refused(web, here, "changed after publishing")


def test_a_manifest_without_a_seal_is_refused(web: WebServer, bundle: Path, here: Pulling) -> None:
    content = (bundle / MANIFEST_FILE).read_bytes()
    web.answers[MANIFEST] = [Answer(body=content[: content.rindex(b",")] + b"\n}\n")]
    refused(web, here, "has no digest of its own")


def test_what_is_no_manifest_is_refused(web: WebServer, here: Pulling) -> None:
    web.answers[MANIFEST] = [Answer(body=b"<html>sign in</html>")]
    refused(web, here, "Invalid JSON")


def test_a_bundle_that_loads_badly_is_refused(web: WebServer, bundle: Path, here: Pulling) -> None:
    """Digests that fit are no proof that the parts do: examples are missing here."""
    files = dict(load_files(bundle))
    del files["examples.jsonl"]
    reseal(bundle, files=files)
    refused(web, here, "no digest for examples.jsonl")


def load_files(bundle: Path) -> dict[str, str]:
    from service.bundle.load import read_manifest

    return read_manifest(bundle).files


def test_a_download_that_breaks_off_is_begun_again(web: WebServer, bundle: Path, here: Pulling) -> None:
    """Half of it in the first try, all of it in the second."""
    content = (bundle / "classifier.onnx").read_bytes()
    web.answers[GRAPH] = [Answer(body=content[:1000], length=len(content)), Answer(body=content)]
    assert pull(at(web), here).outcome == "pulled"
    assert [path for _, path, _ in web.requests].count(GRAPH) == 2


def test_a_download_that_always_breaks_off_leaves_nothing(web: WebServer, bundle: Path, here: Pulling) -> None:
    content = (bundle / "classifier.onnx").read_bytes()
    web.answers[GRAPH] = [Answer(body=content[:1000], length=len(content))]
    refused(web, here, "classifier.onnx", Unreachable)


def test_a_download_that_ends_early_unannounced_is_refused(web: WebServer, bundle: Path, here: Pulling) -> None:
    """Without a length nobody can tell that something is missing but by the digest."""
    content = (bundle / "classifier.onnx").read_bytes()
    web.answers[GRAPH] = [Answer(body=content[:1000], length="")]
    refused(web, here, "classifier.onnx: its digest is")


def test_a_file_beyond_the_limit_is_refused_by_what_it_announces(web: WebServer, here: Pulling) -> None:
    """Nothing of it is received."""
    web.answers[GRAPH] = [Answer(length=10**15, stalls=True)]
    refused(web, here, "UNROLL_PULL_MAX_BYTES")


def test_a_file_beyond_the_limit_is_refused_while_it_comes(web: WebServer, here: Pulling) -> None:
    web.answers[GRAPH] = [Answer(body=b"0" * 3_000_000, length="")]
    refused(web, replace(here, max_bytes=1_000_000), "more than [0-9,]+ bytes")


def test_a_manifest_of_any_size_is_not_taken(web: WebServer, here: Pulling) -> None:
    web.answers[MANIFEST] = [Answer(length=10**9, stalls=True)]
    refused(web, here, "no such file is as large")


def test_compressed_content_is_refused_and_not_expanded(web: WebServer, here: Pulling) -> None:
    """Ten megabytes of zeros in ten kilobytes: content that was not asked for in this form."""
    bomb = gzip.compress(bytes(10_000_000))
    web.answers[MANIFEST] = [Answer(body=bomb, headers={"Content-Encoding": "gzip"})]
    refused(web, here, "came compressed")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x"])
def test_a_redirect_to_another_kind_of_address_is_not_followed(target: str, web: WebServer, here: Pulling) -> None:
    web.answers[MANIFEST] = [Answer(302, headers={"Location": target})]
    refused(web, here, f"leads to {target.partition(':')[0]}://.*, which is not https: refused")


def test_https_leads_to_no_plain_http(web: WebServer) -> None:
    """Neither by a redirect nor at once: the client of an https address sends nothing without TLS."""
    client = open_client(FAST, allows_plain=False)
    url = f"http://{web.host}{MANIFEST}"
    with client, pytest.raises(HubError, match="which is not https"), reading(client, url, "the file", at(web)):
        pass
    assert web.requests == []


@pytest.mark.parametrize(("announced", "says"), [(10, "more came than the 10 bytes"), (1000, "broke off after 100 of")])
def test_a_store_that_announces_another_size_is_refused(announced: int, says: str, tmp_path: Path) -> None:
    """As S3 and registries do, whose libraries do not compare."""
    address = parse_address("s3://models/tiny/3")
    receiver = Receiver(_LyingStore(announced), address, FAST, 10_000)
    with pytest.raises(HubError, match=says):
        receiver.receive("x", tmp_path / "x")


class _LyingStore:
    """A store whose file has 100 bytes, whatever it announces."""

    def __init__(self, announced: int) -> None:
        self._announced = announced

    @contextmanager
    def read(self, name: str) -> Iterator[RemoteFile]:
        yield RemoteFile(self._announced, iter([bytes(100)]))

    def write(self, files: Mapping[str, Path]) -> None: ...

    def close(self) -> None: ...


def test_redirects_in_a_circle_end(web: WebServer, here: Pulling) -> None:
    web.answers[MANIFEST] = [Answer(302, headers={"Location": MANIFEST})]
    refused(web, here, "more than 5 redirects")
    assert len(web.requests) == 6


def test_credentials_do_not_follow_a_redirect_to_another_host(
    web: WebServer, bundle: Path, here: Pulling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first host gets what is in netrc for it; the host to which it redirects gets nothing."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login name password secret\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(netrc))
    with web_server(bundle.parents[1]) as other:
        web.answers[GRAPH] = [Answer(302, headers={"Location": f"http://localhost:{other.host.split(':')[1]}{GRAPH}"})]
        assert pull(at(web), here).outcome == "pulled"
    assert all(authorization.startswith("Basic ") for _, _, authorization in web.requests)
    assert other.requests == [("GET", GRAPH, "")]


def test_a_server_that_stalls_is_given_up(web: WebServer, here: Pulling) -> None:
    """It sends half a file and then nothing; the message says that no answer came in time."""
    web.answers[GRAPH] = [Answer(body=b"0" * 100, length=1000, stalls=True)]
    refused(web, replace(here, transport=Transport(0.2, 5.0, 1, 0.0)), "no answer in time", Unreachable)


def test_a_server_that_drips_is_given_up(web: WebServer, tmp_path: Path) -> None:
    """By a clock that says that an hour passes with each piece."""
    web.answers["/tiny/3/x"] = [Answer(body=b"0" * 100)]
    hours = itertools.count(step=3600)
    with open_store(at(web), FAST) as store:
        receiver = Receiver(store, at(web), FAST, 1_000, clock=lambda: float(next(hours)))
        with pytest.raises(Unreachable, match="slower than"):
            receiver.receive("x", tmp_path / "x")


def test_a_server_that_is_not_there_is_said(here: Pulling) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9/"):
        pull(parse_address("http://127.0.0.1:9/tiny/3"), here)
    assert nothing_is_left(here.models_root)


@pytest.mark.parametrize(("status", "kind"), [(403, "not allowed"), (500, "answered 500"), (418, "answered 418")])
def test_a_status_is_told(status: int, kind: str, web: WebServer, here: Pulling) -> None:
    """Credentials are hinted at where they may be missing."""
    web.answers[MANIFEST] = [Answer(status)]
    refused(web, here, kind)


@pytest.mark.parametrize("name", [MANIFEST_FILE, "classifier.onnx"])
def test_links_in_a_folder_are_not_followed(name: str, bundle: Path, here: Pulling, tmp_path: Path) -> None:
    """Even one to the right content: it could lead to any file that the user may read."""
    (bundle / name).rename(tmp_path / "secret")
    (bundle / name).symlink_to(tmp_path / "secret")
    with pytest.raises(HubError, match="is a link"):
        pull(parse_address(bundle.as_uri()), here)
    assert nothing_is_left(here.models_root)


def test_a_pipe_in_a_folder_is_not_waited_for(bundle: Path, here: Pulling) -> None:
    (bundle / "classifier.onnx").unlink()
    os.mkfifo(bundle / "classifier.onnx")
    with pytest.raises(HubError, match="is no file"):
        pull(parse_address(bundle.as_uri()), here)
    assert nothing_is_left(here.models_root)


def test_a_models_folder_that_cannot_be_written_is_said(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HubError, match="cannot be written"):
        pull(parse_address(bundle.as_uri()), Pulling(tmp_path / "file" / "models"))

"""Each kind of address: what was pushed is pulled again, from a real server of that kind."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.bundle.load import MANIFEST_FILE, file_digest
from service.errors import HubError, NotThere, Unreachable
from service.hub.address import parse_address
from service.hub.pull import Pulling, pull
from service.hub.push import Pushing, push
from tests.hub.conftest import FAST
from tests.hub.servers import Answer, WebServer, basic, oci_registry, s3_server, web_server
from tests.hub.tampering import nothing_is_left, reseal

KEY = Ed25519PrivateKey.generate()
#: `reader` with the password `secret`, by bcrypt.
HTPASSWD = "reader:$2b$04$9LkB8w4UxqUycfGpelxBQ.5pTiBLevhZpBxaGrmqZ8LlR2fTwdva2\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with oci_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture
def aws(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Credentials and endpoint, as the AWS tools read them."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "name",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(params=["file", "http", "s3", "oci"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh address of each kind."""
    fresh = re.sub("[^a-z]", "", tmp_path.name.lower()) + str(abs(hash(tmp_path)))
    if request.param == "file":
        yield (tmp_path / "kept" / "tiny" / "3").as_uri()
    elif request.param == "s3":
        request.getfixturevalue("aws")
        yield f"s3://models/{fresh}/tiny/3"
    elif request.param == "oci":
        yield f"oci://{request.getfixturevalue('registry')}/{fresh}/tiny:3"
    else:
        with web_server(tmp_path / "kept") as server:
            yield f"http://{server.host}/tiny/3"


def test_what_was_pushed_is_pulled_with_its_signature(target: str, bundle: Path, here: Pulling) -> None:
    """Once more it is there already, and a bundle that was pulled can be pushed on with its signature."""
    address, how = parse_address(target), Pushing(KEY, transport=FAST)
    assert push(bundle, address, replace(how, dry_run=True)).outcome == "dry run"
    with pytest.raises(NotThere):
        pull(address, here)
    assert push(bundle, address, how).outcome == "pushed"
    pulled = pull(address, replace(here, trusted=[KEY.public_key()]))
    assert (pulled.outcome, pulled.found.signature.state) == ("pulled", "trusted")
    assert pulled.found.digest == file_digest(bundle / MANIFEST_FILE)
    again = push(pulled.path, address, Pushing(transport=FAST))
    assert (again.outcome, again.signed_by) == ("there", pulled.found.signature.key)


def test_another_bundle_at_the_address_is_replaced_only_if_asked(target: str, bundle: Path, here: Pulling) -> None:
    address, how = parse_address(target), Pushing(transport=FAST)
    old = push(bundle, address, how).digest
    new = reseal(bundle, description="another")
    with pytest.raises(HubError, match=f"another bundle is there .sha256:{old}"):
        push(bundle, address, how)
    assert push(bundle, address, replace(how, replace=True)).outcome == "pushed"
    assert pull(address, here).found.digest == new


def test_an_address_with_a_digest_is_nothing_to_push_to(target: str, bundle: Path) -> None:
    with pytest.raises(HubError, match="leave it out"):
        push(bundle, parse_address(f"{target}@sha256:{'0' * 64}"), Pushing(transport=FAST))


def test_an_oci_digest_names_one_artifact_for_good(registry: str, bundle: Path, here: Pulling) -> None:
    """The tag has moved on, and the digest still gives what it gave; the layers have the names that ORAS reads."""
    address = parse_address(f"oci://{registry}/moving/tiny:latest")
    push(bundle, address, Pushing(transport=FAST))
    accept = {"accept": "application/vnd.oci.image.manifest.v1+json"}
    response = httpx.get(f"http://{registry}/v2/moving/tiny/manifests/latest", headers=accept)
    digest = response.headers["docker-content-digest"]
    names = [layer["annotations"]["org.opencontainers.image.title"] for layer in response.json()["layers"]]
    assert names[-1] == MANIFEST_FILE
    old = file_digest(bundle / MANIFEST_FILE)
    reseal(bundle, description="another")
    push(bundle, address, Pushing(replace=True, transport=FAST))
    assert pull(parse_address(f"oci://{registry}/moving/tiny@{digest}"), here).found.digest == old


def test_a_registry_that_gives_another_artifact_than_that_of_the_digest_is_refused(
    web: WebServer, here: Pulling
) -> None:
    """Its manifest is hashed before it is read."""
    web.answers[f"/v2/tiny/manifests/sha256:{'0' * 64}"] = [Answer(body=b'{"layers": []}')]
    with pytest.raises(HubError, match="gave another manifest"):
        pull(parse_address(f"oci://{web.host}/tiny@sha256:{'0' * 64}"), here)


def test_what_is_no_bundle_in_a_registry_is_refused(registry: str, here: Pulling) -> None:
    """A manifest whose layers have no names, such as that of an image."""
    blobs = f"http://{registry}/v2/images/some"
    begun = httpx.post(f"{blobs}/blobs/uploads/")
    digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    httpx.put(httpx.URL(begun.headers["location"]).copy_merge_params({"digest": digest}), content=b"{}")
    kind = "application/vnd.oci.image.manifest.v1+json"
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 2}
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": descriptor, "layers": [descriptor]}
    put = httpx.put(f"{blobs}/manifests/1", content=json.dumps(manifest), headers={"content-type": kind})
    assert put.status_code == 201
    with pytest.raises(HubError, match="is no bundle"):
        pull(parse_address(f"oci://{registry}/images/some:1"), here)
    with pytest.raises(NotThere):
        pull(parse_address(f"oci://{registry}/images/some:2"), here)
    assert nothing_is_left(here.models_root)


def test_a_registry_with_a_login_takes_that_of_docker(
    bundle: Path, here: Pulling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the message says how to log in; with a wrong password as well."""
    docker = tmp_path / "docker"
    docker.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(docker))
    with oci_registry(tmp_path, HTPASSWD) as host:
        address = parse_address(f"oci://{host}/models/tiny:3")
        with pytest.raises(HubError, match="docker login"):
            push(bundle, address, Pushing(transport=FAST))
        for password in ("wrong", "secret"):
            auths = {"auths": {host: {"auth": basic("reader", password)}}}
            (docker / "config.json").write_text(json.dumps(auths), encoding="ascii")
            if password == "wrong":
                with pytest.raises(HubError, match="docker login"):
                    push(bundle, address, Pushing(transport=FAST))
        assert push(bundle, address, Pushing(transport=FAST)).outcome == "pushed"
        assert pull(address, here).outcome == "pulled"


def token_server(web: WebServer, realm: str) -> None:
    """A registry that wants a token of `realm`."""
    challenge = f'Bearer realm="{realm}",service="tiny",scope="repository:tiny:pull"'
    web.answers["/v2/tiny/manifests/latest"] = [Answer(401, headers={"WWW-Authenticate": challenge}), Answer(404)]


def test_a_registry_of_tokens_gets_one(
    web: WebServer, here: Pulling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Name and password go to the realm of its own host, and the token to the registry."""
    (tmp_path / "config.json").write_text(json.dumps({"auths": {web.host: {"auth": basic("reader", "secret")}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    token_server(web, f"http://{web.host}/token")
    web.answers["/token?service=tiny&scope=repository%3Atiny%3Apull"] = [Answer(body=b'{"token": "abc"}')]
    with pytest.raises(NotThere):
        pull(parse_address(f"oci://{web.host}/tiny"), here)
    sent = [(path.partition("?")[0], authorization) for _, path, authorization in web.requests]
    assert sent == [
        ("/v2/tiny/manifests/latest", ""),
        ("/token", f"Basic {basic('reader', 'secret')}"),
        ("/v2/tiny/manifests/latest", "Bearer abc"),
    ]


def test_a_realm_elsewhere_gets_no_password(
    web: WebServer, bundle: Path, here: Pulling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host is asked for a token without credentials, and one without HTTPS is not asked at all."""
    (tmp_path / "config.json").write_text(json.dumps({"auths": {web.host: {"auth": basic("reader", "secret")}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with web_server(bundle.parents[1]) as other:
        token_server(web, f"http://{other.host}/token")
        with pytest.raises(HubError, match="gave no token"):
            pull(parse_address(f"oci://{web.host}/tiny"), here)
        assert [authorization for _, _, authorization in other.requests] == [""]
    token_server(web, "http://tokens.invalid/token")
    with pytest.raises(HubError, match="not https"):
        pull(parse_address(f"oci://{web.host}/tiny"), here)


def test_credentials_in_a_helper_program_are_not_taken_for_none(
    web: WebServer, here: Pulling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker keeps them there on many machines; the message says what to do."""
    config = {"auths": {web.host: {}}, "credsStore": "desktop"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="ascii")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    token_server(web, f"http://{web.host}/token")
    with pytest.raises(HubError, match="kept by a helper program"):
        pull(parse_address(f"oci://{web.host}/tiny"), here)


def test_an_upload_is_sent_to_no_other_host(web: WebServer, bundle: Path) -> None:
    """A registry that names another one for the content of a blob."""
    web.posts = {"/v2/tiny/blobs/uploads/": lambda _: b""}
    web.post_headers = {"Location": "http://localhost:9/upload"}
    with pytest.raises(HubError, match="another host, localhost: refused"):
        push(bundle, parse_address(f"oci://{web.host}/tiny"), Pushing(transport=FAST))


def test_a_challenge_after_a_redirect_is_not_answered(
    web: WebServer, bundle: Path, here: Pulling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host that asks for name and password of the registry gets neither."""
    (tmp_path / "config.json").write_text(json.dumps({"auths": {web.host: {"auth": basic("reader", "secret")}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with web_server(bundle.parents[1]) as other:
        other.answers["/x"] = [Answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})]
        web.answers["/v2/tiny/manifests/latest"] = [Answer(302, headers={"Location": f"http://{other.host}/x"})]
        with pytest.raises(HubError, match="not allowed"):
            pull(parse_address(f"oci://{web.host}/tiny"), here)
        assert other.requests == [("GET", "/x", "")]


@pytest.fixture
def hugging_face(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> WebServer:
    """A server with the paths of the Hugging Face Hub, whose repository `owner/models` has the bundle at `main`."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", f"http://{web.host}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return web


def test_a_bundle_of_a_repository_of_hugging_face_is_pulled(
    hugging_face: WebServer, bundle: Path, here: Pulling
) -> None:
    """By its revision, with the token of the user."""
    place = hugging_face.folder / "owner" / "models" / "resolve" / "v1"
    place.mkdir(parents=True)
    bundle.parent.rename(place / "tiny")
    assert pull(parse_address("hf://owner/models@v1/tiny/3"), here).outcome == "pulled"
    assert {authorization for _, _, authorization in hugging_face.requests} == {"Bearer hf_secret"}


def test_a_bundle_is_pushed_to_hugging_face_in_one_commit(hugging_face: WebServer, bundle: Path, here: Pulling) -> None:
    """Through the requests of its own library, and pulled again; a repository that is not there is said."""
    commits: list[list[str]] = []
    place = hugging_face.folder / "owner" / "models" / "resolve" / "main"

    def decide(body: bytes) -> bytes:
        files = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]
        ]
        return json.dumps({"files": files}).encode()

    def commit(body: bytes) -> bytes:
        operations = [json.loads(line) for line in body.splitlines()]
        files = [operation["value"] for operation in operations if operation["key"] == "file"]
        for file in files:
            (place / file["path"]).parent.mkdir(parents=True, exist_ok=True)
            (place / file["path"]).write_bytes(base64.b64decode(file["content"]))
        commits.append([file["path"] for file in files])
        return json.dumps({"commitUrl": f"http://{hugging_face.host}/owner/models/commit/1", "commitOid": "1"}).encode()

    address = parse_address("hf://owner/models@main/tiny")
    with pytest.raises(HubError, match="hf://owner/models@main/tiny: "):
        push(bundle, address, Pushing(transport=FAST))
    hugging_face.posts = {
        "/api/validate-yaml": lambda _: b'{"warnings": [], "errors": []}',
        "/api/models/owner/models/preupload/main": decide,
        "/api/models/owner/models/commit/main": commit,
    }
    assert push(bundle, address, Pushing(KEY, transport=FAST)).outcome == "pushed"
    assert len(commits) == 1
    assert commits[0][-1] == f"tiny/{MANIFEST_FILE}"
    pulled = pull(address, replace(here, trusted=[KEY.public_key()]))
    assert (pulled.outcome, pulled.found.signature.state) == ("pulled", "trusted")


def test_a_bucket_that_is_not_there_and_a_server_that_is_not(
    aws: str, here: Pulling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is missing for good, the other may come back."""
    with pytest.raises(NotThere, match="no such bucket"):
        pull(parse_address("s3://absent/tiny/3"), here)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        pull(parse_address("s3://models/tiny/3"), here)
    assert nothing_is_left(here.models_root)


def test_s3_without_its_library_names_the_extra(here: Pulling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(HubError, match="extra hub"):
        pull(parse_address("s3://models/tiny/3"), here)


def test_a_web_server_that_takes_no_files_is_said(web: WebServer, bundle: Path) -> None:
    """As most web servers do not."""
    web.put_status = 405
    with pytest.raises(HubError, match="takes no files by PUT"):
        push(bundle, parse_address(f"http://{web.host}/new/3"), Pushing(transport=FAST))

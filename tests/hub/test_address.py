"""Addresses are read as they are written, and what is none is refused with the forms that are allowed."""

from __future__ import annotations

import pytest

from service.errors import HubError
from service.hub.address import parse_address

DIGEST = "4f" * 32


@pytest.mark.parametrize(
    "text",
    [
        "file:///srv/models/tiny/3",
        "https://host.example:8443/folder/tiny/3",
        "s3://bucket/folder/tiny/3",
        "hf://owner/repository",
        "hf://owner/repository@v1.0/tiny/3",
        "oci://registry.example:5000/models/tiny:3",
        f"oci://registry.example/models/tiny@sha256:{DIGEST}",
        f"https://host/tiny/3@sha256:{DIGEST}",
    ],
)
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_address(text)) == text


def test_the_parts_of_addresses_are_found() -> None:
    """A revision, a folder and a digest are told apart, and a slash at the end means nothing."""
    found = parse_address(f"hf://owner/repository@main/a/tiny/@sha256:{DIGEST}")
    assert (found.path, found.revision, found.digest) == ("owner/repository/a/tiny", "main", DIGEST)
    found = parse_address(f"oci://host:5000/models/tiny:3@sha256:{DIGEST}")
    assert (found.host, found.path, found.revision, found.digest) == ("host:5000", "models/tiny", "3", DIGEST)
    assert parse_address("https://host/tiny/3/") == parse_address("https://host/tiny/3")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ftp://host/tiny", "allowed are"),
        ("tiny", "allowed are"),
        ("https:///tiny", "no host"),
        ("file://host/tiny", "a file has no host"),
        ("https://host/a/../b", "no part"),
        ("https://host/a/%2e%2e/b", "no part"),
        ("https://host/tiny?token=1", "no ?"),
        ("hf://owner", "the form is"),
        ("oci://host/Upper:1", "the form is"),
        ("https://host/tiny@sha256:12", "is no digest"),
        ("https://host/ti\x07ny", "allowed are"),
    ],
)
def test_what_is_no_address_is_refused(text: str, says: str) -> None:
    with pytest.raises(HubError, match=says.replace("?", r"\?")):
        parse_address(text)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    """A password would end in logs and shell histories."""
    for scheme in ("https", "oci", "s3"):
        with pytest.raises(HubError) as caught:
            parse_address(f"{scheme}://name:secret@host/tiny")
        assert "secret" not in str(caught.value)

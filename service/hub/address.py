"""Addresses of bundles, such as `https://host/folder/ner-en/1` or `oci://host/repository:1@sha256:...`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from service.errors import HubError

Scheme = Literal["file", "http", "https", "s3", "hf", "oci"]

FORMS: Final = (
    "file:///FOLDER, https://HOST/FOLDER, s3://BUCKET/FOLDER, hf://OWNER/REPOSITORY[@REVISION][/FOLDER] or "
    "oci://HOST/REPOSITORY[:TAG], each with @sha256:DIGEST at the end if need be"
)
_SCHEMES: Final[dict[str, Scheme]] = {name: name for name in ("file", "http", "https", "s3", "hf", "oci")}
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_DIGEST_OF_ADDRESS = re.compile(r"@sha256:([^/@]*)/?$")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HF_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_CHARACTERS = 2048


@dataclass(frozen=True)
class Address:
    """Where a bundle lies.

    Attributes:
        host: host and port, or the bucket; "" of files.
        path: the folder of the bundle without slashes at its ends; of an OCI registry the repository.
        revision: of Hugging Face the branch, tag or commit; of an OCI registry the tag.
        digest: what the address says it must find, hexadecimal: the sha256 of `manifest.json`, or in an OCI registry of
            the manifest there, which lists those of all files; "" if it says nothing.
    """

    scheme: Scheme
    host: str
    path: str
    revision: str = ""
    digest: str = ""

    def __str__(self) -> str:
        ending = f"@sha256:{self.digest}" if self.digest else ""
        if self.scheme == "hf":
            owner, name, *folder = self.path.split("/")
            revision = f"@{self.revision}" if self.revision else ""
            return f"hf://{'/'.join([f'{owner}/{name}{revision}', *folder])}{ending}"
        if self.scheme == "oci":
            return f"oci://{self.host}/{self.path}{f':{self.revision}' if self.revision else ''}{ending}"
        return f"{self.scheme}://{self.host}/{self.path}{ending}"

    @property
    def names_the_manifest(self) -> bool:
        """Whether the digest is that of `manifest.json`."""
        return bool(self.digest) and self.scheme != "oci"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, to which nobody listens in."""
        return is_loopback(urlsplit(f"//{self.host}").hostname or "")

    def file_in_parent(self) -> tuple[Address, str]:
        """The folder of the file that the address names, and the name of the file. Raises HubError."""
        folder, _, name = self.path.rpartition("/")
        if not name or self.scheme == "oci" or (self.scheme == "hf" and self.path.count("/") < 2):
            raise HubError(f"{self}: names no file")
        return replace(self, path=folder, digest=""), unquote(name)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(text: str) -> bool:
    """Whether a text is meant as an address, and not as the name of a bundle."""
    return "://" in text


def parse_digest(text: str) -> str:
    """The digest of a text `sha256:HEX` or `HEX`, hexadecimal. Raises HubError."""
    found = _DIGEST.fullmatch(text.strip().lower())
    if found is None:
        raise HubError(f"{text[:100]!r} is no digest: it is sha256: and 64 hexadecimal digits")
    return found[1]


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        HubError: it has none of the forms, or has credentials in it; the message says what is allowed.
    """
    text = text.strip()
    scheme = _SCHEMES.get(text.partition("://")[0].lower()) if "://" in text else None
    if scheme is None or len(text) > _MAX_CHARACTERS or not text.isprintable():
        raise HubError(f"{_shown(text)} is no address of a bundle: allowed are {FORMS}")
    rest, digest = text.partition("://")[2], ""
    found = _DIGEST_OF_ADDRESS.search(rest)
    if found is not None:
        rest, digest = rest[: found.start()], parse_digest(found[1])
    address = _READERS[scheme](scheme, rest, text)
    return replace(address, digest=digest)


def _plain(scheme: Scheme, rest: str, text: str) -> Address:
    """An address of a host and a folder, or of a bucket and a prefix."""
    host, _, path = rest.partition("/")
    if "@" in host:
        raise HubError(f"{_shown(text)}: credentials do not belong in an address; see service/docs/hub.md for them")
    if "?" in rest or "#" in rest:
        raise HubError(f"{_shown(text)}: an address has no ? and no #")
    if (scheme == "file") != (not host):
        raise HubError(f"{_shown(text)}: {'a file has no host: file:///FOLDER' if host else 'there is no host'}")
    return Address(scheme, host.lower() if scheme != "s3" else host, _folder(path, text))


def _hugging_face(scheme: Scheme, rest: str, text: str) -> Address:
    owner, _, rest = rest.partition("/")
    named, _, folder = rest.partition("/")
    name, at, revision = named.partition("@")
    if not (_HF_PART.fullmatch(owner) and _HF_PART.fullmatch(name) and (not at or _REVISION.fullmatch(revision))):
        raise HubError(f"{_shown(text)}: the form is hf://OWNER/REPOSITORY[@REVISION][/FOLDER]")
    return Address(scheme, "", f"{owner}/{name}/{_folder(folder, text)}".rstrip("/"), revision)


def _registry(scheme: Scheme, rest: str, text: str) -> Address:
    host, _, named = rest.rstrip("/").partition("/")
    repository, colon, tag = named.partition(":")
    is_sound = host and "@" not in host and _REPOSITORY.fullmatch(repository) and (not colon or _TAG.fullmatch(tag))
    if not is_sound:
        raise HubError(f"{_shown(text)}: the form is oci://HOST/REPOSITORY[:TAG][@sha256:DIGEST], in lower case")
    return Address(scheme, host.lower(), repository, tag)


def _folder(path: str, text: str) -> str:
    """A path without slashes at its ends. Raises HubError for one that could lead elsewhere."""
    parts = [part for part in path.split("/") if part]
    if any(unquote(part) in (".", "..") or "\\" in part or "\0" in unquote(part) for part in parts):
        raise HubError(f"{_shown(text)}: a folder in an address has no part . or ..")
    return "/".join(parts)


def _shown(text: str) -> str:
    """An address for a message, without what may be a password."""
    return repr(re.sub(r"//[^/@]*@", "//***@", text)[:200])


_READERS = {"file": _plain, "http": _plain, "https": _plain, "s3": _plain, "hf": _hugging_face, "oci": _registry}

"""`unroll pull`, `unroll push` and `unroll signing-key`: bundles at addresses, with digest, signature and licence."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.models_commands import JsonOption, ModelsOption, name_and_version
from service.cli.plain_errors import fail, plain_errors

if TYPE_CHECKING:
    from service.hub.address import Address
    from service.hub.pull import Expected, Found
    from service.hub.receive import Progress

PULL_EXAMPLES = """Examples:

  unroll pull https://models.example.org/ner-en/1 --key release.pub\n
  unroll pull s3://bucket/models/ner-en/1@sha256:DIGEST\n
  unroll pull hf://owner/repository@main/ner-en\n
  unroll pull oci://registry.example.org/models/ner-en:1\n
  unroll pull ner-en --catalogue https://models.example.org/catalogue.toml

Digest and signature are checked before anything in a bundle is opened; a pull that fails leaves nothing behind.
"""
PUSH_EXAMPLES = """Examples:

  unroll push ner-en oci://registry.example.org/models/ner-en:1 --key release\n
  unroll push ner-en@2 s3://bucket/models/ner-en/2

The address is that of this version: nothing is added to it.
"""
SIGNING_KEY_EXAMPLES = """Examples:

  unroll signing-key release         writes release, which is secret, and release.pub, for those who pull
"""

DigestOption = Annotated[str | None, typer.Option(help="sha256 of its manifest.json, which it must have.")]
TrustedOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--key",
        envvar="UNROLL_TRUSTED_KEYS",
        help="Public key, of which one must have signed the bundle; repeatable.",
        show_default="signatures are shown and not checked",
    ),
]
TimeoutOption = Annotated[float, typer.Option(min=0.1, help="Seconds for which the other side may be silent.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check and show, and write nothing.")]


def pull(
    source: Annotated[
        str | None,
        typer.Argument(metavar="ADDRESS|NAME", help="An address; or a name in the catalogue.", show_default="list it"),
    ] = None,
    catalogue: Annotated[
        str | None,
        typer.Option(
            envvar="UNROLL_CATALOGUE", help="File, or address of one, that names bundles.", show_default="none"
        ),
    ] = None,
    digest: DigestOption = None,
    key: TrustedOption = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(envvar="UNROLL_PULL_MAX_BYTES", min=1, help="Most bytes of a bundle.", show_default="8 GiB"),
    ] = None,
    timeout: TimeoutOption = 30.0,
    dry_run: DryRunOption = False,
    models: ModelsOption = Path("models"),
    as_json: JsonOption = False,
) -> None:
    """Pull a bundle from an address into the models folder, and show its licence, scores and signature."""
    from service.hub.description import in_short, record_of
    from service.hub.pull import DEFAULT_MAX_BYTES, Pulling
    from service.hub.pull import pull as pull_bundle
    from service.hub.signature import read_public_key
    from service.hub.store import Transport

    with plain_errors():
        transport = Transport(timeout_s=timeout)
        if source is None:
            _list_catalogue(catalogue, transport, as_json)
            return
        address, expected = _wanted(source, catalogue, digest, transport)
        trusted = [read_public_key(path) for path in key or []]
        how = Pulling(models, trusted, max_bytes or DEFAULT_MAX_BYTES, dry_run, transport)
        _clean_up_on_sigterm()
        with _progress() as progress:
            pulled = pull_bundle(address, how, expected, None if as_json else _show, progress)
    if as_json:
        print(json.dumps(record_of(pulled.found) | {"outcome": pulled.outcome, "path": str(pulled.path)}))
        return
    said = {"pulled": "pulled into", "there": "is already in", "dry run": "would be pulled into"}
    print(f"{said[pulled.outcome]} {pulled.path}; {in_short(pulled.found)}")


def push(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A model; by default its highest version.")],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where this version shall lie.")],
    key: Annotated[
        Path | None, typer.Option(help="Private key that signs it, as `unroll signing-key` makes one.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over another bundle at the address.")] = False,
    timeout: TimeoutOption = 30.0,
    dry_run: DryRunOption = False,
    models: ModelsOption = Path("models"),
    as_json: JsonOption = False,
) -> None:
    """Push a version of a model to an address, signed if a key is given."""
    from service.bundle.models_folder import find_bundles
    from service.bundle.versions import named
    from service.hub.address import parse_address
    from service.hub.description import lines_about
    from service.hub.push import Pushing
    from service.hub.push import push as push_bundle
    from service.hub.signature import read_private_key
    from service.hub.store import Transport

    with plain_errors():
        target = parse_address(address)
        bundle = named(find_bundles(models), *name_and_version(models, model))
        secret = read_private_key(key) if key else None
        pushed = push_bundle(bundle, target, Pushing(secret, replace, dry_run, Transport(timeout_s=timeout)))
    manifest = pushed.manifest
    if as_json:
        entry = {field: getattr(manifest, field) for field in ("name", "version", "task", "language", "licence")}
        print(
            json.dumps(entry | {"address": str(target), "digest": f"sha256:{pushed.digest}", "outcome": pushed.outcome})
        )
        return
    print("\n".join(lines_about(manifest, pushed.digest)))
    said = {"pushed": "pushed to", "there": "is already at", "dry run": "would be pushed to"}[pushed.outcome]
    print(f"{said} {target}; {f'signed with the key {pushed.signed_by}' if pushed.signed_by else 'not signed'}")


def signing_key(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="File of the private key; FILE.pub is the public one.")],
) -> None:
    """Make a key for `unroll push --key`, and its public key for `unroll pull --key`."""
    from service.hub.signature import key_id, make_keys, public_path_of

    with plain_errors():
        public = make_keys(path)
    print(f"{key_id(public)}: keep {path} secret, and give {public_path_of(path)} to those who pull")


def _wanted(source: str, catalogue: str | None, digest: str | None, transport: Any) -> tuple[Address, Expected]:
    """The address to pull from, and what must lie there. Raises HubError."""
    from dataclasses import replace

    from service.hub.address import is_address, parse_address, parse_digest
    from service.hub.catalogue import read_catalogue
    from service.hub.pull import Expected

    given = parse_digest(digest) if digest else ""
    if is_address(source):
        return parse_address(source), Expected(given)
    if not catalogue:
        fail(f"{source!r} is no address, and there is no catalogue to look it up in: give --catalogue")
    entry = read_catalogue(catalogue, transport).find(source)
    if given not in ("", entry.expected.digest):
        fail(f"the catalogue names another digest of {source} than --digest")
    return parse_address(entry.address), replace(entry.expected)


def _list_catalogue(catalogue: str | None, transport: Any, as_json: bool) -> None:
    from service.bundle.models_folder import printable
    from service.hub.catalogue import read_catalogue

    if not catalogue:
        fail("which bundle? Give an address, or --catalogue to list one")
    bundles = read_catalogue(catalogue, transport).bundles
    if as_json:
        print(json.dumps({"bundles": [entry.model_dump() for entry in bundles]}, ensure_ascii=False))
        return
    for entry in bundles:
        about = printable(f"{entry.task:<15} {entry.language:<4} {entry.licence:<16} {entry.description}")
        print(f"{entry.name:<24} {entry.version:<4} {about}".rstrip())


def _show(found: Found) -> None:
    from service.hub.description import lines_of

    print("\n".join(lines_of(found)), flush=True)


def _clean_up_on_sigterm() -> None:
    """Let the signal end the command as an exception does, so that what was received is deleted."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars of what is received, on a terminal."""
    from service.hub.receive import no_progress

    if not sys.stderr.isatty():
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(name: str, received: int, size: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=size)
            bars.update(tasks[name], completed=received)

        yield told

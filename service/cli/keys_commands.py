"""`unroll keys`: make, list, change and revoke API keys in a file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.plain_errors import fail, plain_errors

if TYPE_CHECKING:
    from service.access.api_key import ApiKey

_EXAMPLES = """Examples:

  export UNROLL_API_KEYS_FILE=/etc/unroll/keys.json\n
  unroll keys add search --requests-per-minute 600\n
  unroll keys add writer --scope generate:shakespeare --tokens-per-minute 100000 --expires 2027-01-31\n
  unroll keys add operator --scope admin\n
  unroll keys list\n
  unroll keys revoke search

The file holds no secrets, only their SHA-256. A running service takes changes over on SIGHUP, or by itself with
UNROLL_RELOAD_EVERY_S; start it with the same UNROLL_API_KEYS_FILE. Send a key as the header
Authorization: Bearer KEY, or as x-api-key.
"""
_ADD_EXAMPLES = """Examples:

  unroll keys add search                                     predict and generate, with every model\n
  unroll keys add tagger --scope predict:ner-en --scope predict:pos-en\n
  unroll keys add batch --concurrent 4 --weight 0.5          half of the share of others\n
  KEY=$(unroll keys add ci --expires 2027-01-31)

The key is printed once, alone on standard output, and cannot be shown again.
"""
_REVOKE_EXAMPLES = """Examples:

  unroll keys revoke search

Requests in progress are answered. Its states and sessions cannot be opened by a key that is made later, even with the
same name; to change a secret and keep them, use `unroll keys rotate`.
"""

keys_app = typer.Typer(name="keys", rich_markup_mode="rich", no_args_is_help=True)

FileOption = Annotated[
    Path | None, typer.Option("--file", envvar="UNROLL_API_KEYS_FILE", help="File of keys; `add` makes it.")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key, in metrics, logs and usage.")]


@keys_app.callback(epilog=_EXAMPLES)
def keys() -> None:
    """Make, list and revoke the API keys of a service."""


@keys_app.command(epilog=_ADD_EXAMPLES)
def add(
    name: NameArgument,
    file: FileOption = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="predict, generate or admin; predict:MODEL or generate:MODEL for one model; repeatable.",
            show_default="predict and generate",
        ),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests a minute.", show_default="no limit")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(help="Tokens read and written a minute.", show_default="no limit")
    ] = None,
    concurrent: Annotated[int | None, typer.Option(help="Requests at once.", show_default="no limit")] = None,
    max_body_bytes: Annotated[
        int | None, typer.Option(help="Largest body.", show_default="that of the service")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="Last day, such as 2027-01-31, or a time with its offset.", show_default="never")
    ] = None,
    weight: Annotated[float, typer.Option(help="Share of the lanes beside other callers, 0.01 to 100.")] = 1.0,
) -> None:
    """Make a key, and print it once."""
    from service.access.api_key import DEFAULT_SCOPES, digest_of, new_id, new_secret

    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent_requests": concurrent,
        "max_body_bytes": max_body_bytes,
    }
    secret = new_secret()
    fields = {
        "name": name,
        "id": new_id(),
        "sha256": digest_of(secret.encode()).hex(),
        "scopes": scope or DEFAULT_SCOPES,
        "limits": {limit: value for limit, value in limits.items() if value is not None},
        "weight": weight,
        "expires": expires,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    new = _checked(fields)
    with _changed(file) as found:
        if any(other.name == name for other in found):
            fail(f"there is a key {name} already: revoke it, or rotate it to change its secret")
        found.append(new)
    print(secret)


@keys_app.command(name="list")
def list_keys(
    file: FileOption = None, as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False
) -> None:
    """List the keys with their scopes and limits; their secrets are known to nobody."""
    from service.access.key_file import read_keys

    with plain_errors():
        found = read_keys(_path(file))
    records = [key.model_dump(exclude={"sha256"}, exclude_none=True) for key in found]
    if as_json:
        print(json.dumps({"keys": records}))
        return
    for key in found:
        limits = [f"{limit}={value}" for limit, value in key.limits.model_dump(exclude_none=True).items()]
        more = [*limits, *([f"weight={key.weight:g}"] if key.weight != 1 else [])]
        until = "" if key.expires is None else f"{'expired' if _has_expired(key) else 'until'} {key.expires}"
        print(f"{key.name:<24} {','.join(key.scopes):<24} {' '.join([*more, until])}".rstrip())


@keys_app.command(epilog=_REVOKE_EXAMPLES)
def revoke(name: NameArgument, file: FileOption = None) -> None:
    """Remove a key: requests with it are refused from then on."""
    with _changed(file) as found:
        found[:] = [key for key in found if key is not _named(found, name)]
    print(f"revoked {name}")


@keys_app.command()
def rotate(name: NameArgument, file: FileOption = None) -> None:
    """Change the secret of a key, and print the new one once; its limits, states and sessions stay."""
    from service.access.api_key import digest_of, new_secret

    secret = new_secret()
    with _changed(file) as found:
        key = _named(found, name)
        found[found.index(key)] = key.model_copy(
            update={"sha256": digest_of(secret.encode()).hex(), "id": key.identity}
        )
    print(secret)


class _changed:  # noqa: N801 - reads as a statement, as `plain_errors` does
    """The keys of a file inside `with`, to be changed; written at the end unless something failed."""

    def __init__(self, file: Path | None) -> None:
        from service.access.key_file import changing

        self._path = _path(file)
        self._lock = changing(self._path)
        self._errors = plain_errors()

    def __enter__(self) -> list[ApiKey]:
        from service.access.key_file import read_keys

        with self._errors:
            self._lock.__enter__()
            self._found = read_keys(self._path) if self._path.exists() else []
        return self._found

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from service.access.key_file import write_keys

        try:
            if error is None:
                with self._errors:
                    write_keys(self._path, self._found)
        finally:
            self._lock.__exit__(None, None, None)


def _path(file: Path | None) -> Path:
    return file or fail("which file? Give --file, or set UNROLL_API_KEYS_FILE as for `unroll serve`")


def _checked(fields: dict[str, Any]) -> ApiKey:
    """The key, or the end of the command with what is wrong."""
    from pydantic import ValidationError

    from service.access.api_key import ApiKey

    try:
        return ApiKey.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        where = f"{problem['loc'][-1]}: " if problem["type"] != "value_error" else ""
        fail(where + str(problem["msg"]).removeprefix("Value error, "))


def _named(found: list[ApiKey], name: str) -> ApiKey:
    for key in found:
        if key.name == name:
            return key
    return fail(f"there is no key {name}; there are {', '.join(key.name for key in found) or 'none'}")


def _has_expired(key: ApiKey) -> bool:
    return key.expires_s <= datetime.now(UTC).timestamp()

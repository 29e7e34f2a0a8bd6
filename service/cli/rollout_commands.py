"""`unroll models load`, `unload`, `reload`, `alias` and `shadow`: change which version answers while a service runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import typer

from service.cli.models_commands import (
    FolderOption,
    NameArgument,
    group_options,
    models_app,
    name_and_version,
    root_folder,
)
from service.cli.plain_errors import fail, plain_errors

_ALIAS_EXAMPLES = """Examples:

  unroll models alias spam-en                           what holds now\n
  unroll models alias spam-en stable=3 canary=4         names, as in {"version": "canary"}\n
  unroll models alias spam-en stable=3:90 canary=4:10   and 10 % of the requests without a version\n
  unroll models alias spam-en canary:50 stable:50       other weights\n
  unroll models alias spam-en canary=                   remove a name\n
  unroll models alias spam-en --no-weights              the highest version answers again

Weights are relative. Without any, the highest version answers requests that name none. Requests with the same value of
the header X-Affinity-Key, or else of the same caller, get the same version. It is written to NAME/rollout.json in the
models folder; a service that reads the folder takes it over on SIGHUP, or by itself with UNROLL_RELOAD_EVERY_S. With
--url a service writes it, and it holds there at once.
"""
_SHADOW_EXAMPLES = """Examples:

  unroll models shadow spam-en 4 --share 0.1 --url http://localhost:8000   repeat a tenth of the requests on version 4\n
  unroll models shadow spam-en --url http://localhost:8000                 how its answers compare\n
  unroll models shadow spam-en --off --url http://localhost:8000           repeat no more

Callers get the answer of the version that answers as before, and never wait for the candidate.
"""
_LOAD_EXAMPLES = """Examples:

  unroll models load spam-en --url http://localhost:8000      all versions in the folder\n
  unroll models load spam-en@4 --url http://localhost:8000    one version
"""
_UNLOAD_EXAMPLES = """Examples:

  unroll models unload spam-en@3 --url http://localhost:8000

Requests in flight finish. It stays unloaded in that process until it is loaded again; the folder is not changed.
"""
_RELOAD_EXAMPLES = """Examples:

  unroll models reload --url http://localhost:8000

The same as SIGHUP: what is new or changed is opened, what is gone is closed, what is broken replaces nothing.
"""
_TIMEOUT_S = 300.0
_SPEC = re.compile(r"(?P<name>[^=:]+)(?:=(?P<version>[^:]*))?(?::(?P<weight>.+))?")

ServerOption = Annotated[str | None, typer.Option("--url", help="The server, such as http://host:8000.")]
ModelArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]


class _Changes(NamedTuple):
    """What the arguments of `alias` say: aliases (None removes one) and weights."""

    aliases: dict[str, str | None]
    weights: dict[str, float]


@models_app.command(epilog=_LOAD_EXAMPLES)
def load(context: typer.Context, model: NameArgument, url: ServerOption = None) -> None:
    """Have a server open a model, or take over what changed in its folder."""
    _print_state(_act(context, url, model, "load"))


@models_app.command(epilog=_UNLOAD_EXAMPLES)
def unload(context: typer.Context, model: NameArgument, url: ServerOption = None) -> None:
    """Have a server close a model until it is loaded again."""
    _print_state(_act(context, url, model, "unload"))


@models_app.command(epilog=_RELOAD_EXAMPLES)
def reload(context: typer.Context, url: ServerOption = None) -> None:
    """Have a server take over what changed in its models folder."""
    with plain_errors():
        found = _ask(_server(context, url), "POST", "/reload", {})
    for problem in found["problems"]:
        print(problem)
    print(found["outcome"])
    if found["outcome"] == "failed":
        raise typer.Exit(1)


@models_app.command(epilog=_ALIAS_EXAMPLES)
def alias(
    context: typer.Context,
    model: ModelArgument,
    specs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ALIAS=VERSION[:WEIGHT]]...", help="Names and weights; ALIAS= removes a name."),
    ] = None,
    models: FolderOption = None,
    url: ServerOption = None,
    no_weights: Annotated[bool, typer.Option("--no-weights", help="Let the highest version answer again.")] = False,
) -> None:
    """Name versions, and split the requests that name none among them."""
    changes = _changes_of(specs or [])
    if no_weights and changes.weights:
        fail("give weights or --no-weights, not both")
    server = url or (_given_url(context) if models is None else None)
    with plain_errors():
        if server:
            _alias_on_server(server, model, changes, no_weights)
        else:
            _alias_in_folder(root_folder(context, models), model, changes, no_weights)


@models_app.command(epilog=_SHADOW_EXAMPLES)
def shadow(
    context: typer.Context,
    model: ModelArgument,
    candidate: Annotated[
        str | None, typer.Argument(metavar="[CANDIDATE]", help="The version or alias to repeat requests on.")
    ] = None,
    url: ServerOption = None,
    share: Annotated[float, typer.Option(help="Share of the requests, above 0, at most 1.")] = 1.0,
    off: Annotated[bool, typer.Option("--off", help="Repeat no more.")] = False,
) -> None:
    """Repeat requests on a candidate, and compare its answers with those that callers get."""
    server = _server(context, url)
    if off and candidate:
        fail("give a candidate or --off, not both")
    with plain_errors():
        if off or candidate:
            wanted = None if off else {"to": candidate, "share": share}
            _ask(server, "POST", f"/models/{quote(model, safe='')}/rollout", {"shadow": wanted})
        print_report(_ask(server, "GET", f"/models/{quote(model, safe='')}/shadow"))


def _act(context: typer.Context, url: str | None, model: str, verb: str) -> dict[str, Any]:
    """Load or unload a model, or one version of it, on a server."""
    server = _server(context, url)
    name, _, version = model.replace("/", "@").partition("@")
    with plain_errors():
        body = {"version": version} if version else {}
        return _ask(server, "POST", f"/models/{quote(name, safe='')}/{verb}", body)


def _given_url(context: typer.Context) -> str | None:
    """The address before the command's name or in UNROLL_URL, unless a folder is given."""
    given: str | None = group_options(context).get("url")
    return given


def _server(context: typer.Context, url: str | None) -> str:
    server = url or _given_url(context)
    if not server:
        fail("this changes a running server: say which with --url http://host:8000, or in UNROLL_URL")
    return server


def _ask(server: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    from service.cli.http_client import request_json

    return request_json(server.rstrip("/"), method, path, body, _TIMEOUT_S)


def _changes_of(specs: Sequence[str]) -> _Changes:
    changes = _Changes({}, {})
    for spec in specs:
        found = _SPEC.fullmatch(spec)
        if found is None or (found["version"] is None and found["weight"] is None):
            fail(f"{spec!r}: write ALIAS=VERSION, ALIAS=VERSION:WEIGHT, ALIAS:WEIGHT, or ALIAS= to remove it")
        if found["version"] is not None:
            changes.aliases[found["name"]] = found["version"] or None
        if found["weight"] is not None:
            changes.weights[found["name"]] = _weight_of(spec, found["weight"])
    return changes


def _weight_of(spec: str, text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        fail(f"{spec!r}: a weight is a number, such as 10; {text!r} is none")


def _body_of(changes: _Changes, traffic: dict[str, float], no_weights: bool) -> dict[str, Any]:
    """The changes with the weights that stay."""
    removed = {name for name, version in changes.aliases.items() if version is None}
    kept = {target: weight for target, weight in (traffic | changes.weights).items() if target not in removed}
    body: dict[str, Any] = {"aliases": changes.aliases}
    if no_weights or kept != traffic:
        body["traffic"] = None if no_weights else kept
    return body


def _alias_on_server(server: str, model: str, changes: _Changes, no_weights: bool) -> None:
    path = f"/models/{quote(model, safe='')}/rollout"
    found = _ask(server, "GET", path)
    if changes.aliases or changes.weights or no_weights:
        found = _ask(server, "POST", path, _body_of(changes, found["rollout"]["traffic"], no_weights))
    _print_state(found)


def _alias_in_folder(root: Path, model: str, changes: _Changes, no_weights: bool) -> None:
    from service.bundle.rollout_file import change_rollout, read_rollout
    from service.bundle.versions import versions_of

    name, version = name_and_version(root, model)
    if version is not None:
        fail("an alias belongs to a model: give its name without a version")
    there = [path.name for path in versions_of(root, name)]
    rollout = read_rollout(root / name)
    if changes.aliases or changes.weights or no_weights:
        rollout = change_rollout(root / name, _body_of(changes, dict(rollout.traffic), no_weights), there)
    total = sum(rollout.traffic.values())
    for target in sorted({*rollout.aliases, *rollout.traffic}):
        share = rollout.traffic.get(target, 0.0) / total if total else None
        _print_row(target, rollout.version_of(target), share)
    if not total:
        print(f"without a version: the highest of {', '.join(there)}")


def _print_state(found: dict[str, Any]) -> None:
    for each in found["versions"]:
        state = f"{each['state']}: {each['reason']}" if each["reason"] else each["state"]
        share = "" if each["traffic_share"] is None else f"{each['traffic_share']:7.1%} of requests without a version"
        print(f"{found['name']:<24} {each['version']:<4} {state:<10} {' '.join(each['aliases']):<16} {share}".rstrip())
    if found["problem"]:
        print(f"refused: {found['problem']}; the last good one holds")


def _print_row(target: str, version: str, share: float | None) -> None:
    told = "" if share is None else f"{share:7.1%} of requests without a version"
    print(f"{target:<24} {version:<4} {told}".rstrip())


def print_report(found: dict[str, Any]) -> None:
    """Print a shadow report as `GET /models/{name}/shadow` gives it."""
    if found["candidate"] is None:
        print(f"{found['name']}: no requests are repeated")
    else:
        print(f"{found['name']}: {found['share']:.1%} of the requests are repeated on version {found['candidate']}")
    for each in found["comparisons"]:
        _print_comparison(each)


def _print_comparison(each: dict[str, Any]) -> None:
    agreement = "-" if each["agreement"] is None else f"{each['agreement']:.2%}"
    distance = "-" if each["mean_score_distance"] is None else f"{each['mean_score_distance']:.4f}"
    print(f"\nversion {each['version']} beside {each['candidate']}")
    print(f"  compared {each['compared']}  agreed {each['agreed']} ({agreement})  mean score distance {distance}")
    print(f"  failed {each['failed']}  dropped {each['dropped']}")
    for key, label in (("latency", each["version"]), ("candidate_latency", each["candidate"])):
        if each[key]:
            print(
                f"  in the graph, version {label}: p50 {each[key]['p50_ms']:.2f} ms  p95 {each[key]['p95_ms']:.2f} ms"
            )
    for pair in each["differences"]:
        print(f"  {pair['count']:>8}  {pair['answer']} -> {pair['candidate']}")

"""`unroll models`: list bundles, remove and rename them, roll a model back, and seal an edited bundle again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from service.cli.plain_errors import fail, plain_errors

_EXAMPLES = """Examples:

  unroll models\n
  unroll models --url http://localhost:8000 --json\n
  unroll models rollback spam-en\n
  unroll models remove spam-en@2

A running service takes changes over on SIGHUP, or by itself with UNROLL_RELOAD_EVERY_S.
"""
_REMOVE_EXAMPLES = """Examples:

  unroll models remove spam-en@2         one version\n
  unroll models remove spam-en --yes     all versions, without asking
"""
_RENAME_EXAMPLES = """Examples:

  unroll models rename spam-en spam-sms

All versions get the name, in their manifests and cards too. For a moment a running service has both.
"""
_ROLLBACK_EXAMPLES = """Examples:

  unroll models rollback spam-en         the version before the highest answers again\n
  unroll models rollback spam-en 1       version 1 answers\n
  unroll models rollback spam-en 3       brings version 3 back

The highest version answers requests that name none. Versions above the chosen one are set aside in
NAME/.set-aside, which the service does not read; nothing is deleted.
"""
_SEAL_EXAMPLES = """Examples:

  unroll models seal spam-en@1

A bundle carries digests of all its files and of its manifest, and is refused once they do not match. Seal it again
after a change that is meant, such as of its description or card. It must still answer its recorded examples.
"""

#: Commands that take the address of a server.
_ON_SERVERS = frozenset({"list", "load", "unload", "reload", "alias", "shadow"})

models_app = typer.Typer(name="models", rich_markup_mode="rich")

ModelsOption = Annotated[
    Path, typer.Option("--models", envvar="UNROLL_MODELS_DIR", help="Folder with NAME/VERSION bundles.")
]
UrlOption = Annotated[
    str | None,
    typer.Option(envvar="UNROLL_URL", help="Query a server, such as http://host:8000."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
FolderOption = Annotated[
    Path | None, typer.Option("--models", help="Folder with NAME/VERSION bundles.", show_default="models")
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A model, or one version of it.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@models_app.callback(epilog=_EXAMPLES, invoke_without_command=True)
def list_models(
    context: typer.Context, url: UrlOption = None, models: ModelsOption = Path("models"), as_json: JsonOption = False
) -> None:
    """List the models in a folder, or on a running server; change those in a folder."""
    command = context.invoked_subcommand
    if command is None:
        _print_models(url, models, as_json)
    elif command not in _ON_SERVERS and url and str(context.get_parameter_source("url")).endswith("COMMANDLINE"):
        fail(f"models {command} changes a folder: give --models, not --url")


@models_app.command("list", epilog=_EXAMPLES)
def list_again(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="Query a server, such as http://host:8000.")] = None,
    models: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the models: the same as without a command."""
    given = group_options(context)
    _print_models(url or given["url"], models or given["models"], as_json or given["as_json"])


def group_options(context: typer.Context) -> dict[str, Any]:
    """The options that were given before the name of the command."""
    return dict(context.parent.params) if context.parent is not None else {}


def root_folder(context: typer.Context, models: Path | None) -> Path:
    """The models folder, given after the command's name or before it."""
    return models or Path(group_options(context)["models"])


def _print_models(url: str | None, models: Path, as_json: bool) -> None:
    from service.cli import backends

    with plain_errors():
        source = backends.open_source(url, models)
        listed, remarks = source.models(), source.remarks()
    for remark in remarks:
        print(f"unroll: {remark}", file=sys.stderr)
    if as_json:
        print(json.dumps({"models": listed}, ensure_ascii=False))
        return
    for entry in listed:
        state = entry["state"] if not entry["reason"] else f"{entry['state']}: {entry['reason']}"
        about = f"{entry['task'] or '':<15} {entry['description'] or ''}".strip()
        print(f"{entry['name']:<24} {entry['version']:<4} {state:<10} {about}".rstrip())


@models_app.command(epilog=_REMOVE_EXAMPLES)
def remove(context: typer.Context, model: NameArgument, models: FolderOption = None, yes: YesOption = False) -> None:
    """Delete a model, or one version of it."""
    from service.bundle.versions import remove_bundles, versions_of

    root = root_folder(context, models)
    with plain_errors():
        name, version = name_and_version(root, model)
        every = versions_of(root, name)
        found = [path for path in every if version in (None, path.name)]
        if not found:
            fail(f"{name} has no version {version!r}; there are: {', '.join(path.name for path in every)}")
        numbers = ", ".join(path.name for path in found)
        _confirm(f"Delete {name}, version {numbers}, from {root}?", yes)
        remove_bundles(root, name, found)
    left = [path.name for path in every if path not in found and path.parent.name == name]
    print(f"removed {name} {numbers}" + (f"; version {left[-1]} answers" if left else ""))


@models_app.command(epilog=_RENAME_EXAMPLES)
def rename(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name that it has.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name that it gets.")],
    models: FolderOption = None,
) -> None:
    """Give a model another name, with all its versions."""
    from service.bundle.versions import rename_model

    root = root_folder(context, models)
    with plain_errors():
        name, version = name_and_version(root, old)
        if version is not None:
            fail("a name belongs to all versions of a model: give it without a version")
        print(f"renamed {name} to {rename_model(root, name, new)}")


@models_app.command(epilog=_ROLLBACK_EXAMPLES)
def rollback(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="The version.", show_default="the one before the highest")
    ] = None,
    models: FolderOption = None,
) -> None:
    """Let an older version of a model answer again; nothing is deleted."""
    from service.bundle.rollout_file import read_rollout
    from service.bundle.versions import roll_back

    root = root_folder(context, models)
    with plain_errors():
        name, stated = name_and_version(root, model)
        result = roll_back(root, name, version or stated)
        rollout = read_rollout(root / name)
    if rollout.traffic:
        hint = f"unroll models alias {name} --no-weights"
        print(f"unroll: its traffic is split by weights, which go before the highest version: {hint}", file=sys.stderr)
    moved = [f"set aside: {', '.join(result.set_aside)}"] if result.set_aside else []
    moved += [f"brought back: {', '.join(result.brought_back)}"] if result.brought_back else []
    print("; ".join([f"{name} version {result.serves} answers", *(moved or ["as it did before"])]))


@models_app.command("seal", epilog=_SEAL_EXAMPLES)
def seal_again(
    context: typer.Context, model: NameArgument, models: FolderOption = None, yes: YesOption = False
) -> None:
    """Accept a change that was made to a published bundle by hand: compute its digests again."""
    from service.bundle.models_folder import find_bundles
    from service.bundle.versions import adopt_seal, changed_files, drop_copy, named, sealed_copy
    from service.inference.engines.open_bundle import open_bundle
    from service.inference.engines.self_check import self_check

    root = root_folder(context, models)
    with plain_errors():
        name, version = name_and_version(root, model)
        path = named(find_bundles(root), name, version)
        changed = changed_files(path)
        if changed:
            _confirm(f"These files of {path} were changed: {', '.join(changed)}. Is that meant?", yes)
        staged = sealed_copy(root, path)
        try:
            self_check(open_bundle(staged, "cpu"))
            adopt_seal(staged, path)
        finally:
            drop_copy(staged)
    print(f"sealed {path}")


def name_and_version(root: Path, model: str) -> tuple[str, str | None]:
    """Name and version of `NAME`, `NAME@VERSION`, `NAME/VERSION` or the path of a bundle in this folder."""
    from service.bundle.models_folder import is_model_name, is_version, printable

    path = Path(model.replace("@", "/"))
    version = path.name if is_version(path.name) and len(path.parts) > 1 else None
    folder = path.parent if version is not None else path
    is_elsewhere = len(folder.parts) > 1 and folder.parent.resolve() != root.resolve()
    if is_elsewhere or not is_model_name(folder.name):
        fail(f"{printable(model)!r}: write NAME or NAME@VERSION of a model in {root}; another folder is --models")
    return folder.name, version


def _confirm(question: str, is_confirmed: bool) -> None:
    if is_confirmed:
        return
    if not sys.stdin.isatty():
        fail(f"{question} To do it without being asked, add --yes")
    if not typer.confirm(question, err=True):
        _leave()


def _leave() -> NoReturn:
    print("nothing was changed", file=sys.stderr)
    raise typer.Exit(1)

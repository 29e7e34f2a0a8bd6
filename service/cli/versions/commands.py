"""The commands `unroll models diff` and `unroll models prune`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.models_commands import FolderOption, JsonOption, models_app, name_and_version, root_folder
from service.cli.plain_errors import plain_errors

if TYPE_CHECKING:
    from service.cli.versions.answer_comparison import AnswerComparison
    from service.cli.versions.manifest_comparison import Difference

_DIFF_EXAMPLES = """Examples:

  unroll models diff ner-en@1 ner-en@2                    labels, vocabulary, sizes and scores that differ\n
  unroll models diff ner-en@1 ner-en@2 --data dev.conllu  and how many answers differ, with the first of them

A labelled file also gives the scores of both on it, where the training extra is installed. The exit status is 0 whether
they differ or not.
"""
_PRUNE_EXAMPLES = """Examples:

  unroll models prune --keep 3                what would be deleted of all models\n
  unroll models prune ner-en --keep 3 --yes   delete it

Versions that an alias, a weight or the shadow in NAME/rollout.json names stay, and so do those that a rollback has set
aside; they do not count as kept.
"""
#: Characters of an answer that a line shows.
_MAX_ANSWER = 200

DiffArgument = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A model, or one version of it.")]


@models_app.command(epilog=_DIFF_EXAMPLES)
def diff(
    context: typer.Context,
    first: DiffArgument,
    second: DiffArgument,
    models: FolderOption = None,
    data: Annotated[str, typer.Option("--data", help="File of inputs that both answer.")] = "",
    show: Annotated[int, typer.Option(min=0, help="Differing answers that are shown.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Compare two models or two versions of one: what they are, and what they answer."""
    from service.bundle.models_folder import find_bundles
    from service.bundle.versions import named
    from service.cli.versions.manifest_comparison import compared_bundles

    root = root_folder(context, models)
    with plain_errors():
        bundles = find_bundles(root)
        paths = [named(bundles, *name_and_version(root, model)) for model in (first, second)]
        rows = [row for row in compared_bundles(*paths) if row.is_one]
        answers, scores = _on_data(paths, data) if data else (None, [])
    if as_json:
        typer.echo(json.dumps(_facts(rows, answers, scores, show), ensure_ascii=False))
        return
    titles = [f"{path.parent.name}@{path.name}" for path in paths]
    _print_table(titles, [(row.fact, row.first, row.second) for row in rows])
    if answers is not None:
        _print_answers(titles, answers, scores, show)


@models_app.command(epilog=_PRUNE_EXAMPLES)
def prune(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="[NAME]", help="A model; without it, all.")] = "",
    keep: Annotated[int, typer.Option(min=1, help="Highest versions of each model that stay.")] = 3,
    models: FolderOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; without it, only tell what would be.")] = False,
) -> None:
    """Delete all but the highest versions of a model, or of all; first without --yes, which only tells."""
    from service.bundle.models_folder import find_bundles
    from service.bundle.versions import prunable_versions, remove_bundles, versions_of

    root = root_folder(context, models)
    with plain_errors():
        if model:
            model = name_and_version(root, model)[0]
            versions_of(root, model)
        names = [model] if model else sorted({path.parent.name for path in find_bundles(root)})
        found = {name: prunable_versions(root, name, keep) for name in names}
        for name, paths in found.items():
            if paths and yes:
                remove_bundles(root, name, paths)
    for name, paths in found.items():
        for path in paths:
            print(f"{'removed' if yes else 'would remove'} {name}@{path.name}")
    num_versions = sum(map(len, found.values()))
    if not num_versions:
        print(f"nothing to remove: no model has more than {keep} versions that may go")
    elif not yes:
        print(f"nothing was removed; to remove {num_versions}, add --yes")


def _on_data(paths: Sequence[Path], data: str) -> tuple[AnswerComparison, list[Mapping[str, Any]]]:
    """The answers to a file, and the scores of both bundles where it has labels and they can be computed."""
    from service.cli.versions.answer_comparison import compared_answers, scores_on
    from service.errors import UnrollError

    answers = compared_answers(paths[0], paths[1], data)
    try:
        scores = [scores_on(path, data) for path in paths]
    except UnrollError:  # a file without labels
        scores = []
    return answers, [each for each in scores if each is not None]


def _facts(
    rows: Sequence[Difference], answers: AnswerComparison | None, scores: Sequence[Mapping[str, Any]], show: int
) -> dict[str, Any]:
    facts: dict[str, Any] = {"differences": [row._asdict() for row in rows]}
    if answers is not None:
        facts["inputs"], facts["differing"] = answers.num_inputs, len(answers.differing)
        facts["answers"] = [each._asdict() for each in answers.differing[:show]]
        facts["scores"] = [dict(each) for each in scores]
    return facts


def _print_answers(
    titles: Sequence[str], answers: AnswerComparison, scores: Sequence[Mapping[str, Any]], show: int
) -> None:
    if len(scores) == len(titles):
        names = [name for name in scores[0] if name in scores[1] and name != "count"]
        print()
        _print_table(titles, [(name, *(f"{each[name]:.2f}" for each in scores)) for name in names])
    share = 100 * len(answers.differing) / answers.num_inputs
    print(f"\n{len(answers.differing):,} of {answers.num_inputs:,} answers differ ({share:.1f} %)")
    width = max(map(len, titles))
    for each in answers.differing[:show]:
        print(each.place)
        for title, text in zip(titles, (each.first, each.second), strict=True):
            print(f"  {title:<{width}}  {text[:_MAX_ANSWER]}{'...' * (len(text) > _MAX_ANSWER)}")


def _print_table(titles: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    if not rows:
        print("no difference in what their manifests say")
        return
    table = [("", *titles), *rows]
    widths = [max(len(row[column]) for row in table) for column in (0, 1)]
    for row in table:
        print(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip())

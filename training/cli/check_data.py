"""The command `unroll check-data`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from service.errors import UnrollError
from training.cli.options import AsJson, ColumnOption, FormatOption, friendly_errors, read_options
from training.cli.recipe import TASKS

if TYPE_CHECKING:
    from service.bundle.task_options import TrainedTask
    from training.data.check import Finding
    from training.data.formats.options import ReadOptions


def check_data(
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(TASKS)}.")],
    train_file: Annotated[str, typer.Option("--train", help="Training file, folder, or a.en,a.de.")],
    dev_file: Annotated[str | None, typer.Option("--dev", help="Dev file.")] = None,
    test_file: Annotated[str | None, typer.Option("--test", help="Test file.")] = None,
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    grammar: Annotated[
        str, typer.Option(help="Translations: a grammar by name or file; targets, cut as code, that do not parse.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check labelled files before training: faults by line, label balance, lengths, duplicates, leaks between splits.

    unroll check-data tagging --train a.conllu --dev b.conllu

    Which targets a grammar does not parse: unroll check-data translation --train a.tsv --grammar queries.lark
    """
    known = {name: name for name in TASKS}
    with friendly_errors():
        from training.config.recipe import nearest_task
        from training.data import check as checking

        if task not in known:
            near = nearest_task(task)
            hint = f"; did you mean {near}?" if near else ";"
            raise UnrollError(f"unknown task {task!r}{hint} choose one of {', '.join(TASKS)}")
        if grammar and task != "translation":
            raise UnrollError(f"--grammar is for translation, not for {task}")
        read = read_options(file_format, columns)
        report = checking.run(known[task], train_file, dev_file, test_file, read)
        if grammar and not report.faults:
            paths = [path for path in (train_file, dev_file, test_file) if path]
            found = [finding for path in paths for finding in _unparsed(known[task], grammar, path, read)]
            report = report.model_copy(update={"warnings": [*report.warnings, *found]})
        if as_json:
            typer.echo(report.model_dump_json(indent=2))
        else:
            checking.render(report, Console())
        raise typer.Exit(report.exit_code)


def _unparsed(task: TrainedTask, name_or_path: str, path: str, read: ReadOptions) -> list[Finding]:
    """How many targets of a file a grammar does not parse, and each of them."""
    from service.tasks.seq2seq.grammar.word_grammar import TextGrammar
    from training.config.grammar import read_grammar
    from training.config.recipe import TokenizerConfig
    from training.data.check import Finding
    from training.evaluation.grammar.unparsed_targets import unparsed_rows

    grammar = TextGrammar(read_grammar(name_or_path))
    rows = unparsed_rows(grammar, task, TokenizerConfig(cut="code"), path, read)
    total = (
        [Finding(path=path, line=None, what=f"{len(rows):,} targets do not parse by {name_or_path}")] if rows else []
    )
    return [*total, *(Finding(path=row.path, line=row.line, what=str(row.fault)) for row in rows)]

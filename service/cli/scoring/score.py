"""The command `score`: a file of any size through a model, without a server."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from service.cli.models_commands import JsonOption, ModelsOption, UrlOption
from service.cli.plain_errors import fail, plain_errors
from service.cli.request_parameter import parse_parameter
from service.cli.scoring import score_options as options
from service.cli.scoring.perplexity import print_perplexity
from service.cli.scoring.score_arguments import file_arguments

SCORE_EXAMPLES = """Examples:

  unroll score intent-en questions.csv answers.parquet\n
  unroll score pos-en corpus.conllu tags.jsonl\n
  unroll score spam-en mails.tsv.gz spam.csv --text-column Body --keep Id\n
  unroll score digits-en recordings/ digits.parquet\n
  unroll score shakespeare lines.txt scores.csv -p max_new_tokens=0 -p details=true -p decoder_input_details=true\n

The first column with a usual name, such as `text`, is read. All columns are kept, and those of the answers follow; the
last, `error`, says why a row has no answer. A run that was stopped continues when it is repeated. For the perplexity of
a single text there is `unroll perplexity TEXT`.
"""


def score(
    context: typer.Context,
    arguments: options.ScoreArguments = None,
    text_column: options.TextColumnOption = None,
    keep: options.KeepOption = None,
    output_columns: options.OutputColumnsOption = None,
    prefix: options.PrefixOption = "",
    parameter: options.ParameterOption = None,
    encoding: options.EncodingOption = None,
    separator: options.SeparatorOption = None,
    header: options.HeaderOption = True,
    workers: options.WorkersOption = None,
    precision: options.PrecisionOption = "fp32",
    device: options.DeviceOption = "auto",
    compression: options.CompressionOption = None,
    part_rows: options.PartRowsOption = None,
    shards: options.ShardsOption = False,
    force: options.ForceOption = False,
    restart: options.RestartOption = False,
    model: options.NamedModelOption = None,
    version: options.VersionOption = None,
    url: UrlOption = None,
    models: ModelsOption = Path("models"),
    as_json: JsonOption = False,
) -> None:
    """Score a file of any size: .csv, .tsv, .jsonl, .parquet, .conllu, .txt, or a folder of sounds or pictures.

    Each row of IN is a row of OUT (.parquet, .csv, .tsv or .jsonl), in the same order; tags and trees can be written as
    .conllu. No server is needed; all cores are used.
    """
    with plain_errors():
        found = file_arguments(arguments or (), model, version)
    if found is None:
        print("unroll: perplexity has a command of its own, `unroll perplexity TEXT`; `unroll score` is for files: "
              "unroll score MODEL IN OUT", file=sys.stderr)  # fmt: skip
        print_perplexity(arguments or (), model, version, url, models, as_json)
        return
    if url and str(context.get_parameter_source("url")).endswith("COMMANDLINE"):
        fail("`unroll score` needs no server; `unroll predict --url URL FILE` asks one")
    from service.cli.scoring.score_files import FileScoring

    with plain_errors():
        scoring = FileScoring(
            found, parameters=dict(map(parse_parameter, parameter or [])), text_column=text_column, keep=_names(keep),
            output_columns=_names(output_columns), prefix=prefix, encoding=encoding, separator=separator,
            has_header=header, num_workers=workers, precision=precision, device=device, compression=compression,
            is_sharded=shards, overwrites=force, restarts=restart, part_rows=part_rows, models=models,
        )  # fmt: skip
        scoring.run(as_json)


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    """Names from options that are repeated, or have several with commas between them; `none` is none of them."""
    if given is None:
        return None
    names = [name for one in given for name in one.split(",") if name]
    return () if names == ["none"] else tuple(names)

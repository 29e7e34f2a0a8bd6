"""The command `perplexity`: how well a language model predicts a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from service.cli.models_commands import JsonOption, ModelsOption, UrlOption
from service.cli.plain_errors import plain_errors
from service.cli.standard_input import lines_of_standard_input

PERPLEXITY_EXAMPLES = """Examples:

  unroll perplexity "To be, or not to be"\n
  unroll perplexity -m shakespeare --json "To be"\n
  unroll perplexity < lines.txt
"""


def perplexity(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="Texts.", show_default="lines of standard input")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model name; optional if only one can answer.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Version of the model.", show_default="the highest")] = None,
    url: UrlOption = None,
    models: ModelsOption = Path("models"),
    as_json: JsonOption = False,
) -> None:
    """Print how well a language model predicts each text: perplexity per token, and bits per character.

    With --json also every token with its log-probability. Lower is better; a text of one token has no score.
    """
    print_perplexity(texts or (), model, version, url, models, as_json)


def print_perplexity(
    texts: Sequence[str], model: str | None, version: str | None, url: str | None, models: Path, as_json: bool
) -> None:
    """Print a line for each text, or for each line of standard input where there is none."""
    from service.cli import backends as client

    parameters = {"max_new_tokens": 0, "details": True, "decoder_input_details": True}
    with plain_errors():
        source = client.open_source(url, models)
        for text in texts or lines_of_standard_input():
            details = source.generate(model, version, text, parameters)["details"]
            if as_json:
                known = ("perplexity", "bits_per_character", "prefill")
                print(json.dumps({"text": text} | {name: details.get(name) for name in known}, ensure_ascii=False))
            else:
                print(f"{_rounded(details.get('perplexity'))}\t{_rounded(details.get('bits_per_character'))}\t{text}")


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"

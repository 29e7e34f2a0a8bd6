"""The commands `synthesize ...`: make sound for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import Jobs, friendly_errors, say

synthesize_app = typer.Typer(
    no_args_is_help=True, help="Make sound for training: synthetic speech, connected digits, streams with keywords."
)

Out = Annotated[Path, typer.Option("--out", help="Folder for the sounds; a second run goes on where one stopped.")]
Count = Annotated[int, typer.Option("--count", min=1, help="Number of sounds.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Equal seeds and settings make equal sounds.")]
Rate = Annotated[int, typer.Option("--rate", min=4000, max=48000, help="Samples a second.")]


@synthesize_app.command()
def speech(
    texts: Annotated[Path, typer.Argument(help="Sentences: lines of a text file, or a column of a CSV or TSV file.")],
    out: Out,
    column: Annotated[
        str, typer.Option("--column", help="Column with the texts.", show_default="text, or the first")
    ] = "",
    fragments: Annotated[
        Path | None, typer.Option("--fragments", help="Texts from which groups of 1 to 6 words make every second one.")
    ] = None,
    longest: Annotated[int, typer.Option("--longest", min=1, max=100, help="Words of a sentence, at most.")] = 12,
    count: Count = 1000,
    voices: Annotated[
        str, typer.Option("--voices", help="Patterns of ENGINE/VOICE, each with its share of the sounds.")
    ] = "espeak-ng/*=5,flite/*=4,festival/*=1",
    leave_out: Annotated[str, typer.Option("--leave-out", help="Patterns of voices that speak dev.tsv only.")] = "",
    dev_count: Annotated[int, typer.Option("--dev-count", min=0, help="Number of sounds in dev.tsv.")] = 200,
    seed: Seed = 1,
    rate: Rate = 8000,
    jobs: Jobs = 1,
) -> None:
    """Speak sentences with the installed engines: espeak-ng, flite, festival.

    unroll synthesize speech sentences.txt --out synthetic --count 4000 --voices "espeak-ng/en-us+*,flite/*=2"

    Writes parts of 1,000, such as part-000.tsv (file, seconds, speaker, text) with part-000.zip, a part complete when
    its .tsv exists. Numbers and abbreviations are not spelled out: such sentences are passed over.
    """
    with friendly_errors():
        from training.synthesis.speech import SpeechRequest, synthesize_speech
        from training.synthesis.texts import read_sentences

        sentences = read_sentences(texts, column, shortest=2 if longest > 1 else 1, longest=longest)
        groups = [] if fragments is None else read_sentences(fragments, "", longest=100)
        say(f"{len(sentences):,} sentences" + (f", {len(groups):,} texts for word groups" if groups else ""))
        request = SpeechRequest(sentences, groups, voices, leave_out, count, dev_count, seed, rate)
        for table in synthesize_speech(request, out, jobs, say):
            typer.echo(table)

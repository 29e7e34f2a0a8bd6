"""The commands `synthesize ...`: make sound and clips for training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.errors import UnrollError
from training.cli.options import Jobs, friendly_errors, say

synthesize_app = typer.Typer(
    no_args_is_help=True,
    help="Make data for training: synthetic speech, connected digits, streams with keywords, moving pictures.\n\n"
    "Example: unroll synthesize digits --out digits --count 4000",
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


Words = Annotated[str, typer.Option("--words", help="Public data set of single words by several speakers.")]
Prompts = Annotated[str, typer.Option("--prompts", help="Public data set of speech for between the words.")]
LeaveOut = Annotated[str, typer.Option("--leave-out", help="A speaker to leave out.")]


@synthesize_app.command()
def digits(
    out: Out,
    words: Words = "fsdd",
    split: Annotated[str, typer.Option("--split", help="Part of the data set: train or dev.")] = "train",
    leave_out: LeaveOut = "",
    only: Annotated[str, typer.Option("--only", help="The only speaker to take.")] = "",
    shortest: Annotated[int, typer.Option("--shortest", min=1, max=100, help="Words in a string, at least.")] = 3,
    longest: Annotated[int, typer.Option("--longest", min=1, max=100, help="Words in a string, at most.")] = 7,
    count: Count = 4000,
    seed: Seed = 1,
    rate: Rate = 8000,
    jobs: Jobs = 1,
) -> None:
    """Glue recordings of single digits into strings: connected digits to train on.

    unroll synthesize digits --out digits --count 4000 --leave-out theo

    Writes train.tsv (file, seconds, speaker, text) and train.zip.
    """
    with friendly_errors():
        from training.synthesis.connected_digits import DigitsRequest, synthesize_digits

        if shortest > longest:
            raise UnrollError(f"--shortest {shortest} is more than --longest {longest}")
        request = DigitsRequest(words, split, leave_out, only, shortest, longest, count, seed, rate)
        for table in synthesize_digits(request, out, jobs):
            typer.echo(table)


@synthesize_app.command()
def background(
    out: Out,
    words: Words = "fsdd",
    prompts: Prompts = "asterisk_prompts_en",
    leave_out: LeaveOut = "",
    longest_s: Annotated[float, typer.Option("--longest", min=2, max=60, help="Seconds of a sound, at most.")] = 10.0,
    count: Count = 1500,
    seed: Seed = 1,
    rate: Rate = 8000,
    jobs: Jobs = 1,
) -> None:
    """Make utterances of digits among prompts, noise and silence, whose text is the digits alone: for keyword spotting.

    unroll synthesize background --out background --count 1500

    The text is empty where no digit is said. Prompts that hold a digit or a number made of one are not used.
    """
    with friendly_errors():
        from training.synthesis.keyword_streams import StreamRequest, synthesize_background

        request = StreamRequest(words, prompts, leave_out, seed, rate)
        for table in synthesize_background(request, count, longest_s, out, jobs):
            typer.echo(table)


@synthesize_app.command()
def streams(
    out: Out,
    words: Words = "fsdd",
    prompts: Prompts = "asterisk_prompts_en",
    leave_out: LeaveOut = "",
    hours: Annotated[float, typer.Option("--hours", min=0.1, max=24, help="Hours of sound, at least.")] = 2.0,
    seed: Seed = 1,
    rate: Rate = 8000,
) -> None:
    """Make long streams with digits at known places, to score keyword spotting on.

    unroll synthesize streams --out keyword-dev --hours 2

    Writes dev.zip with streams of 5 to 10 minutes and dev.tsv (stream, keyword, start_s, end_s). The recordings are of
    dev, and the prompts none that `background` uses.
    """
    with friendly_errors():
        from training.synthesis.keyword_streams import StreamRequest, synthesize_keyword_streams

        typer.echo(synthesize_keyword_streams(StreamRequest(words, prompts, leave_out, seed, rate), hours, out))


@synthesize_app.command("moving-pictures")
def moving_pictures(
    out: Annotated[Path, typer.Option("--out", help="Table to write; the frames go into a .npz file beside it.")],
    names: Annotated[Path, typer.Option("--names", help="Things to show, one a line, as their captions name them.")],
    pictures: Annotated[
        str, typer.Option("--pictures", help="Public data set of pictures by several vendors.")
    ] = "emoji_captions",
    split: Annotated[str, typer.Option("--split", help="Part of the data set: train or dev.")] = "train",
    vendors: Annotated[str, typer.Option("--vendors", help="Whose pictures to take.")] = "google,twitter",
    count: Annotated[int, typer.Option("--count", min=1, help="Number of clips.")] = 4000,
    seed: Seed = 1,
) -> None:
    """Make clips of 16 frames in which one or two things move, grow, shrink, turn or stay, and then do something else.

    unroll synthesize moving-pictures --names names.txt --out clips/train.tsv --count 4000

    Writes a table (clip, caption, action, next) and the frames beside it. What is done second follows from what is
    done first in four of five clips.
    """
    with friendly_errors():
        from training.synthesis.moving_pictures import PicturesRequest, synthesize_moving_pictures

        typer.echo(synthesize_moving_pictures(PicturesRequest(pictures, split, vendors, names, count, seed), out))

"""`unroll transcribe`: speech in files, or from a microphone as it is spoken, to text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.http_client import connect, told_plainly
from service.cli.plain_errors import plain_errors
from service.cli.request_parameter import parse_parameter
from service.errors import UnrollError

if TYPE_CHECKING:
    from service.cli.transcription.output import Form
    from service.client import Client

TRANSCRIBE_EXAMPLES = """Examples:

  unroll transcribe meeting.flac\n
  unroll transcribe interview.mp3 --srt > interview.srt\n
  unroll transcribe *.wav --model speech-en --vtt --out-dir subtitles\n
  unroll transcribe call.wav --words -p num_beams=8\n
  arecord -q -f S16_LE -r 16000 -c 1 | unroll transcribe -\n
  sox -d -q -t raw -b 16 -e signed -r 16000 -c 1 - | unroll transcribe - --sample-rate-hz 16000 --json --partials

Files are WAV, FLAC, Ogg, MP3, AIFF or AU, of any rate and length. A model that reads forward only answers while it
reads: on a terminal the text under way is shown, and each utterance is printed when it is finished. Of several files
those that cannot be transcribed are told on standard error, and the command ends with 1. A server must be
running (`unroll serve`); `unroll predict -m speech-en call.wav` does without. The API key is taken from UNROLL_API_KEY.
"""
_TIMEOUT_S = 120.0
_TASK = "transcription"
_ENCODINGS = ("pcm_s16le", "pcm_f32le")
#: Pieces of a file that are sent ahead of their answers.
_AHEAD = 4


def transcribe(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Sound files; - is standard input.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="The model, or NAME@VERSION.", show_default="the only one for speech"),
    ] = None,
    url: Annotated[
        str, typer.Option(envvar="UNROLL_URL", help="The server, such as http://host:8000.")
    ] = "http://127.0.0.1:8000",
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="KEY=VALUE", help="Request parameter, such as num_beams=8; repeatable."
        ),
    ] = None,
    words: Annotated[bool, typer.Option("--words", help="A line for each word: start, end, confidence, word.")] = False,
    srt: Annotated[bool, typer.Option("--srt", help="Subtitles in SubRip's form.")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="Subtitles in WebVTT's form.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object for each utterance.")] = False,
    partials: Annotated[
        bool, typer.Option("--partials", help="With --json: also the text under way, with is_final false.")
    ] = False,
    out_dir: Annotated[
        Path | None, typer.Option(help="Write a file for each sound into this folder.", show_default="standard output")
    ] = None,
    encoding: Annotated[
        str, typer.Option(help="Of raw samples on standard input: pcm_s16le or pcm_f32le.")
    ] = "pcm_s16le",
    sample_rate_hz: Annotated[
        int | None, typer.Option(help="Rate of raw samples on standard input.", show_default="that of the model")
    ] = None,
) -> None:
    """Transcribe speech with a running server: files, or a microphone while one speaks."""
    from service.cli.transcription.output import Output

    with plain_errors():
        form = _form(words, srt, vtt, as_json, partials)
        _check(files, form, out_dir, encoding)
        given = dict(map(parse_parameter, parameter or []))
        if form not in ("text", "json"):
            given["words"] = True
        output = Output(form, out_dir, has_names=len(files) > 1, with_partials=partials)
        with told_plainly(), connect(url, _TIMEOUT_S) as client:
            name, version = _speech_model(client, model)
            asked = {"model": name, "version": version, **given}
            num_failed = _each(files, lambda file: _transcribe(client, output, file, encoding, sample_rate_hz, asked))
    if num_failed:
        print(f"unroll: {num_failed:,} of {len(files):,} sounds could not be transcribed", file=sys.stderr)
        raise typer.Exit(1)


def _each(files: list[str], transcribe_one: Callable[[str], None]) -> int:
    """Transcribe all files, and return the number of those that failed, each of which is told on standard error.

    One file alone ends the command with its error, and so does an error that the next file would meet as well: no
    connection, an unknown parameter, a folder that cannot be written.
    """
    from service.cli.transcription.sound_source import UnreadableSound
    from service.client import InferenceFailed, InvalidInput

    num_failed = 0
    for file in files:
        try:
            transcribe_one(file)
        except (UnreadableSound, InvalidInput, InferenceFailed) as error:
            is_for_all = isinstance(error, InvalidInput) and error.is_about_parameters
            if len(files) == 1 or is_for_all:
                raise
            num_failed += 1
            named = str(error) if isinstance(error, UnreadableSound) else f"{file}: {error}"
            print(f"unroll: {named}", file=sys.stderr)
    return num_failed


def _transcribe(
    client: Client, output: Any, file: str, encoding: str, sample_rate_hz: int | None, asked: dict[str, Any]
) -> None:
    from service.cli.transcription.sound_source import open_sound
    from service.client import transcribe as heard_in

    sound = open_sound(file, encoding, sample_rate_hz)
    heard = heard_in(
        client,
        sound.pieces,
        encoding=sound.encoding,
        sample_rate_hz=sound.sample_rate_hz,
        max_unanswered=1 if sound.is_live else _AHEAD,
        **asked,
    )
    output.write(sound, heard)


def _form(words: bool, srt: bool, vtt: bool, as_json: bool, partials: bool) -> Form:
    """The form that is asked for. Raises UnrollError for several."""
    from service.cli.transcription.output import Form

    asked = {Form.WORDS: words, Form.SRT: srt, Form.VTT: vtt, Form.JSON: as_json}
    chosen = [form for form, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        raise UnrollError(f"choose one of {' and '.join(f'--{form}' for form in chosen)}")
    if partials and chosen != [Form.JSON]:
        raise UnrollError("--partials needs --json; on a terminal the text under way is shown anyway")
    return chosen[0] if chosen else Form.TEXT


def _check(files: list[str], form: Form, out_dir: Path | None, encoding: str) -> None:
    """Raises UnrollError before anything is sent: the file is missing, or the options do not fit together."""
    from service.cli.transcription.sound_source import require_file

    if len(files) == 1 and files != ["-"]:
        require_file(Path(files[0]))
    if encoding not in _ENCODINGS:
        raise UnrollError(f"--encoding {encoding}: raw samples are {' or '.join(_ENCODINGS)}")
    if files.count("-") > 1 or ("-" in files and len(files) > 1 and out_dir is None):
        raise UnrollError("give standard input (-) alone")
    if len(files) > 1 and out_dir is None and form in ("srt", "vtt"):
        raise UnrollError(f"subtitles of several files need a file each: --out-dir, or one file for --{form}")
    stems = [Path(name).stem for name in files]
    if out_dir is not None and len(set(stems)) < len(stems):
        raise UnrollError("two of the files differ in folder or suffix only, and would be the same file in --out-dir")


def _speech_model(client: Client, wanted: str | None) -> tuple[str, str | None]:
    """Name and version of the model, which is for speech. Raises UnrollError."""
    models = client.models()
    for_speech = sorted({each.name for each in models if each.task == _TASK and each.state != "failed"})
    there = f"for speech there {'is' if len(for_speech) == 1 else 'are'} {', '.join(for_speech) or 'none'}"
    if wanted is None:
        if not for_speech:
            others = [each for each in models if each.task in (_TASK, None)]
            why = "".join(f"; {each.name} is {each.state} ({each.reason or 'wait for it'})" for each in others)
            raise UnrollError(f"this server has no model for speech (task transcription) that is ready{why}")
        if len(for_speech) > 1:
            raise UnrollError(f"choose a model with --model: {there}")
        return for_speech[0], None
    name, _, version = wanted.partition("@")
    task = next((each.task for each in models if each.name == name and each.task), None)
    if task not in (None, _TASK):
        raise UnrollError(f"{name} is a model for {task}, and recognises no speech; {there}")
    return name, version or None


__all__ = ["TRANSCRIBE_EXAMPLES", "transcribe"]

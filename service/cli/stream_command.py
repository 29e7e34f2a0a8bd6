"""`unroll stream`: send a file, or standard input as it comes, to a running server over a WebSocket."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from service.cli.backends import readable
from service.cli.http_client import connect, told_plainly
from service.cli.models_commands import JsonOption
from service.cli.plain_errors import plain_errors
from service.cli.request_parameter import parse_parameter
from service.errors import UnrollError

if TYPE_CHECKING:
    from service.client.streaming.conversation import Piece
    from service.client.streaming.messages import StreamAnswer
    from service.client.streaming.stream import Stream

STREAM_EXAMPLES = """Examples:

  tail -f messages.txt | unroll stream ner-en\n
  unroll stream digits-en speech.wav --chunk-size 8000\n
  arecord -t raw -f S16_LE -r 16000 -c 1 | unroll stream digits-en --sample-rate-hz 16000\n
  printf '0.1,0.7\\n0.2,0.6\\n' | unroll stream my-sensor-model\n
  printf 'ROMEO:' | unroll stream shakespeare -p max_new_tokens=80\n
  unroll stream my-tagger part-1.txt --state s.txt; unroll stream my-tagger part-2.txt --state s.txt

Texts are sent as UTF-8, rows of numbers as lines, sound and pictures as bytes. A model that reads forward only answers
each piece at once; others answer at the end, and say so. The API key is taken from UNROLL_API_KEY.
"""
_TIMEOUT_S = 120.0
#: Suffixes of files that say how their bytes are read.
_ENCODINGS = {".wav": "wav", ".wave": "wav", ".png": "png"}
_ROWS = "f32le"


def stream(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, or NAME@VERSION.")],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="What to send; - or nothing is standard input.", show_default=False),
    ] = None,
    url: Annotated[
        str, typer.Option(envvar="UNROLL_URL", help="The server, such as http://host:8000.")
    ] = "http://127.0.0.1:8000",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="Request parameter, such as top_k=3; repeatable."),
    ] = None,
    chunk_size: Annotated[int, typer.Option(min=1, help="Most bytes of a piece.")] = 4096,
    encoding: Annotated[
        str | None,
        typer.Option(help="How bytes are read: pcm_s16le, pcm_f32le, f32le, wav, png.", show_default="by the model"),
    ] = None,
    sample_rate_hz: Annotated[
        int | None, typer.Option(help="Rate of raw samples.", show_default="that of the model")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Continue from the state in this file, if it is there, and write the new one to it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Send text, numbers or sound piece by piece to a server, and print the answers as they come."""
    name, _, version = model.partition("@")
    start: dict[str, Any] = {
        "version": version or None,
        "encoding": encoding or (_ENCODINGS.get(file.suffix.lower()) if file else None),
        "sample_rate_hz": sample_rate_hz,
    }
    with plain_errors(), _opened(file) as source, told_plainly(), connect(url, _TIMEOUT_S) as client:
        start["parameters"] = dict(map(parse_parameter, parameter or [])) or None
        start["state"] = state.read_text(encoding="utf-8").strip() if state is not None and state.is_file() else None
        with client.stream(name, **start) as talk:
            has_rows = talk.started.encoding == _ROWS and encoding is None
            pieces = _pieces(source, chunk_size, talk.started.encoding, has_rows)
            _run(talk, pieces, as_json, is_live=source is sys.stdin.buffer)
            end = talk.end(return_state=state is not None and talk.started.reads != "whole")
        _print_answer(end, as_json)
        if state is not None and end.state is not None:
            state.write_text(end.state + "\n", encoding="utf-8")


def _run(talk: Stream[Any], pieces: Iterator[Piece], as_json: bool, is_live: bool) -> None:
    """Print the answers to all pieces; what comes from standard input is answered before more of it is read."""
    if talk.started.reads == "whole":
        print(f"unroll: {talk.started.model} reads whole inputs, and answers at the end", file=sys.stderr)
    for answer in talk.answers_to(pieces, max_unanswered=1 if is_live else 8):
        _print_answer(answer, as_json)
    if talk.started.reads == "prompt":
        talk.generate()
        for answer in talk:
            _print_answer(answer, as_json)
        if not as_json:
            print()


def _print_answer(answer: StreamAnswer, as_json: bool) -> None:
    from service.client import StreamResult, StreamToken

    if as_json:
        print(json.dumps(answer.model_dump(exclude_unset=True), ensure_ascii=False), flush=True)
    elif isinstance(answer, StreamToken):
        print(answer.text, end="", flush=True)
    elif isinstance(answer, StreamResult):
        for prediction in answer.predictions:
            print(readable(prediction.model_dump(exclude_none=True)).rstrip("\n"), flush=True)


@contextmanager
def _opened(file: Path | None) -> Iterator[IO[bytes]]:
    if file is None or str(file) == "-":
        if sys.stdin.isatty():
            print("unroll: type text, and end it with Ctrl-D", file=sys.stderr)
        yield sys.stdin.buffer
    else:
        with file.open("rb") as opened:
            yield opened


def _pieces(source: IO[bytes], chunk_size: int, encoding: str | None, has_rows: bool) -> Iterator[Piece]:
    """What arrives, as it arrives: bytes; rows of numbers; or text, whose characters are never cut."""
    parts = iter(lambda: _read_some(source, chunk_size), b"")
    if has_rows:
        return _rows(parts)
    return parts if encoding is not None else _texts(parts)


def _read_some(source: IO[bytes], chunk_size: int) -> bytes:
    """What is there, at least one byte; nothing at the end."""
    found: bytes = source.read1(chunk_size) if hasattr(source, "read1") else source.read(chunk_size)
    return found


def _texts(parts: Iterator[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        for part in parts:
            if text := decoder.decode(part):
                yield text
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise UnrollError(f"this is no text in UTF-8: {error.reason}") from error


def _rows(parts: Iterator[bytes]) -> Iterator[list[list[float]]]:
    """Lines of numbers, with commas, semicolons or white space between them. A first line of names is skipped."""
    rest, number = "", 0
    for text in _texts_and_end(parts):
        *lines, rest = (rest + text).split("\n")
        rows = []
        for line in lines:
            number += 1
            if line.strip() and (row := _row(line, number)):
                rows.append(row)
        if rows:
            yield rows


def _texts_and_end(parts: Iterator[bytes]) -> Iterator[str]:
    yield from _texts(parts)
    yield "\n"


def _row(line: str, number: int) -> list[float]:
    cells = line.replace(",", " ").replace(";", " ").split()
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        if number == 1:
            return []
        raise UnrollError(f"line {number}: not all of these are numbers: {line.strip()[:80]}") from None

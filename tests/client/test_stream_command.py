"""`unroll stream`: files and standard input, in pieces, to a running server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.cli.commands import app
from tests.client.conftest import MOTION, SOUND, wav_of
from tests.live_server import LiveServer

TEXT = "The cat sat on a mat."


def stream(service: LiveServer, *arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["stream", *arguments, "--url", f"http://127.0.0.1:{service.port}"], input=given)


def words(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [line.split("\t")[0] for line in result.stdout.splitlines() if "\t" in line]


@pytest.mark.parametrize("chunk_size", ["1", "7", "4096"])
def test_a_text_is_answered_word_by_word_wherever_it_is_cut(service: LiveServer, chunk_size: str) -> None:
    """Also within a character of several bytes."""
    found = stream(service, "tiny-tagger-chunks", "--chunk-size", chunk_size, given=f"\ufeffÄé {TEXT}".encode())
    assert words(found) == ["Äé", "The", "cat", "sat", "on", "a", "mat", "."]


def test_a_file_is_answered_at_the_end_by_a_model_that_reads_whole_texts(service: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    found = stream(service, "tiny-tagger@1", str(tmp_path / "a.txt"))
    assert words(found) == ["The", "cat", "sat", "on", "a", "mat", "."]
    assert "answers at the end" in found.stderr


def test_a_language_model_prints_its_tokens(service: LiveServer) -> None:
    found = stream(service, "tiny-generator", "-p", "max_new_tokens=5", given=b"the cat")
    assert found.exit_code == 0
    as_json = stream(service, "tiny-generator", "-p", "max_new_tokens=5", "--json", given=b"the cat")
    answers = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert found.stdout == "".join(each["token"]["text"] for each in answers if "token" in each) + "\n"


def test_a_text_goes_on_from_the_state_in_a_file(service: LiveServer, tmp_path: Path) -> None:
    state = str(tmp_path / "state.txt")
    whole = stream(service, "tiny-tagger-chunks", given=TEXT.encode()).stdout
    parts = [
        stream(service, "tiny-tagger-chunks", "--state", state, given=part) for part in (b"The cat ", b"sat on a mat.")
    ]
    tags = [line for part in parts for line in part.stdout.splitlines() if not line.startswith("#")]
    assert tags == [line for line in whole.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
def test_lines_of_numbers_are_rows(service: LiveServer, separator: str) -> None:
    """A first line of names is skipped. All rows in one piece have one answer."""
    rows = [["x", "y", "z"], ["20.5", "19", "2e1"], ["20.1", "19.5", "20"]]
    text = "\n".join(separator.join(row) for row in rows)
    found = stream(service, MOTION, given=text.encode())
    assert [word in ("up", "down", "still") for word in words(found)] == [True] * len(words(found))
    assert len(words(found)) >= 2


def test_a_sound_is_sent_in_parts(service: LiveServer, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_of())
    whole = stream(service, SOUND, str(path), "--chunk-size", "100")
    raw = stream(service, SOUND, "--encoding", "pcm_s16le", "--sample-rate-hz", "8000", given=wav_of()[44:])
    assert words(whole) == words(raw) != []


@pytest.mark.parametrize(
    ("arguments", "given", "what"),
    [
        (["no"], b"a", "there is no model 'no'"),
        ([MOTION], b"1,2,3\n1,two,3\n", "line 2: not all of these are numbers: 1,two,3"),
        ([MOTION], b"1,2\n", "this model takes 3: x, y, z"),
        (["tiny-tagger-chunks"], b"a \xff b", "this is no text in UTF-8"),
        (["tiny-tagger-chunks", "no/such/file.txt"], None, "no/such/file.txt: No such file or directory"),
        (["tiny-tagger-chunks", "-p", "colour=red"], b"a ", "colour"),
        (["tiny-tagger-chunks", "-p", "colour"], b"a ", "write KEY=VALUE"),
    ],
)
def test_what_cannot_be_streamed_is_one_sentence(
    service: LiveServer, arguments: list[str], given: bytes | None, what: str
) -> None:
    found = stream(service, *arguments, given=given)
    assert found.exit_code == 2
    assert what in found.stderr
    assert "Traceback" not in found.output


def test_without_a_server_it_says_so() -> None:
    found = CliRunner().invoke(app, ["stream", "m", "--url", "http://127.0.0.1:9"], input=b"a")
    assert found.exit_code == 2
    assert found.stderr.startswith("unroll: http://127.0.0.1:9: ")


def test_the_help_teaches_by_examples() -> None:
    found = CliRunner().invoke(app, ["stream", "--help"])
    assert "tail -f messages.txt | unroll stream ner-en" in found.stdout

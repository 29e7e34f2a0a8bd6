"""Reading files as windows: the same rows at every reading, faults at their rows, bounded memory."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.offline.reading import delimited, text_lines
from service.offline.reading.open_source import open_source
from service.offline.reading.options import ReadOptions
from service.offline.reading.text_lines import UnreadableInput
from service.offline.row_values import InputKind, MissingColumn, RowFault


def read(path: Path, kind: InputKind = "text", max_rows: int = 3, **options: Any) -> list[Any]:
    """All values of a file, which every reading gives in the same windows."""
    source = open_source(path, ReadOptions(kind, **options))
    windows = list(source.windows(max_rows))
    again = list(source.windows(max_rows))
    assert [window.values for window in windows] == [window.values for window in again]
    assert [window.number for window in windows] == list(range(len(windows)))
    assert all(len(window.values) <= max_rows for window in windows)
    assert not windows or windows[-1].position == source.size
    return [value for window in windows for value in window.values]


def written(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def faults(values: list[Any]) -> list[str]:
    return [value.message if isinstance(value, RowFault) else "" for value in values]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "id,text\n1,one\n2,\"two, 2\"\n3,\"a\nb\"\n"),
        ("semicolons.csv", "id;text\r\n1;one\r\n2;two, 2\r\n3;\"a\nb\"\r\n"),
        ("excel.csv", "sep=|\nid|text\n1|one\n2|two, 2\n3|\"a\nb\"\n"),
        ("mark.csv", b"\xef\xbb\xbfText,id\none,1\n\"two, 2\",2\n\"a\nb\",3\n"),
        ("wide.csv", "id,text\n1,one\n2,\"two, 2\"\n3,\"a\nb\"\n".encode("utf-16")),
        ("packed.csv.gz", "id,text\n1,one\n\n2,\"two, 2\"\n3,\"a\nb\"\n"),
    ],
)  # fmt: skip
def test_everyday_tables_are_read(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert read(written(tmp_path, name, content)) == ["one", "two, 2", "a\nb"]


def test_tabs_old_line_ends_and_other_encodings_are_read(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a.tsv", 'text\tid\nsay "hi\t1\n')) == ['say "hi']
    assert read(written(tmp_path, "old.txt", b"one\rtwo\rthree\r")) == ["one", "two", "three"]
    assert read(written(tmp_path, "a.txt", "Käse\n".encode("cp1252")), encoding="cp1252") == ["Käse"]
    assert read(written(tmp_path, "b.csv", "x,one\ny,two\n"), has_header=False, text_column="column 2") == [
        "one",
        "two",
    ]


def test_a_broken_row_is_a_fault_of_that_row_alone(tmp_path: Path) -> None:
    """Cells too many and too few, bytes that are no UTF-8, a quote that never closes: the rows after it are read."""
    content = b'id,text\n1,one\n2\n3,three,3\n4,f\xffour\n5,"five\n6,six\n7,"se"ven\n8,eight\n'
    values = read(written(tmp_path, "a.csv", content))
    told = faults(values)
    assert [value for value in values if isinstance(value, str)] == ["one", "six", "eight"]
    assert told[1] == "the row has 1 cells, the header 2"
    assert told[2] == "the row has 3 cells, the header 2"
    assert "byte 4 of the line (0xff) is not UTF-8" in told[3]
    assert "does not close" in told[4]
    assert "cannot be read" in told[6]


def test_kept_cells_of_a_broken_row_stay(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "id,text,more\n1,one\n")
    (window,) = open_source(path, ReadOptions("text", keep=("id", "more"))).windows()
    assert window.kept == {"id": ["1"], "more": [None]}


def test_a_line_longer_than_memory_allows_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of many lines, whose quote is not closed: the file is not read to its end before the row is given up."""
    monkeypatch.setattr(text_lines, "MAX_LINE_BYTES", 50)
    monkeypatch.setattr(delimited, "MAX_LINE_BYTES", 50)
    values = read(written(tmp_path, "a.txt", "one\n" + "x" * 200 + "\ntwo\n"))
    assert [values[0], values[2]] == ["one", "two"]
    assert "more than 50 bytes" in faults(values)[1]
    rows = read(written(tmp_path, "a.csv", 'text,id\n"one,1\n' + "two,2\n" * 30))
    assert faults(rows)[0] == "a quote that opens in this row does not close"
    assert rows[1:] == ["two"] * 30


def test_json_lines_are_read_and_their_types_kept(tmp_path: Path) -> None:
    lines = [
        '{"text": "one", "n": 1, "x": 1, "ok": true, "any": 1}',
        "not json",
        "",
        '{"text": ["two", "words"], "n": 2, "x": 1.5, "any": "a", "late": {"a": 1}}',
        '{"n": 3}',
        '"a text alone"',
        "[1" * 5000,
    ]
    path = written(tmp_path, "a.jsonl", "\n".join(lines))
    source = open_source(path, ReadOptions("text"))
    kinds = {"text": "json", "n": "integer", "x": "number", "ok": "boolean", "any": "json", "late": "json"}
    assert source.kept == kinds
    values = read(path)
    assert [value for value in values if not isinstance(value, RowFault)] == ["one", ["two", "words"], "a text alone"]
    assert "not JSON" in faults(values)[1]
    assert faults(values)[3] == "the line has no 'text'"
    (window,) = source.windows()
    assert window.kept["any"] == ["1", None, '"a"', None, None, None]
    assert window.kept["x"][:3] == [1.0, None, 1.5]


def test_sentences_of_conll_files_are_lists_of_words(tmp_path: Path) -> None:
    content = "# sent_id = s1\n# text = don't go\n1-2\tdon't\t_\n1\tdo\tAUX\n2\tn't\tPART\n3\tgo\tVERB\n\n\n1\tHi\t_"
    path = written(tmp_path, "a.conllu", content)
    assert read(path) == [["do", "n't", "go"], ["Hi"]]
    assert read(path, text_column="text") == ["don't go", None]
    (window,) = open_source(path, ReadOptions("text")).windows()
    assert window.kept["sent_id"] == ["s1", None]
    assert read(written(tmp_path, "a.iob", "-DOCSTART- O\n\nEU B-ORG\nsays O\n\nhi O\n")) == [["EU", "says"], ["hi"]]


def test_numbers_and_comments_of_conll_files_are_no_words(tmp_path: Path) -> None:
    """Whatever the file is called; a word that is a number or `#` is still one."""
    content = "# id 3333\n1\tAl\tB-PER\n2\tis\tO\n\n1\tHi\tO\n"
    assert read(written(tmp_path, "a.iob2", content)) == [["Al", "is"], ["Hi"]]
    assert read(written(tmp_path, "b.conll", "# id 17\tdomain=en\nsome O\n# NN\n\n1 CD\n. O\n")) == [
        ["some", "#"],
        ["1", "."],
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_wide_encodings_are_found(tmp_path: Path, encoding: str) -> None:
    """Also without a mark, by where the zero bytes are."""
    assert read(written(tmp_path, "a.csv", "text,id\r\nplay jazz,1\r\n".encode(encoding))) == ["play jazz"]


def test_parquet_files_keep_their_types(tmp_path: Path) -> None:
    """Also those in a folder, as other programs write them; numbers of rows count as positions."""
    table = pa.table({"text": ["a", None, "c"], "at": pa.array([1, 2, 3], pa.timestamp("ms"))})
    (tmp_path / "parts").mkdir()
    for number in range(2):
        pq.write_table(table, tmp_path / "parts" / f"part-{number}.parquet")
    assert read(tmp_path / "parts", max_rows=2) == ["a", None, "c"] * 2
    (window,) = open_source(tmp_path / "parts" / "part-0.parquet", ReadOptions("text", keep=("at",))).windows()
    assert window.kept.schema.field("at").type == pa.timestamp("ms")
    pq.write_table(table.drop(["at"]), tmp_path / "parts" / "part-2.parquet")
    with pytest.raises(UnreadableInput, match=r"part-2\.parquet has other columns"):
        read(tmp_path / "parts")


def test_sounds_and_pictures_of_a_folder_are_rows(tmp_path: Path) -> None:
    for name in ("b/2.wav", "a/1.WAV", "notes.txt"):
        written(tmp_path, name.replace("/", "-"), b"x")
    source = open_source(tmp_path, ReadOptions("wav"))
    (window,) = source.windows()
    assert (window.values, window.kept, window.position) == ([b"x"] * 2, {"file": ["a-1.WAV", "b-2.wav"]}, 2)
    with pytest.raises(UnreadableInput, match=r"no \.png file"):
        open_source(tmp_path, ReadOptions("png"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", "is empty"),
        ("a.csv", "id,body\n1,x\n", "did you mean 'body'"),
        ("one.csv", "first row\nsecond row\n", "none has a usual name"),
        ("a.jsonl", "1\n2\n", "no line with a JSON object"),
        ("book.csv", b"PK\x03\x04abc", "export the sheet"),
        ("a.xlsx", "x", "what is read is"),
        ("a.parquet", "no parquet", "no Parquet file"),
        ("a.csv.gz", b"\x1f\x8bbroken", "damaged gzip"),
    ],
)
def test_what_concerns_the_whole_file_is_said_at_once(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    column = "bodi" if "body" in str(content) else None
    with pytest.raises((UnreadableInput, MissingColumn), match=message):
        open_source(path, ReadOptions("text", text_column=column))


def test_a_file_with_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a.csv", "id,text\n")) == []
    assert read(written(tmp_path, "a.txt", "")) == []
    assert json.dumps(read(written(tmp_path, "a.conllu", "\n\n"))) == "[]"

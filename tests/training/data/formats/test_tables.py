"""Tables as people save them: separators, headers, quotes, unnamed columns, and what is stated of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.bundle.task_options import TrainedTask
from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Located, ReadOptions
from training.data.read import read_located
from training.data.records import LabelledText, SentencePair

GO_AND_HI = [SentencePair("Go.", "Geh."), SentencePair("Hi.", "Hallo.")]
HI_AND_YO = [LabelledText("hi", "a"), LabelledText("yo", "b")]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(task: TrainedTask, path: Path, **options: Any) -> tuple[list[Located], Report]:
    report = Report(strict=False)
    return read_located(task, path, ReadOptions(**options), report), report


def records_of(located: list[Located]) -> list[Any]:
    return [one.record for one in located]


def refusal(task: TrainedTask, path: Path, **options: Any) -> str:
    with pytest.raises(DataFault) as caught:
        read_located(task, path, ReadOptions(**options))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "separator"),
    [
        ("a.csv", "text,label\nhi,a\nyo,b\n", "commas"),
        ("a.csv", "text\tlabel\nhi\ta\nyo\tb\n", "tabs"),
        ("a.csv", "text, as written;label\nhi;a\nyo;b\n", "semicolons"),
        ("a.csv", "sep=;\ntext;label\nhi;a\nyo;b\n", "semicolons"),
        ("a.csv", '"sep=|"\r\ntext|label\r\nhi|a\r\nyo|b\r\n', "vertical bars"),
        ("a.csv", "\n\ntext;label\nhi;a\nyo;b\n", "semicolons"),
        ("a.tsv", "text,label\nhi,a\nyo,b\n", "commas"),
        ("a.csv", "text,label\rhi,a\ryo,b\r", "commas"),
        ("a.csv", b"\xef\xbb\xbftext;label\r\nhi;a\r\nyo;b\r\n", "semicolons"),
        ("a.csv", "text,label,\nhi,a,\nyo,b,\n", "commas"),
        ("a.csv", "text,label\nhi,a,,\nyo,b,\n", "commas"),
        ("a.csv", 'text,label\nhi, "a"\n"yo", b\n', "commas"),
    ],
)
def test_the_separator_is_found_in_the_content(name: str, content: str | bytes, separator: str, tmp_path: Path) -> None:
    """Whatever the file is called, its rows are read, and the separator is stated."""
    path = write(tmp_path, name, content)
    found, report = read("classification", path)
    assert records_of(found) == HI_AND_YO
    assert report.understood[str(path)]["separator"] == separator
    assert (report.faults, report.warnings) == ([], [])


def test_a_comma_in_every_text_does_not_separate(tmp_path: Path) -> None:
    """Semicolons separate where the header and all rows have as many, although the texts have commas."""
    path = write(tmp_path, "a.csv", "text;label\n" + "".join(f"well, no {n};a\n" for n in range(9)))
    assert records_of(read("classification", path)[0])[0] == LabelledText("well, no 0", "a")


def test_columns_taken_and_ignored_are_stated(tmp_path: Path) -> None:
    """The facts name format, encoding, header, the columns taken and not read, and the number of classes."""
    path = write(tmp_path, "a.csv", "id,Customer Message,Queue\n1,hi there,x\n2,yo you,y\n")
    _, report = read("classification", path, text_column="Customer Message", label_column="Queue")
    assert report.understood[str(path)] == {
        "format": "csv",
        "encoding": "UTF-8",
        "separator": "commas",
        "header": "line 1",
        "text": "`Customer Message`",
        "label": "`Queue`",
        "not read": "`id`",
        "records": "2",
        "classes": "2",
    }


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_an_index_without_a_name_is_no_column(name: str, tmp_path: Path) -> None:
    """The index that pandas writes is left out, and said."""
    path = write(tmp_path, "a.csv", f"{name},en,de\n0,Go.,Geh.\n1,Hi.,Hallo.\n")
    found, report = read("translation", path)
    assert records_of(found) == [SentencePair("Go.", "Geh."), SentencePair("Hi.", "Hallo.")]
    assert [str(warning).split(": ", 1)[1][: 3 + len(name)] for warning in report.warnings] == [f"'{name}' "]


def test_row_names_of_r_are_no_column(tmp_path: Path) -> None:
    """A header with one name less than the rows have cells is that of a table with row names."""
    path = write(tmp_path, "a.csv", "text,label\nr1,hi,a\nr2,yo,b\n")
    assert records_of(read("classification", path)[0]) == HI_AND_YO


def test_a_column_without_a_name_that_holds_cells_is_warned_of(tmp_path: Path) -> None:
    """Texts that overflow into unnamed columns are told of; wholly empty ones are not."""
    path = write(tmp_path, "a.csv", "v1,v2,,\nham,Go,,\nspam,Free, entry,\n")
    found, report = read("classification", path, text_column="v2", label_column="v1")
    assert len(found) == 2
    assert ["column 3 has no name, but 1 cells" in str(warning) for warning in report.warnings] == [True]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        ("Go.\tGeh.\nHi.\tHallo.\n", GO_AND_HI),
        ("1276\tGo.\t2481\tGeh.\n1277\tHi.\t2482\tHallo.\n", GO_AND_HI),
        ("Go.\tGeh.\tCC-BY 2.0 tatoeba.org #1\nHi.\tHallo.\tCC-BY 2.0 tatoeba.org #2\n", GO_AND_HI),
    ],
)
def test_a_first_row_of_data_is_no_header(content: str, records: list[SentencePair], tmp_path: Path) -> None:
    """Sentences and numbers in the first row are read as a pair, with a warning that `header` answers."""
    path = write(tmp_path, "a.tsv", content)
    found, report = read("translation", path)
    assert records_of(found) == records
    assert report.understood[str(path)]["header"] == "none"
    assert ["--column header=no" in str(warning) for warning in report.warnings] == [True]
    assert read("translation", path, header="no")[1].warnings == []
    assert len(read("translation", path, header="yes")[0]) == len(records) - 1


def test_names_that_may_be_words_are_doubted(tmp_path: Path) -> None:
    """A first row of two words is taken as names with a warning; names of languages are not doubted."""
    words = write(tmp_path, "a.tsv", "dog\tHund\ncat\tKatze\n")
    found, report = read("translation", words)
    assert (len(found), len(report.warnings), report.warnings[0].line) == (1, 1, 1)
    known = write(tmp_path, "b.tsv", "English\tGerman\ncat\tKatze\n")
    assert read("translation", known)[1].warnings == []


@pytest.mark.parametrize(("text", "label"), [("2", "1"), ("1", "0")])
def test_columns_without_names_are_given_by_number(text: str, label: str, tmp_path: Path) -> None:
    """Numbers count from 1, and from 0 where 0 is among them."""
    path = write(tmp_path, "a.csv", "ham,call me now\nspam,free entry\nham,ok then\n")
    found, report = read("classification", path, text_column=text, label_column=label)
    assert records_of(found)[0] == LabelledText("call me now", "ham")
    assert (len(found), report.warnings) == (3, [])


def test_a_column_may_be_called_0(tmp_path: Path) -> None:
    """The names that pandas gives to unnamed columns are names."""
    path = write(tmp_path, "a.csv", "0,1\nhi,a\nyo,b\n")
    assert records_of(read("classification", path, text_column=0, label_column=1)[0]) == HI_AND_YO


def test_a_title_above_the_names_is_refused(tmp_path: Path) -> None:
    """The refusal names the line of the header, and `header` reads the file."""
    path = write(tmp_path, "a.csv", "Export of tickets\n\nMessage;Category\nhi;a\nyo;b\n")
    assert "pass --column header=3" in refusal("classification", path)
    assert records_of(read("classification", path, header=3)[0]) == HI_AND_YO


def test_a_stray_quote_is_told(tmp_path: Path) -> None:
    """A quote that swallows rows is a fault if it never closes, and a warning if the next one closes it."""
    rows = "".join(f"row {n},b\n" for n in range(5))
    never = read("classification", write(tmp_path, "a.csv", f'text,label\n"open,a\n{rows}'))[1]
    assert [(fault.line, "never closed" in fault.what) for fault in never.faults] == [(2, True)]
    later = read("classification", write(tmp_path, "b.csv", f'text,label\n"open,a\n{rows}closed",a\n'))[1]
    assert [(warning.line, "look like rows" in warning.what) for warning in later.warnings] == [(2, True)]


def test_quoted_cells_of_tsv_are_doubted(tmp_path: Path) -> None:
    """Doubled quotes in a quoted cell are those of CSV: a warning, and `--format csv` reads them."""
    path = write(tmp_path, "a.tsv", 'text\tlabel\n"He said ""hi"""\ta\n"Second\tb\n')
    found, report = read("classification", path)
    assert found[0].record == LabelledText('"He said ""hi"""', "a")
    assert [warning.line for warning in report.warnings] == [2]
    quotation = write(tmp_path, "b.tsv", 'text\tlabel\n"Help!"\ta\nno\tb\nyes\ta\n')
    assert read("classification", quotation)[1].warnings == []
    quoted = write(tmp_path, "c.tsv", 'text\tlabel\n"one\ttwo"\ta\n"He said ""hi"""\tb\n')
    assert records_of(read("classification", quoted, format="csv")[0]) == [
        LabelledText("one\ttwo", "a"),
        LabelledText('He said "hi"', "b"),
    ]


def test_curly_quotes_are_named(tmp_path: Path) -> None:
    """A ragged row with typographic quotes says why."""
    path = write(tmp_path, "a.csv", "text,label\n“x, y”,a\n")
    assert "curly quotes" in refusal("classification", path)


def test_a_wrong_name_gets_the_nearest_right_one(tmp_path: Path) -> None:
    """Case and blanks do not matter; a misspelt name is answered with the nearest."""
    path = write(tmp_path, "a.csv", " Text , LABEL \nhi,a\nyo,b\n")
    assert records_of(read("classification", path, text_column="text", label_column="Label")[0]) == HI_AND_YO
    assert "did you mean 'Text'" in refusal("classification", path, text_column="Txt")


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "hi", "label": "a"}, {"text": "yo", "label": "b"}]',
        '[\n  {\n    "text": "hi",\n    "label": "a"\n  },\n  {\n    "text": "yo",\n    "label": "b"\n  }\n]\n',
        '{"text": "hi", "label": "a"}\n{"text": "yo", "label": "b"}\n',
        '{\n  "text": "hi",\n  "label": "a"\n}\n{\n  "text": "yo",\n  "label": "b"\n}\n',
        '{"text": "hi", "label": ["a"]}\n{"text": "yo", "label": ["b"]}\n',
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_is_read_in_any_layout(content: str, name: str, tmp_path: Path) -> None:
    """A list, one object a line, objects over several lines, and labels in lists of one."""
    assert records_of(read("classification", write(tmp_path, name, content))[0]) == HI_AND_YO


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"text": {"0": "hi", "1": "yo"}, "label": {"0": "a", "1": "b"}}', "holds whole columns: text, label"),
        ('{"text": ["hi", "yo"], "label": ["a", "b"]}', "holds whole columns: text, label"),
        ('{"version": 1, "data": [{"text": "hi", "label": "a"}]}', "holds a list of objects as 'data'"),
        ('{"text": "hi", "label": ["a", "b"]}\n{"text": "yo", "label": ["c", "d"]}', "a list is no label"),
        ('["hi", "a"]\n["yo", "b"]', "a JSON list, not an object"),
        ('[{"text": "hi", "label": "a"},\n{"text": "yo" "label"}]', ":2: invalid JSON"),
    ],
)
def test_other_json_is_refused_by_what_it_is(content: str, complaint: str, tmp_path: Path) -> None:
    assert complaint in refusal("classification", write(tmp_path, "a.json", content))


def test_nested_objects_have_dotted_names(tmp_path: Path) -> None:
    """Pairs of Hugging Face data sets are read, and `source=de` is enough to turn them round."""
    path = write(tmp_path, "a.jsonl", '{"translation": {"en": "Go.", "de": "Geh."}}\n')
    assert records_of(read("translation", path)[0]) == [SentencePair("Go.", "Geh.")]
    assert records_of(read("translation", path, source_column="de", target_column="en")[0]) == [
        SentencePair("Geh.", "Go.")
    ]


def test_names_that_come_again_are_left_out(tmp_path: Path) -> None:
    """Files joined with their headers are read without the later ones, with a warning."""
    path = write(tmp_path, "a.csv", "Satz;Klasse\nhi;a\nSatz;Klasse\nyo;b\n")
    found, report = read("classification", path, text_column="Satz", label_column="Klasse")
    assert records_of(found) == HI_AND_YO
    assert [(warning.line, "names of the columns again" in warning.what) for warning in report.warnings] == [(3, True)]


@pytest.mark.parametrize("name", ["Nr.", "How satisfied are you with the service of our shop all in all?", "a.b.c"])
def test_odd_names_stay_names(name: str, tmp_path: Path) -> None:
    """An abbreviation, or the question of a form, is no data where the cells below are unlike it."""
    path = write(tmp_path, "a.csv", f"{name},Wert\n1,x\n2,y\n5,x\n")
    found, report = read("classification", path, text_column=name.lower(), label_column="wert")
    assert records_of(found)[0] == LabelledText("1", "x")
    assert report.understood[str(path)]["header"] == "line 1"

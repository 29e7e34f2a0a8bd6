"""Tagged files as people write them: schemes, spellings, odd tags, and layouts of CoNLL columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.data.formats.faults import DataFault, Report
from training.data.formats.options import Located, ReadOptions
from training.data.read import read_located
from training.data.records import TaggedSentence

BIO = "EU B-ORG\nrejects O\nGerman B-MISC\n\nPeter B-PER\nBlackburn I-PER\nsays O\n\n"
BIO_TAGS = [("B-ORG", "O", "B-MISC"), ("B-PER", "I-PER", "O")]
UD = "\t_\t_\t0\troot\t_\t_\n"


def read(folder: Path, content: str, name: str = "a.conll", **options: Any) -> tuple[list[Located], Report]:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    report = Report(strict=False)
    return read_located("tagging", path, ReadOptions(**options), report), report


def tags_of(found: list[Located]) -> list[tuple[str, ...]]:
    return [one.record.tags for one in found if isinstance(one.record, TaggedSentence)]


def words_of(found: list[Located]) -> list[tuple[str, ...]]:
    return [one.record.words for one in found if isinstance(one.record, TaggedSentence)]


def facts_of(report: Report) -> dict[str, str]:
    (facts,) = report.understood.values()
    return facts


@pytest.mark.parametrize("odd", ["0", "o"])
def test_a_slip_for_o_is_read_as_o(odd: str, tmp_path: Path) -> None:
    """One zero or small o is warned of by line, and the scheme stays."""
    found, report = read(tmp_path, f"{BIO}Paris B-LOC\nis {odd}\n")
    assert tags_of(found) == [*BIO_TAGS, ("B-LOC", "O")]
    assert [(warning.line, warning.what) for warning in report.warnings] == [(10, f"tag '{odd}' is read as O")]
    assert facts_of(report)["tags"] == "spans in BIO, 4 types"


@pytest.mark.parametrize("odd", ["B", "I-", "X-LOC", "B:LOC", "LOC", "S-LOC", "U-LOC", "b-LOC", "B_LOC", "B -LOC"])
def test_an_odd_tag_is_a_fault_of_its_line(odd: str, tmp_path: Path) -> None:
    """Whatever it looks like, it drops its own sentence, not the scheme of the file."""
    with_tabs = BIO.replace(" ", "\t")
    found, report = read(tmp_path, f"{with_tabs}Paris\t{odd}\nis\tO\n")
    assert tags_of(found) == BIO_TAGS
    assert [fault.line for fault in report.faults] == [9]
    assert facts_of(report)["tags"] == "spans in BIO, 3 types"


def test_letters_of_two_schemes_are_named(tmp_path: Path) -> None:
    """In a file of BIOES, a letter of BILOU is a fault that names both."""
    bioes = "New B-LOC\nYork E-LOC\nRome S-LOC\n\n"
    found, report = read(tmp_path, f"{bioes * 2}Ab U-LOC\n")
    assert tags_of(found) == [("B-LOC", "I-LOC", "B-LOC")] * 2
    assert [(fault.line, "BILOU" in fault.what, "BIOES" in fault.what) for fault in report.faults] == [(9, True, True)]


@pytest.mark.parametrize(
    ("stated", "turned"),
    [
        ("spelt B_TYPE", lambda tag: tag.replace("-", "_")),
        ("spelt TYPE-B", lambda tag: "-".join(reversed(tag.split("-")))),
        ("spelt TYPE_B", lambda tag: "_".join(reversed(tag.split("-")))),
        ("spelt b-type", lambda tag: tag[0].lower() + tag[1:]),
    ],
)
def test_other_spellings_are_read_and_stated(stated: str, turned: Any, tmp_path: Path) -> None:
    lines = [line.split() for line in BIO.split("\n")]
    content = "\n".join(f"{line[0]} {turned(line[1])}" if line else "" for line in lines)
    found, report = read(tmp_path, content)
    assert tags_of(found) == BIO_TAGS
    assert stated in facts_of(report)["tags"]
    assert (report.faults, report.warnings) == ([], [])


@pytest.mark.parametrize(
    ("scheme", "letters"), [("BIOES", "BIES"), ("BILOU", "BILU"), ("BMES", "BMES"), ("BMEWO", "BMEW")]
)
def test_schemes_with_ends_become_bio(scheme: str, letters: str, tmp_path: Path) -> None:
    """Four letters for begin, inside, end and single, in the order of the parameter."""
    begin, inside, end, single = tuple(letters)
    content = f"a {begin}-X\nb {inside}-X\nc {end}-X\nd {single}-Y\ne O\n\n"
    found, report = read(tmp_path, content)
    assert tags_of(found) == [("B-X", "I-X", "I-X", "B-Y", "O")]
    assert facts_of(report)["tags"] == f"spans in {scheme}, read as BIO, 2 types"


def test_a_span_without_its_end_is_told(tmp_path: Path) -> None:
    """In BIOES a begin must be ended: a warning by line."""
    _, report = read(tmp_path, "a B-X\nb E-X\nc S-X\n\n" * 3 + "d B-X\ne O\n")
    assert [(warning.line, "no end in BIOES" in warning.what) for warning in report.warnings] == [(13, True)]


def test_letters_without_types_are_doubted(tmp_path: Path) -> None:
    """B, I and O alone stay plain tags, with a warning."""
    found, report = read(tmp_path, "a B\nb I\nc O\n")
    assert tags_of(found) == [("B", "I", "O")]
    assert ["have no types" in str(warning) for warning in report.warnings] == [True]


def test_brackets_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="brackets"):
        read(tmp_path, "#begin document (a); part 000\na 0 In *\na 1 Paris (GPE)\na 2 the (DATE*\na 3 day *)\n")


def test_types_in_two_spellings_are_doubted(tmp_path: Path) -> None:
    _, report = read(tmp_path, f"{BIO}Al B-per\n")
    assert ["`PER` and `per`" in str(warning) for warning in report.warnings] == [True]


def test_blanks_around_cells_are_dropped(tmp_path: Path) -> None:
    found, _ = read(tmp_path, "EU\tB-ORG \nNew York\t B-LOC\nsays\tO\n")
    assert words_of(found) == [("EU", "New York", "says")]
    assert tags_of(found) == [("B-ORG", "B-LOC", "O")]


def test_conllu_is_read_as_such_under_any_name(tmp_path: Path) -> None:
    """The content decides; a number that begins again begins a sentence, with a warning."""
    content = f"# text = A b\n1\tA\t_\tDET{UD}2\tb\t_\tNOUN{UD}1\tC\t_\tNOUN{UD}2\td\t_\tVERB{UD}"
    found, report = read(tmp_path, content)
    assert words_of(found) == [("A", "b"), ("C", "d")]
    assert [warning.line for warning in report.warnings] == [4]
    assert facts_of(report)["format"] == "conllu"


def test_columns_called_conllu_are_columns(tmp_path: Path) -> None:
    assert tags_of(read(tmp_path, BIO, "a.conllu")[0]) == BIO_TAGS


def test_a_column_that_counts_is_not_the_words(tmp_path: Path) -> None:
    """The layout of UNER: words are in the second column, tags in the last that is not empty; both are said."""
    content = "# id = 1\n1\tAl\tB-PER\t-\t-\n2\tis\tO\t-\t-\n\n1\tBo\tB-PER\t-\t-\n"
    found, report = read(tmp_path, content, "a.iob2")
    assert words_of(found) == [("Al", "is"), ("Bo",)]
    assert tags_of(found) == [("B-PER", "O"), ("B-PER",)]
    assert ["--column word=2 --column tag=3" in str(warning) for warning in report.warnings] == [True]
    assert read(tmp_path, content, "a.iob2", word_column=2, tag_column=3)[1].warnings == []


def test_a_header_is_no_word(tmp_path: Path) -> None:
    found, report = read(tmp_path, "token\tlabel\nEU\tB-ORG\nsays\tO\n", "a.tsv")
    assert words_of(found) == [("EU", "says")]
    assert facts_of(report)["header"] == "line 1, which names the columns"


def test_comments_decide_nothing(tmp_path: Path) -> None:
    """A tab in a comment does not make tabs the separator; `#` and `#tag` are words where they have a tag."""
    content = "# id 1\tdomain=en\nsome _ _ O\ncity _ _ B-LOC\n\n# id 2\tdomain=en\n# _ _ O\n#now _ _ B-LOC\n"
    found, report = read(tmp_path, content)
    assert words_of(found) == [("some", "city"), ("#", "#now")]
    assert report.faults == []


def test_one_odd_line_is_one_fault(tmp_path: Path) -> None:
    """A single tab, or a first line with another number of columns, does not decide for the file."""
    _, report = read(tmp_path, "George B-X\nwent O\n\t O\nhome O\n")
    assert [fault.line for fault in report.faults] == [3]
    found, report = read(tmp_path, "Title\n\nGeorge NNP B-X\nwent VBD O\n")
    assert [fault.line for fault in report.faults] == [1]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "Sentence #,Word,POS,Tag\nSentence: 1,Thousands,NNS,O\n,of,IN,O\n,people,NNS,O\n,in,IN,O\n"),
        ("a.txt", "EU,B-ORG\nsays,O\nit,O\n"),
    ],
)
def test_commas_are_refused_by_name(name: str, content: str, tmp_path: Path) -> None:
    with pytest.raises(DataFault, match="separated by commas"):
        read(tmp_path, content, name)


def test_a_long_sentence_is_warned_of(tmp_path: Path) -> None:
    """A file without blank lines is one sentence, longer than the service takes at once."""
    _, report = read(tmp_path, "".join(f"w{n} {'B-X' if n % 9 == 3 else 'O'}\n" for n in range(600)))
    assert [(warning.line, "600 words" in warning.what) for warning in report.warnings] == [(1, True)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"tokens": ["EU"], "ner_tags": [3]}\n', "the tags are numbers"),
        ('{"text": "EU rejects", "label": [[0, 2, "ORG"]]}\n', "places of characters"),
    ],
)
def test_json_without_tags_is_refused_by_what_it_is(content: str, complaint: str, tmp_path: Path) -> None:
    _, report = read(tmp_path, content, "a.jsonl")
    assert complaint in report.faults[0].what


def test_json_with_names_of_hugging_face(tmp_path: Path) -> None:
    content = '[{"tokens": ["EU", "is"], "ner_tags": ["B-ORG", "O"]},\n {"tokens": ["Al"], "ner_tags": ["B-PER"]}]'
    assert tags_of(read(tmp_path, content, "a.json")[0]) == [("B-ORG", "O"), ("B-PER",)]

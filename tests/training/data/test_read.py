"""Readers: every format gives the expected records, and a fault names the file, the line and the allowed form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.bundle.task_options import TrainedTask
from training.data.formats.faults import DataFault, Report
from training.data.formats.options import ReadOptions
from training.data.read import read_located, read_records
from training.data.records import LabelledText, Passage, SentencePair, TaggedSentence

CONLLU = """# text = Al went to it
1-2\tAl's\t_\t_\t_\t_\t_\t_\t_\t_
1\tAl\tAl\tPROPN\tNNP\tNumber=Sing\t2\tnsubj\t_\t_
2\twent\tgo\tVERB\tVBD\t_\t0\troot\t_\t_
2.1\tgone\tgo\tVERB\tVBN\t_\t_\t_\t_\t_

1\tNo\tno\tINTJ\tUH\t_\t0\troot\t_\t_
"""


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fault_of(task: TrainedTask, path: Path | str, options: ReadOptions | None = None) -> DataFault:
    with pytest.raises(DataFault) as caught:
        read_records(task, path, options)
    return caught.value


def test_conllu_words_and_chosen_field(tmp_path: Path) -> None:
    """Ranges, empty nodes and comments are skipped; the tag is the requested field."""
    path = write(tmp_path, "a.conllu", CONLLU)
    assert read_records("tagging", path) == [
        TaggedSentence(("Al", "went"), ("PROPN", "VERB")),
        TaggedSentence(("No",), ("INTJ",)),
    ]
    assert read_records("tagging", path, ReadOptions(tag_field="xpos"))[1] == TaggedSentence(("No",), ("UH",))
    assert read_records("tagging", path, ReadOptions(tag_field="feats"))[0].tags == ("Number=Sing", "_")


def test_conllu_is_known_by_its_content(tmp_path: Path) -> None:
    """CoNLL-U is detected by content, whatever the file name."""
    assert len(read_records("tagging", write(tmp_path, "a.txt", CONLLU))) == 2


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("3\tx\ty", "3 columns"),
        ("x\tx\tx\tX\tX\t_\t0\t_\t_\t_", "the id is 'x'"),
        ("3\tx\tx\t_\tX\t_\t0\t_\t_\t_", "UPOS is empty"),
    ],
)
def test_conllu_fault_names_the_line(tmp_path: Path, line: str, what: str) -> None:
    """Each kind of invalid line is reported with its line number."""
    fault = fault_of("tagging", write(tmp_path, "a.conllu", CONLLU + line + "\n"))
    assert (fault.line, fault.what) == (8, what)
    assert str(fault).startswith(f"{tmp_path / 'a.conllu'}:8: ")


@pytest.mark.parametrize("separator", ["\t", " ", "  "])
def test_columns_take_first_and_last(tmp_path: Path, separator: str) -> None:
    """The first column is the word, the last the tag, with any separator; document marks and blank lines separate."""
    lines = ["-DOCSTART- X O", "", "Al NNP B-PER", "Bo NNP I-PER", "\t", "# NN O"]
    content = "\n".join(line.replace(" ", separator) for line in lines)
    assert read_records("tagging", write(tmp_path, "a.conll", content)) == [
        TaggedSentence(("Al", "Bo"), ("B-PER", "I-PER")),
        TaggedSentence(("#",), ("O",)),
    ]


def test_columns_can_be_chosen(tmp_path: Path) -> None:
    """Columns count from 1, or from the end."""
    path = write(tmp_path, "a.iob2", "# id = 1\n1\tAl\tB-PER\t-\n2\tis\tO\t-\n")
    options = ReadOptions(word_column=2, tag_column=-2)
    assert read_records("tagging", path, options) == [TaggedSentence(("Al", "is"), ("B-PER", "O"))]
    assert "no column 9" in str(fault_of("tagging", path, ReadOptions(word_column=9)))


def test_columns_must_not_change_their_number(tmp_path: Path) -> None:
    """A missing tag is a fault of that line."""
    fault = fault_of("tagging", write(tmp_path, "a.conll", "Al NNP B-PER\nwent VBD\n"))
    assert (fault.line, fault.allowed) == (2, "it is 3 in the other lines")


def test_word_with_other_white_space_stays_whole(tmp_path: Path) -> None:
    """Only tabs and spaces separate columns: U+00A0 and U+2028 belong to the word and end no line."""
    content = "a\u00a0b X\nc\u2028d Y\n"
    assert read_records("tagging", write(tmp_path, "a.conll", content)) == [
        TaggedSentence(("a\u00a0b", "c\u2028d"), ("X", "Y"))
    ]


def test_slot_folder_serves_two_tasks(tmp_path: Path) -> None:
    """`seq.out` gives the tags and `label` the class, which is also attached to the tagged sentence."""
    write(tmp_path, "seq.in", "play jazz\nrain ?\n")
    write(tmp_path, "seq.out", "O B-genre\nO O\n")
    write(tmp_path, "label", "Play\nWeather\n")
    assert read_records("tagging", tmp_path)[0] == TaggedSentence(("play", "jazz"), ("O", "B-genre"), "Play")
    assert read_records("classification", tmp_path)[1] == LabelledText("rain ?", "Weather")
    write(tmp_path, "seq.out", "O B-genre\nO\n")
    fault = fault_of("tagging", tmp_path)
    assert (fault.path, fault.line, fault.what) == (tmp_path / "seq.out", 2, "1 tags for the 2 words of seq.in")


def test_csv_with_quotes_and_line_breaks(tmp_path: Path) -> None:
    """Quoted fields may contain commas, quotes and line breaks; a fault names the line on which the row starts."""
    path = write(tmp_path, "a.csv", 'Text,Label\r\n"one, ""two""\r\nthree",x\r\nlonely\r\n')
    report = Report(strict=False)
    records = read_located("classification", path, None, report)
    assert [(r.record, r.line) for r in records] == [(LabelledText('one, "two"\nthree', "x"), 2)]
    assert [(fault.line, fault.what) for fault in report.faults] == [(4, "the number of columns is 1")]


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    """A quote is an ordinary character in TSV."""
    path = write(tmp_path, "a.tsv", 'label\ttext\nham\t"so he said\n')
    assert read_records("classification", path) == [LabelledText('"so he said', "ham")]


def test_jsonl_numbers_are_labels(tmp_path: Path) -> None:
    """A label may be a number but not a list, and invalid JSON is reported by line."""
    path = write(tmp_path, "a.jsonl", '{"text": "good", "label": 1}\n\n{"text": "bad", "label": [1]}\n{oops\n')
    report = Report(strict=False)
    assert [r.record for r in read_located("classification", path, None, report)] == [LabelledText("good", "1")]
    assert [fault.line for fault in report.faults] == [4, 3]


@pytest.mark.parametrize(
    "header", ["intent,domain,text", "Sentence,Category", "query,whatever", "something,class", "message,id,LABEL"]
)
def test_usual_columns_are_found(tmp_path: Path, header: str) -> None:
    """Common column names are found in any case; of two columns one known name is enough."""
    cells = {"text": "t", "sentence": "t", "query": "t", "something": "t", "message": "t", "domain": "d", "id": "7"}
    row = ",".join(cells.get(name.lower(), "l") for name in header.split(","))
    assert read_records("classification", write(tmp_path, "a.csv", f"{header}\n{row}\n")) == [LabelledText("t", "l")]


def test_columns_that_cannot_be_found_are_a_fault(tmp_path: Path) -> None:
    """The fault lists the available columns, also when the user named a wrong one."""
    path = write(tmp_path, "a.csv", "a,b,c\n1,2,3\n")
    assert "a, b, c" in str(fault_of("classification", path))
    assert "no text column 'x'" in str(fault_of("classification", path, ReadOptions(text_column="x")))
    chosen = ReadOptions(text_column="b", label_column="c")
    assert read_records("classification", path, chosen) == [LabelledText("2", "3")]


def test_pairs_from_a_table(tmp_path: Path) -> None:
    """The first two columns or the named ones give the pairs."""
    path = write(tmp_path, "a.tsv", "en\tde\tfr\nHi.\tHallo!\tSalut !\n")
    assert read_records("translation", path) == [SentencePair("Hi.", "Hallo!")]
    options = ReadOptions(source_column="fr", target_column="en")
    assert read_records("translation", path, options) == [SentencePair("Salut !", "Hi.")]
    assert read_records("translation", path, ReadOptions(target_column="en")) == [SentencePair("Hallo!", "Hi.")]


def test_pairs_from_two_files(tmp_path: Path) -> None:
    """Lines are paired by number; an empty line and different lengths are faults."""
    source, target = write(tmp_path, "a.en", "one\n\ntwo\n"), write(tmp_path, "a.de", "eins\n\nzwei\n")
    both = f"{source},{target}"
    assert read_records("translation", both) == [SentencePair("one", "eins"), SentencePair("two", "zwei")]
    write(tmp_path, "a.de", "eins\n\n\n")
    assert fault_of("translation", both).line == 3
    write(tmp_path, "a.de", "eins\n")
    assert "1 lines, but" in str(fault_of("translation", both))


def test_text_is_kept_as_it_is(tmp_path: Path) -> None:
    """The file is one passage; CR LF becomes LF, the byte-order mark is removed, and final line ends are preserved."""
    assert read_records("generation", write(tmp_path, "a", b"\xef\xbb\xbfa\r\n\r\nb")) == [Passage("a\n\nb")]
    assert read_records("generation", write(tmp_path, "b", "a\n")) == [Passage("a\n")]


@pytest.mark.parametrize("name", ["a.tsv.gz", "a.tsv"])
def test_gzip_is_read_transparently(tmp_path: Path, name: str) -> None:
    """Gzip is detected by content, so a wrong suffix is harmless."""
    path = write(tmp_path, name, gzip.compress("label\ttext\nx\tä\n".encode()))
    assert read_records("classification", path) == [LabelledText("ä", "x")]


def test_damaged_gzip_is_a_fault(tmp_path: Path) -> None:
    """A truncated gzip file is reported as damaged."""
    path = write(tmp_path, "a.tsv.gz", gzip.compress(b"label\ttext\n" * 99)[:-9])
    assert "damaged gzip file" in str(fault_of("classification", path))


def test_wrong_encoding_names_the_line(tmp_path: Path) -> None:
    """Latin-1 and UTF-16 are refused with the line, the byte and the remedy."""
    fault = fault_of("classification", write(tmp_path, "a.tsv", "label\ttext\nx\tä\n".encode("latin-1")))
    assert (fault.line, fault.what) == (2, "byte 3 of the line (0xe4) is not UTF-8")
    assert "UTF-16" in str(fault_of("generation", write(tmp_path, "b.txt", "text".encode("utf-16"))))


def test_tolerant_reading_collects_all_faults(tmp_path: Path) -> None:
    """Valid sentences are kept, and a sentence with an invalid line is skipped whole."""
    path = write(tmp_path, "a.conll", "a X\nb\n\nc X\n\nd\n")
    report = Report(strict=False)
    assert [r.record for r in read_located("tagging", path, None, report)] == [TaggedSentence(("c",), ("X",))]
    assert [fault.line for fault in report.faults] == [2, 6]


@pytest.mark.parametrize(
    ("task", "name", "content", "complaint"),
    [
        ("classification", "a.csv", "", "no records found"),
        ("classification", "b.csv", "text,label\n", "no records found"),
        ("tagging", "c.conll", "\n\n", "no records found"),
        ("generation", "d.txt", " \n", "no records found"),
        ("classification", "e.xyz", "no separators here", "cannot detect the format"),
        ("translation", "f.tsv", "only\nx\n", "only one column"),
    ],
)
def test_files_without_records_are_faults(
    tmp_path: Path, task: TrainedTask, name: str, content: str, complaint: str
) -> None:
    """A file without records is reported as a fault when it is read."""
    assert complaint in str(fault_of(task, write(tmp_path, name, content)))


def test_impossible_wishes_are_faults(tmp_path: Path) -> None:
    """A missing file, a format of another task, and a folder in place of a file are faults."""
    path = write(tmp_path, "a.txt", "x")
    assert "no such file" in str(fault_of("tagging", tmp_path / "missing"))
    assert "its formats are conllu" in str(fault_of("tagging", path, ReadOptions(format="csv")))
    assert "cannot be read as conllu" in str(fault_of("tagging", tmp_path, ReadOptions(format="conllu")))
    assert "parallel takes two paths" in str(fault_of("translation", path, ReadOptions(format="parallel")))


def test_misspelt_option_is_refused() -> None:
    """An unknown option is an error and is never ignored."""
    with pytest.raises(ValidationError):
        ReadOptions.model_validate(json.loads('{"txt_column": "a"}'))

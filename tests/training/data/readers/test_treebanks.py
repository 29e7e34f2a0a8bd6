"""Sentences with trees are read from CoNLL-U, and whatever is no tree is refused with its place and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.trees.tiny_trees import conllu, tree_of
from training.data.check import run
from training.data.formats.faults import DataFault, Report
from training.data.read import read_located, read_records
from training.data.readers.treebanks.dependency_tree import fault_of_tree, find_circle
from training.data.records import ParsedSentence

GOOD = """# sent_id = first
1-2\tAl's\t_\t_\t_\t_\t_\t_\t_\t_
1\tAl\tAl\tPROPN\tNNP\tNumber=Sing\t2\tnsubj:pass\t_\t_
2\twent\tgo\tVERB\tVBD\t_\t0\troot\t_\t_
2.1\tgone\tgo\tVERB\tVBN\t_\t_\t_\t_\t_

"""


def written(folder: Path, *rows: str, before: str = GOOD) -> Path:
    """A file whose second sentence, `second`, has these words, as `form UPOS HEAD DEPREL`."""
    cells = [row.split(" ") for row in rows]
    lines = [f"{i}\t{w}\t_\t{tag}\t_\t_\t{head}\t{rel}\t_\t_" for i, (w, tag, head, rel) in enumerate(cells, start=1)]
    path = folder / "a.conllu"
    path.write_text(before + "# sent_id = second\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_tree_is_read_without_ranges_and_empty_nodes(tmp_path: Path) -> None:
    """Words, tags, heads, whole relations, features, lemmas; multiword ranges and empty nodes are skipped."""
    path = written(tmp_path, "No INTJ 0 root")
    assert read_records("parsing", path) == [
        ParsedSentence(
            ("Al", "went"), ("PROPN", "VERB"), (2, 0), ("nsubj:pass", "root"), ("Number=Sing", "_"), ("Al", "go")
        ),
        ParsedSentence(("No",), ("INTJ",), (0,), ("root",), ("_",), ("_",)),
    ]


@pytest.mark.parametrize(
    ("before", "said"), [(GOOD, "2 of 3 words"), ("", "none: the column is empty")], ids=["some", "none"]
)
def test_the_words_that_have_a_lemma_are_counted(tmp_path: Path, before: str, said: str) -> None:
    """It is stated how many they are, and that the column is empty."""
    path, report = written(tmp_path, "No INTJ 0 root", before=before), Report()
    read_located("parsing", path, None, report)
    assert report.understood[str(path)]["lemmas"] == said


@pytest.mark.parametrize(
    ("rows", "line", "what", "allowed"),
    [
        (("a X 0 root", "b X 5 dep"), 9, "HEAD is 5, and the sentence has 2 words", "1 to 2"),
        (("a X 0 root", "b X 2 dep"), 9, "word 2 is its own head", "0 for the root"),
        (("a X 0 root", "b X 0 root"), 9, "words 1 and 2 both have HEAD 0", "exactly one root"),
        (("a X 2 dep", "b X 3 dep", "c X 1 dep"), 8, "no word has HEAD 0", "exactly one root"),
        (("a X 0 root", "b X 3 dep", "c X 2 dep"), 9, "heads go in a circle: 2 -> 3 -> 2", "lead to the root"),
        (("a X _ root",), 8, "HEAD is empty", "0 for the root"),
        (("a X -1 root",), 8, "HEAD is '-1'", "0 for the root"),
        ((f"a X {'9' * 5000} root",), 8, f"HEAD is '{'9' * 20}'", "0 for the root"),
        (("a X 0 _",), 8, "DEPREL is empty", "every word needs a relation"),
        (("a _ 0 root",), 8, "UPOS is empty", "every word needs a part of speech"),
    ],
)
def test_what_is_no_tree_is_refused(tmp_path: Path, rows: tuple[str, ...], line: int, what: str, allowed: str) -> None:
    """The message has file, line, sentence, what is wrong and what is allowed."""
    with pytest.raises(DataFault) as caught:
        read_records("parsing", written(tmp_path, *rows))
    fault = caught.value
    assert (fault.path.name, fault.line) == ("a.conllu", line)
    assert fault.what == f"{what}, in the sentence second"
    assert allowed in fault.allowed


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1\tx\ty", "3 columns"),
        ("x\tx\t_\tX\t_\t_\t0\troot\t_\t_", "the id is 'x'"),
        ("1-x\tx\t_\t_\t_\t_\t_\t_\t_\t_", "the id is '1-x'"),
        ("1.\tx\t_\t_\t_\t_\t_\t_\t_\t_", "the id is '1.'"),
        ("9" * 5000 + "\tx\t_\tX\t_\t_\t0\troot\t_\t_", f"the id is '{'9' * 20}'"),
        ("1-" + "9" * 5000 + "\tx\t_\t_\t_\t_\t_\t_\t_\t_", "the id is '1-999"),
        ("2\tx\t_\tX\t_\t_\t0\troot\t_\t_", "the id is 2 where 1 is due"),
    ],
)
def test_a_line_that_is_no_word_is_refused(tmp_path: Path, line: str, what: str) -> None:
    """Columns that are missing, and ids that do not count the words, to which heads refer."""
    path = tmp_path / "a.conllu"
    path.write_text(GOOD + line + "\n", encoding="utf-8")
    with pytest.raises(DataFault, match=what):
        read_records("parsing", path)


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    """A table is no treebank, and an empty file has no records."""
    table, empty = tmp_path / "a.csv", tmp_path / "b.conllu"
    table.write_text("text,label\nx,y\n", encoding="utf-8")
    empty.write_text("", encoding="utf-8")
    with pytest.raises(DataFault, match=r"a.csv:1: 1 columns, in the sentence .*CoNLL-U has 10, separated by tabs"):
        read_records("parsing", table)
    with pytest.raises(DataFault, match="no records found: the file is empty"):
        read_records("parsing", empty)


def test_a_check_goes_on_after_a_faulty_sentence(tmp_path: Path) -> None:
    """A tolerant report has each fault once, and the records of all other sentences."""
    path = written(tmp_path, "a X 0 root", "b X 2 dep", before=GOOD + "1\tx\ty\n2\tx\ty\n\n")
    report = Report(strict=False)
    found = read_located("parsing", path, None, report)
    assert [located.line for located in found] == [3]
    assert [fault.line for fault in report.faults] == [7, 8, 12]


def test_a_check_counts_relations_and_conflicts(tmp_path: Path) -> None:
    """The labels of a treebank are its relations; one text with two trees is a conflict."""
    tree = tree_of(["the", "cat", "sees"])
    other = tree._replace(heads=(3, 3, 0))
    path = tmp_path / "a.conllu"
    path.write_text(conllu([tree, other, tree]), encoding="utf-8")
    (split,) = run("parsing", str(path)).splits
    assert split.labels == {"det": 3, "nsubj": 3, "root": 3}
    assert (split.duplicates, split.conflicts) == (1, 1)


def test_a_sentence_beyond_the_limit_is_told(tmp_path: Path) -> None:
    """A tree cannot be cut, which the user is told before hours of training."""
    path = tmp_path / "a.conllu"
    path.write_text(conllu([tree_of(["the", "cat", "sees"] * 200)]), encoding="utf-8")
    report = Report()
    read_located("parsing", path, None, report)
    assert "a tree cannot be cut" in str(report.warnings[-1])


def test_circles_are_found_wherever_they_are() -> None:
    """A circle behind a chain of words is found; a tree of any form has none."""
    assert find_circle([2, 3, 4, 2, 0]) == [2, 3, 4]
    assert find_circle([0, 1, 2, 3]) is None
    assert fault_of_tree([2, 0, 2, 3]) is None

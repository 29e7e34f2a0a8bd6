"""The raw text of a treebank: tokens in their text, paragraphs, joined sentences; and what has no text is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.check import run
from training.data.read import read_records
from training.data.readers.treebanks.raw_text import NoRawText, raw_text
from training.data.records import ParsedSentence, SurfaceToken


def block(text: str | None, *rows: str, before: str = "") -> str:
    """A sentence; rows are `id form` with `+` behind where nothing follows."""
    lines = [before] if before else []
    lines += [] if text is None else [f"# text = {text}"]
    for row in rows:
        number, _, form = row.removesuffix("+").partition(" ")
        misc = "SpaceAfter=No" if row.endswith("+") else "_"
        columns = f"X\t_\t_\t{int(number) - 1}\tdep\t_" if number.isdecimal() else "\t".join("______")
        lines.append(f"{number}\t{form}\t_\t{columns}\t{misc}")
    return "\n".join(lines) + "\n\n"


def written(folder: Path, *blocks: str) -> Path:
    path = folder / "a.conllu"
    path.write_text("".join(blocks), encoding="utf-8")
    return path


def parsed(path: Path) -> list[ParsedSentence]:
    return [record for record in read_records("parsing", path) if isinstance(record, ParsedSentence)]


def test_tokens_are_found_in_the_text(tmp_path: Path) -> None:
    """Words and multiword tokens, one with a blank within; blanks before and after them do not matter."""
    (record,) = parsed(
        written(tmp_path, block("Il va  au 10 000.", "1 Il", "2 va", "3-4 au", "3 à", "4 le", "5 10 000+", "6 ."))
    )
    assert record.surface is not None
    found = [(record.surface.text[start:end], size) for start, end, size in record.surface.tokens]
    assert found == [("Il", 1), ("va", 1), ("au", 2), ("10 000", 1), (".", 1)]
    assert record.words == ("Il", "va", "à", "le", "10 000", ".")


def test_sentences_are_joined_as_the_treebank_says(tmp_path: Path) -> None:
    """By a blank, by nothing after SpaceAfter=No, by a blank line before a paragraph or document."""
    blocks = [
        block("Hi.", "1 Hi+", "2 .", before="# newdoc id = a"),
        block("du", "1-2 du+", "1 de+", "2 le"),
        block("x", "1 x"),
        block("y", "1 y", before="# newpar"),
        block("z", "1 z", before="# newdoc_id = CF1"),
    ]
    raw = raw_text(parsed(written(tmp_path, *blocks)), "it")
    assert raw.text == "Hi. dux\n\ny\n\nz"
    assert [[raw.text[start:end] for start, end, _ in tokens] for tokens in raw.sentences] == [
        ["Hi", "."],
        ["du"],
        ["x"],
        ["y"],
        ["z"],
    ]
    assert raw.sentences[1] == (SurfaceToken(4, 6, 2),)


@pytest.mark.parametrize("text", [None, "Hello", "Hi there", "H i"])
def test_a_sentence_whose_text_is_not_known_has_none(tmp_path: Path, text: str | None) -> None:
    """No comment, or one that has other characters than its tokens; the tree is read all the same."""
    path = written(tmp_path, block(text, "1 Hi"), block("Yes", "1 Yes"))
    records = parsed(path)
    assert [record.surface is None for record in records] == [True, False]
    told = r"dev: 1 of 2 sentences have no raw text \(the first begins 'Hi'\); .*`# text = \.\.\.`"
    with pytest.raises(NoRawText, match=told):
        raw_text(records, "dev")


def test_a_check_tells_how_much_has_raw_text(tmp_path: Path) -> None:
    """How many sentences, or that there is none and which comment is looked for."""
    some = run("parsing", str(written(tmp_path, block("Hi", "1 Hi"), block(None, "1 a"), block("b", "1 b"))))
    assert "2 of 3 sentences" in str(some)
    none = run("parsing", str(written(tmp_path, block(None, "1 Hi"), block(None, "1 a"))))
    assert "none: no sentence has a comment `# text = ...` that holds its words" in str(none)


@pytest.mark.parametrize(
    "rows",
    [
        ("1-2 Hi", "2-3 ab", "1 H", "2 i", "3 b"),  # overlap
        ("1-2 Hi", "1 H", "2-3 ib", "2 i", "3 b"),  # the second begins within the first
        ("1 Hi", "2 b", "3 c", "2-3 b"),  # stands behind its words
        ("0-1 Hi", "1 Hi", "2 b"),
        ("2-1 Hi", "1 Hi", "2 b"),
        ("1-9 Hi", "1 Hi", "2 b"),  # more words than there are
    ],
)
def test_a_multiword_token_without_words_of_its_own_is_told(tmp_path: Path, rows: tuple[str, ...]) -> None:
    """One that has words of another, or is not before its words, is warned of once, and leaves no text."""
    path = written(tmp_path, block("Hi b", *rows), block("a", "1 a"), block("Hi b", *rows))
    report = str(run("parsing", str(path)))
    assert "1 of 3 sentences" in report
    assert "the tokens of the sentence 'H" in report
    assert "(the first of 2 such sentences)" in report


def test_a_text_of_other_words_is_told_with_its_line(tmp_path: Path) -> None:
    """The sentence is named where it begins; one without any text needs no warning."""
    path = written(tmp_path, block(None, "1 a"), block("b c", "1 b", before="# sent_id = s2"))
    (warning,) = run("parsing", str(path)).warnings
    assert str(warning).startswith(f"{path}:5: the tokens of the sentence s2 are not those of its `# text = ...`; ")

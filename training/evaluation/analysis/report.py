"""A folder with everything there is to see of a model's errors, and `README.md` as its first page."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from service.bundle.manifest import TaskName
from training.data.readers.schemes import span_scheme
from training.data.records import CaptionedPicture, LabelledText, SentencePair, TaggedSentence
from training.evaluation.analysis.attention import draw_attention
from training.evaluation.analysis.confusion import Confusion, label_pairs
from training.evaluation.analysis.errors import (
    ErrorCase,
    caption_errors,
    kinds,
    label_errors,
    span_errors,
    tag_errors,
    translation_errors,
)
from training.evaluation.analysis.picture_attention import draw_picture_attention
from training.evaluation.predictions import Prediction

#: Kinds of errors on the first page, and examples of each; `errors.csv` has all.
NUM_KINDS, NUM_EXAMPLES = 15, 3
NUM_CONFUSIONS: Final = 15
NUM_PICTURES: Final = 6
#: Longer sentences make pictures that nobody can read.
MAX_DRAWN_TOKENS: Final = 30
MAX_TEXT_CHARACTERS: Final = 160


#: What to ask a model for, beside its answers.
ANALYSIS_PARAMETERS: dict[TaskName, dict[str, Any]] = {
    "translation": {"return_attention": True},
    "captioning": {"return_attention": True},
}


def write_analysis(folder: Path, name: str, predictions: Sequence[Prediction]) -> Path | None:
    """Look through what a model said; returns the first page, None for tasks without right and wrong answers."""
    cases = error_cases(predictions)
    if cases is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.png"), *folder.glob("*.csv")):
        old.unlink()
    sections = [
        _summary(predictions, cases),
        _confusion(folder, predictions),
        _errors(cases),
        _attention(folder, predictions),
    ]
    _write_errors(folder / "errors.csv", cases)
    page = folder / "README.md"
    body = "\n\n".join(section for section in sections if section)
    page.write_text(f"# What {name} gets wrong\n\n{body}\n", encoding="utf-8")
    return page


def error_cases(predictions: Sequence[Prediction]) -> list[ErrorCase] | None:
    """All errors, of the kinds that belong to the records; None for records without one right answer."""
    kind = type(predictions[0].record) if predictions else None
    if kind is TaggedSentence:
        return _tagging_errors(predictions)
    if kind is SentencePair:
        pairs = [(p.record, p.text) for p in predictions if isinstance(p.record, SentencePair)]
        return translation_errors((record.source, record.target, said) for record, said in pairs)
    if kind is CaptionedPicture:
        pictures = [(p.record, p.text) for p in predictions if isinstance(p.record, CaptionedPicture)]
        return caption_errors((f"drawn by {r.group}" if r.group else "", r.caption, said) for r, said in pictures)
    labelled = _labelled(predictions)
    return label_errors(labelled) if labelled else None


def _tagging_errors(predictions: Sequence[Prediction]) -> list[ErrorCase]:
    sentences = [(p.record, p.tags) for p in predictions if isinstance(p.record, TaggedSentence)]
    spans = span_scheme(record.tags for record, _ in sentences) is not None
    find = span_errors if spans else tag_errors
    return [case for record, tags in sentences for case in find(record.words, record.tags, tags)]


def _labelled(predictions: Sequence[Prediction]) -> list[tuple[str, str, str]]:
    """What can be shown of each record, its label and the predicted one; empty where records have no label."""
    rows = [
        (p.record.text if isinstance(p.record, LabelledText) else f"record {number}", _label(p.record), p.label)
        for number, p in enumerate(predictions, start=1)
        if _label(p.record)
    ]
    return rows if any(label for _, _, label in rows) else []


def _label(record: object) -> str:
    return str(getattr(record, "label", ""))


def _pairs(predictions: Sequence[Prediction]) -> list[tuple[str, str]]:
    """Gold and predicted labels; of words for a tagger, and then without the B- and I- of spans."""
    sentences = [(p.record.tags, p.tags) for p in predictions if isinstance(p.record, TaggedSentence)]
    if not sentences:
        return [(gold, predicted) for _, gold, predicted in _labelled(predictions)]
    pairs = label_pairs([gold for gold, _ in sentences], [predicted for _, predicted in sentences])
    if span_scheme(gold for gold, _ in sentences) is None:
        return pairs
    return [(_kind_of(gold), _kind_of(predicted)) for gold, predicted in pairs]


def _kind_of(tag: str) -> str:
    return tag.partition("-")[2] or tag


def _summary(predictions: Sequence[Prediction], cases: Sequence[ErrorCase]) -> str:
    return f"{len(predictions):,} records, {len(cases):,} errors; all of them are in [errors.csv](errors.csv)."


def _confusion(folder: Path, predictions: Sequence[Prediction]) -> str:
    confusion = Confusion.of(_pairs(predictions))
    if not confusion.labels:
        return ""
    confusion.write_table(folder / "confusion.csv")
    confusion.draw(folder / "confusion.png")
    rows = [
        f"| {_cell(gold)} | {_cell(said)} | {count} |" for gold, said, count in confusion.mistakes()[:NUM_CONFUSIONS]
    ]
    table = ["| gold | predicted | times |", "|---|---|---|", *rows]
    return "\n\n".join(
        (
            "## What is taken for what",
            "![confusion matrix](confusion.png)",
            "\n".join(table) if rows else "Nothing was confused.",
            "Counts of all labels: [confusion.csv](confusion.csv).",
        )
    )


def _errors(cases: Sequence[ErrorCase]) -> str:
    lines = []
    for kind, count in kinds(cases)[:NUM_KINDS]:
        lines.append(f"- **{_cell(kind)}**: {count}")
        examples = [case for case in cases if case.kind == kind][:NUM_EXAMPLES]
        lines += [f"  - {_clipped(e.text)}: {_clipped(e.predicted)}, not {_clipped(e.gold)}" for e in examples]
    return "\n\n".join(("## Errors by kind", "\n".join(lines) if lines else "There are none."))


def _attention(folder: Path, predictions: Sequence[Prediction]) -> str:
    looked = [(p.record, p.attention) for p in predictions if p.attention is not None and _is_drawn(p)]
    parts = []
    for number, (record, attention) in enumerate(looked[:NUM_PICTURES], start=1):
        picture = folder / f"attention-{number}.png"
        if isinstance(record, CaptionedPicture):
            draw_picture_attention(record.png, attention, picture)
        else:
            draw_attention(attention, picture)
        title = record.caption if isinstance(record, CaptionedPicture) else str(record[0])
        parts.append(f"{_clipped(title)}\n\n![attention](attention-{number}.png)")
    return "\n\n".join(("## Where it looked", *parts)) if parts else ""


def _is_drawn(prediction: Prediction) -> bool:
    """Whether a picture of its attention is small enough to be read; every one of a described picture is."""
    is_picture = isinstance(prediction.record, CaptionedPicture)
    return is_picture or len(prediction.attention.source_tokens) <= MAX_DRAWN_TOKENS


def _write_errors(path: Path, cases: Sequence[ErrorCase]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(ErrorCase._fields)
        writer.writerows(cases)


def _clipped(text: str) -> str:
    """A text on one line, not too long, and without signs that Markdown would read."""
    line = " ".join(text.split())
    return _cell(line if len(line) <= MAX_TEXT_CHARACTERS else f"{line[:MAX_TEXT_CHARACTERS]} ...")


def _cell(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "\\|*_`<[" else sign for sign in text)

"""Scores of a parser on the raw text of a treebank: cut, tagged and parsed by the service's own task code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from service.bundle.task_options import ParsingOptions
from training.data.readers.treebanks.lemmas import words_with_lemmas
from training.data.readers.treebanks.raw_text import RawText, raw_text
from training.data.records import ParsedSentence
from training.evaluation.answers import Job, answers
from training.evaluation.parsing.raw_text_cuts import answered_cut, parsed_cut, parts_within, rule_cut, treebank_cut
from training.evaluation.parsing.raw_text_scores import Cut, joined, raw_text_scores

#: How the names of scores from raw text begin, which tells them from those with the words of the treebank.
RAW: Final = "raw_"


def raw_scores(job: Job, records: Sequence[ParsedSentence]) -> dict[str, float]:
    """F1 from raw text; none for a bundle that cuts no text, or a file that does not give the text of each sentence."""
    segmenter = _options(job).segmenter
    is_known = all(record.surface is not None for record in records)
    if segmenter is None or not records or not is_known or job.parameters.get("segment") is False:
        return {}
    raw = raw_text(records, "the file")
    parts = list(parts_within(raw, segmenter.max_characters))
    # Places count in code points here, whatever the caller's unit is.
    own = replace(job, parameters={**job.parameters, "offsets": "codepoints"})
    found = answers(own, [text for _, text in parts])
    cut = [answered_cut(answer, start) for (start, _), answer in zip(parts, found, strict=True) if answer is not None]
    return named_scores(job, records, raw, joined(cut))


def rule_scores(job: Job, records: Sequence[ParsedSentence]) -> dict[str, float]:
    """The same where rules cut the text, and the same parser reads the words of each sentence."""
    raw = raw_text(records, "the file")
    cut = rule_cut(raw.text, job.bundle.tokenizers["words"])
    sentences = cut.words_of_sentences()
    found: Sequence[Any] = answers(job, [[word.form for word in words] for words in sentences])
    return named_scores(job, records, raw, parsed_cut(cut, sentences, found))


def named_scores(job: Job, records: Sequence[ParsedSentence], raw: RawText, found: Cut) -> dict[str, float]:
    """The scores that bundle and file have, with names of their own."""
    options = _options(job)
    scores = raw_text_scores(treebank_cut(records, raw), found)
    has_lemmas = options.lemmatizer is not None and any(words_with_lemmas(records))
    absent = {"ufeats"} if not options.features else set()
    absent |= set() if has_lemmas else {"lemmas"}
    return {RAW + name: value for name, value in scores.items() if name not in absent}


def _options(job: Job) -> ParsingOptions:
    options = job.bundle.manifest.options
    assert isinstance(options, ParsingOptions), "the task of the bundle has this class of options"
    return options

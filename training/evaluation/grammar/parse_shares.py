"""The share of answers that parse by the grammar of a bundle, beside that of the same model without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from service.bundle.task_options import TranslationOptions
from service.tasks.seq2seq.grammar.word_grammar import TextGrammar
from training.data.records import SentencePair
from training.evaluation.answers import REFUSED, Job, Scores, answers
from training.evaluation.predictions import forget
from training.evaluation.scoring import accuracy, percentage, without_blanks
from training.evaluation.task import options_as

#: The share of answers that parse.
PARSES: Final = "parses"


def parse_shares(job: Job, records: Sequence[SentencePair], sources: Sequence[str], texts: Sequence[str]) -> Scores:
    """Percentages of answers that parse; nothing of a bundle without a grammar.

    `texts` are the answers to `sources`. Unless the job says whether they are constrained, all is answered once more
    without the grammar: `parses_unconstrained`, and `exact_unconstrained` beside the `exact` of constrained answers.
    """
    options = options_as(job.bundle.manifest.options, TranslationOptions)
    if not options.grammar:
        return {}
    grammar, target = TextGrammar(options.grammar), job.bundle.tokenizers["target"]

    def num_parsed(answered: Sequence[str]) -> int:
        return sum(grammar.fault(target.words(text)) is None for text in answered)

    scores: Scores = {PARSES: percentage(num_parsed(texts), len(texts))}
    if job.parameters.get("constrained") is not None:
        return scores
    freely = replace(job, parameters={**job.parameters, "constrained": False}, keep=forget)
    free = [REFUSED if answer is None else answer.text for answer in answers(freely, sources)]
    references = [without_blanks(record.target) for record in records]
    exact = accuracy(references, [without_blanks(text) for text in free])
    return {
        **scores,
        "parses_unconstrained": percentage(num_parsed(free), len(free)),
        "exact_unconstrained": exact,
        "parses_signature": f"{num_parsed(texts):,} of {len(texts):,} answers; without the grammar "
        f"{num_parsed(free):,}, and exact {exact:.4g}",
    }

"""Dependency parsing: the head of each word and their relation, with its part of speech and features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from service.bundle.manifest import Manifest
from service.bundle.task_options import ParsingOptions, SegmenterOptions, TaskOptions
from training.data.readers.treebanks.conllu_line import NOTHING
from training.data.readers.treebanks.lemmas import words_with_lemmas
from training.data.records import ParsedSentence
from training.evaluation.analysis.findings import Findings
from training.evaluation.analysis.interval import Interval, bootstrap, ratio
from training.evaluation.answers import MAX_UNKNOWN_LABELS, Job, Scores, answers, unknown_labels
from training.evaluation.baselines.parsing import frequent_arcs, neighbour
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.parsing.arc_errors import arc_errors, arcs_of, tables
from training.evaluation.parsing.attachment import MEASURES, Parse, attachment_scores, counts, refused
from training.evaluation.parsing.lemma_accuracy import lemmas_of, share_of_right_lemmas
from training.evaluation.parsing.raw_text_evaluation import RAW, raw_scores
from training.evaluation.parsing.raw_text_scores import RAW_MEASURES
from training.evaluation.predictions import Prediction
from training.evaluation.task import CardTexts, EvaluationTask, options_as
from training.evaluation.tasks.card_texts import input_limit, listed

_LEMMA_LIMIT: Final = (
    "- Lemmas come from a table of train. Of a word that it lacks the end is changed as those of words that end alike; "
    "changes at its beginning are not known, and what is not made of letters is its own lemma."
)


def _purpose(manifest: Manifest) -> str:
    options = options_as(manifest.options, ParsingOptions)
    features = "; its morphological features" if options.features else ""
    lemma = "; its lemma" if options.lemmatizer is not None else ""
    cuts = " It cuts raw text into sentences and words first." if options.segmenter is not None else ""
    return (
        f"Gives every word of a sentence its head and one of {len(options.relations)} relations to it, which form a "
        f"tree; one of {len(manifest.labels)} parts of speech{features}{lemma}.{cuts}"
    )


def _limits(manifest: Manifest) -> list[str]:
    options = options_as(manifest.options, ParsingOptions)
    relations = f"- It knows these relations and no others: {listed(options.relations)}."
    return [
        *input_limit(manifest),
        relations,
        *([] if options.lemmatizer is None else [_LEMMA_LIMIT]),
        *([] if options.segmenter is None else [_segmenter_limit(options.segmenter)]),
    ]


def _segmenter_limit(options: SegmenterOptions) -> str:
    return (
        f"- A text of at most {options.max_characters:,} characters is cut by a network that was learned after the "
        "parser, by `unroll export --segmenter`; scores of raw text begin with `raw_`. A sentence beyond the limit is "
        "cut where its end is likeliest. Characters that train lacks are read as letters or digits that are like them."
    )


class ParsingEvaluation(EvaluationTask[ParsedSentence]):
    """Scores trees by word: heads, and heads with relations."""

    name = "parsing"
    card = CardTexts(
        purpose=_purpose,
        intended_use=(
            "Sentences like those it was trained on, cut into words as its treebank cuts them; texts of several where "
            "the model cuts text. Text of another domain and other word boundaries will be parsed worse."
        ),
        limits=_limits,
    )
    reported = ("las", "uas", "clas", "upos", "ufeats", "lemmas", *(RAW + name for name in RAW_MEASURES))
    dev_measures = ("las", "uas", "clas", "upos", "ufeats")
    deciding = ("las",)
    int8_graphs = ("parser",)

    def score(self, job: Job, records: Sequence[ParsedSentence]) -> Scores:
        """All words count; those of a sentence beyond the input limit are wrong, as a tree cannot be cut."""
        options = options_as(job.bundle.manifest.options, ParsingOptions)
        found = answers(job, [record.words for record in records])
        parses = [
            refused(record) if answer is None else _parse(answer) for record, answer in zip(records, found, strict=True)
        ]
        for record, parse in zip(records, parses, strict=True):
            job.keep(Prediction(record, parse=parse))
        unknown = {relation for record in records for relation in record.relations} - set(options.relations)
        return {
            **attachment_scores(zip(records, parses, strict=True), bool(options.features)),
            **_lemma_scores(options, records, found),
            **raw_scores(job, records),
            "tokens": sum(len(record.words) for record in records),
            "refused": found.count(None),
            "unknown_relations": sorted(unknown)[:MAX_UNKNOWN_LABELS],
            **unknown_labels(job.bundle, [tag for record in records for tag in record.tags]),
        }

    def baselines(
        self,
        train: Sequence[ParsedSentence],
        dev: Sequence[ParsedSentence],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """Its neighbour as the head of each word; the most frequent head and relation by the tags around it."""
        return [neighbour(train, dev), frequent_arcs(train, dev)]

    def interval(self, measure: str, predictions: Sequence[Prediction[ParsedSentence]]) -> Interval | None:
        """By sentence, whose words depend on each other."""
        if not predictions or measure not in MEASURES:
            return None
        row = MEASURES.index(measure)
        return bootstrap([counts(p.record, p.parse)[row].tolist() for p in predictions], ratio)

    def analyse(self, predictions: Sequence[Prediction[ParsedSentence]]) -> Findings | None:
        """Wrong heads and wrong relations; relations confused where the head is right; scores by relation, distance."""
        if not predictions:
            return None
        pairs = [(p.record, p.parse) for p in predictions]
        cases = [case for gold, found in pairs for case in arc_errors(gold, found)]
        arcs = (arc for gold, found in pairs for arc in arcs_of(gold, found))
        confusions = [(arc.relation, arc.found_relation) for arc in arcs if arc.has_head]
        return Findings(len(predictions), cases, confusions, tables=tables(pairs))


def _lemma_scores(options: ParsingOptions, records: Sequence[ParsedSentence], found: Sequence[Any]) -> dict[str, float]:
    """The accuracy of lemmas, where the bundle gives them and the file has them."""
    if options.lemmatizer is None or not any(words_with_lemmas(records)):
        return {}
    return {"lemmas": share_of_right_lemmas(records, [lemmas_of(*pair) for pair in zip(records, found, strict=True)])}


def _parse(answer: Any) -> Parse:
    """The service's answer as tags, heads (0 for the root), relations and features."""
    tokens = answer.tokens
    heads = [0 if token.head is None else token.head + 1 for token in tokens]
    feats = [token.features or NOTHING for token in tokens]
    return Parse([token.tag for token in tokens], heads, [token.relation for token in tokens], feats)

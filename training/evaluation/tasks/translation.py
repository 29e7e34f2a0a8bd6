"""Translation: a sentence in, its translation out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final

from service.bundle.manifest import Manifest
from service.bundle.task_options import TaskOptions, TranslationOptions
from training.config.networks import TranslatorConfig
from training.config.recipe import Recipe
from training.data.records import SentencePair
from training.evaluation.analysis.attention import draw_attention
from training.evaluation.analysis.errors import translation_errors
from training.evaluation.analysis.findings import AttentionPicture, Findings
from training.evaluation.answers import REFUSED, Job, Scores, answers, shortened
from training.evaluation.baselines.nearest_pair import nearest_pair
from training.evaluation.baselines.result import BaselineResult, Encode
from training.evaluation.baselines.translation import copied_source, word_by_word
from training.evaluation.grammar.parse_shares import PARSES, parse_shares
from training.evaluation.grammar.unparsed_targets import remark
from training.evaluation.predictions import Prediction
from training.evaluation.scoring import translation_scores
from training.evaluation.task import CardTexts, EvaluationTask, OwnBaseline, options_as
from training.evaluation.tasks.card_texts import input_limit, output_limit
from training.preprocessing.load_records import RunData

#: The attention of longer sentences, or of texts of more than twice as many tokens, makes pictures nobody can read.
MAX_DRAWN_TOKENS: Final = 30


def _purpose(manifest: Manifest) -> str:
    options = options_as(manifest.options, TranslationOptions)
    return f"Translates single sentences from {options.source_language} to {options.target_language}."


class TranslationEvaluation(EvaluationTask[SentencePair]):
    """Scores translations against one reference each."""

    name = "translation"
    card = CardTexts(
        purpose=_purpose,
        intended_use=(
            "Everyday sentences, one at a time. It can leave out, repeat or invent parts, above all in long sentences "
            "and with names or numbers: have a person check what matters."
        ),
        limits=lambda manifest: [*input_limit(manifest), output_limit(manifest)],
        reads_one_language=False,
    )
    reported = ("bleu", "bleu_tokenised", "chrf", "exact", PARSES)
    own_baselines: ClassVar = {PARSES: OwnBaseline("parses_unconstrained", "without the grammar")}
    dev_measures = ("bleu", "chrf", "exact")
    deciding = ("bleu",)
    int8_graphs = ("decoder_step",)
    # Greedy search: beam search costs several times as much, ranks epochs alike, and is less easily led astray.
    # A grammar, too, costs time and says nothing of the weights.
    quick_parameters: ClassVar = {"num_beams": 1, "constrained": False}
    analysis_parameters: ClassVar = {"return_attention": True}

    def prepare(self, recipe: Recipe, data: RunData) -> RunData:
        """The records as they are; with a grammar, a remark on the targets that do not parse."""
        grammar = recipe.network_as(TranslatorConfig).grammar
        if not grammar:
            return data
        remarks = [remark(recipe, grammar, "train", data.train), remark(recipe, grammar, "dev", data.dev)]
        return replace(data, remark="\n".join(filter(None, (data.remark, *remarks))))

    def score(self, job: Job, records: Sequence[SentencePair]) -> Scores:
        """Source sentences longer than the input limit are cut at the end."""
        tokenizer = job.bundle.tokenizers["source"]
        texts, num_cut = shortened(job.bundle, tokenizer, [record.source for record in records])
        found = answers(job, texts)
        hypotheses = [REFUSED if answer is None else answer.text for answer in found]
        for record, answer, text in zip(records, found, hypotheses, strict=True):
            job.keep(Prediction(record, text=text, attention=answer and answer.attention))
        scores = translation_scores([record.target for record in records], hypotheses)
        shares = parse_shares(job, records, texts, hypotheses)
        return {**scores._asdict(), **shares, "truncated": num_cut, "refused": found.count(None)}

    def baselines(
        self,
        train: Sequence[SentencePair],
        dev: Sequence[SentencePair],
        encode: Encode | None = None,
        options: TaskOptions | None = None,
    ) -> list[BaselineResult]:
        """The source as it stands, a dictionary learned from the pairs; beside a model that copies the nearest pair."""
        crude = [copied_source(dev), word_by_word(train, dev)]
        copies = isinstance(options, TranslationOptions) and options.copying
        return [*crude, nearest_pair(train, dev)] if copies else crude

    def analyse(self, predictions: Sequence[Prediction[SentencePair]]) -> Findings | None:
        if not predictions:
            return None
        cases = translation_errors((p.record.source, p.record.target, p.text) for p in predictions)
        looked = [p for p in predictions if p.attention is not None and p.attention.target_tokens]
        sizes = [max(len(p.attention.source_tokens), len(p.attention.target_tokens) // 2) for p in looked]
        drawn = [p for p, size in zip(looked, sizes, strict=True) if size <= MAX_DRAWN_TOKENS]
        pictures = [AttentionPicture(p.record.source, partial(draw_attention, p.attention)) for p in drawn]
        return Findings(len(predictions), cases, attention=pictures)

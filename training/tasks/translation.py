"""Translation: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.bundle.load import Bundle
from service.bundle.padding import pad_ids
from service.bundle.task_options import TranslationOptions
from service.bundle.tokenizer import BOS, EOS, UNK, TextTokenizer
from service.tasks.core.task import Runner
from service.tasks.seq2seq.copying import extended_ids, readable_ids
from service.tasks.seq2seq.grammar.parse_table import GrammarError
from service.tasks.seq2seq.grammar.word_grammar import WordGrammar
from training.config.networks import TranslatorConfig
from training.config.recipe import ConfigFault, Recipe, TokenizerConfig
from training.data.records import SentencePair
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.translation import TranslationEvaluation
from training.networks.build import WordEmbedding
from training.networks.network import Network
from training.networks.translator import Translator
from training.preprocessing.batches import TranslationBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor, lengths_tensor
from training.preprocessing.vocabulary import Vocabulary, fit_subwords, fit_text_words, vector_rows
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import example_questions, example_text, sample_lines


class TranslationTask(TranslationEvaluation, TrainingTask[SentencePair]):
    """An encoder and a decoder with attention, over subwords that both languages share or over the words of each."""

    word_embedding = WordEmbedding("source", "source_embedding", "network.embedding_size")
    fine_tunes = True

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[SentencePair], vectors: WordVectors | None = None
    ) -> Vocabulary:
        vocabulary, config = (
            translation_vocabulary(recipe.tokenizer, records, vectors),
            recipe.network_as(TranslatorConfig),
        )
        check_grammar(config.grammar, vocabulary, config.copying, recipe.limits.max_new_tokens)
        return vocabulary

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[SentencePair], *, is_dev: bool = False
    ) -> TranslationSet:
        limit, size = recipe.limits.max_input_tokens, recipe.training.batch_size
        copying = recipe.network_as(TranslatorConfig).copying
        return TranslationSet(records, vocabulary, limit, size, recipe.seed, copying=copying)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        # The limit counts tokens without the end token.
        max_source_tokens = recipe.limits.max_input_tokens + 1
        sizes = vocabulary.size("source"), vocabulary.size("target")
        return Translator(recipe.network_as(TranslatorConfig), *sizes, max_source_tokens)

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> TranslationOptions:
        config = recipe.network_as(TranslatorConfig)
        return TranslationOptions(
            source_language=config.source_language,
            target_language=config.target_language,
            num_beams=config.num_beams,
            length_penalty=config.length_penalty,
            tokens_beyond_source=config.tokens_beyond_source,
            copying=config.copying,
            grammar=config.grammar,
        )

    def samples(
        self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[SentencePair]
    ) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, lambda record: record.source, _line)

    def questions(self, recipe: Recipe, records: Sequence[SentencePair]) -> list[Question]:
        return example_questions(recipe, records, lambda record: example_text(record.source, recipe))

    def defaults(self, records: Sequence[SentencePair]) -> dict[str, Any]:
        return {
            "tokenizer": {"unit": "subword", "vocabulary_size": 4000},
            "network": {"encoder_hidden_size": 192, "decoder_hidden_size": 256, "attention": "dot"},
            "training": {"epochs": 15, "patience": 3, "batch_size": 64, "warmup_steps": 200, "evaluate_records": 300},
            "limits": {"max_input_tokens": 256},
        }


def check_grammar(grammar: str, vocabulary: Vocabulary, copying: bool, max_new_tokens: int) -> None:
    """Raises ConfigFault if the words of train cannot write what a grammar parses; an empty one is none."""
    try:
        if grammar:
            WordGrammar(grammar, vocabulary.tokenizers["target"], copying, max_new_tokens)
    except GrammarError as error:
        raise ConfigFault(f"network.grammar: {error}") from error


class TranslationSet(Bucketed):
    """Sentence pairs; both sides are cut at the limit. With `copying` targets are ids of the extended vocabulary."""

    def __init__(
        self,
        pairs: Sequence[SentencePair],
        vocabulary: Vocabulary,
        limit: int,
        batch_size: int,
        seed: int,
        *,
        copying: bool = False,
    ) -> None:
        source, target = vocabulary.tokenizers["source"], vocabulary.tokenizers["target"]
        self._sources = [[*source.encode(pair.source)[: limit - 1], EOS] for pair in pairs]
        self._targets = [target.encode(pair.target)[: limit - 1] for pair in pairs]
        self._vocabulary_size, self._copy_ids = target.vocabulary_size, list[list[int]]()
        if copying:
            words = [target.words(pair.source)[: limit - 1] for pair in pairs]
            self._copy_ids = [[*extended_ids(target, each), EOS] for each in words]
            aligned = zip(pairs, words, self._copy_ids, strict=True)
            self._targets = [_targets_to_copy(target, *each)[: limit - 1] for each in aligned]
        # Sorted by source, then target: both sides of a batch have similar lengths.
        lengths = [len(s) * 1000 + len(t) for s, t in zip(self._sources, self._targets, strict=True)]
        super().__init__(lengths, batch_size, seed)

    def batch(self, indices: Order) -> TranslationBatch:
        sources = [self._sources[i] for i in indices]
        targets = [self._targets[i] for i in indices]
        readable = readable_ids(pad_ids([[BOS, *ids] for ids in targets]), self._vocabulary_size)
        copy_ids = pad_ids([self._copy_ids[i] if self._copy_ids else [] for i in indices])
        return TranslationBatch(
            source=ids_tensor(pad_ids(sources)),
            source_lengths=lengths_tensor(sources),
            target_inputs=ids_tensor(readable),
            target_outputs=ids_tensor(pad_ids([[*ids, EOS] for ids in targets])),
            copy_ids=ids_tensor(copy_ids),
        )


def _targets_to_copy(
    target: TextTokenizer, pair: SentencePair, source_words: Sequence[str], copy_ids: Sequence[int]
) -> list[int]:
    """The ids of a target; words outside the vocabulary that the source has get their extended ids."""
    extended = dict(zip(source_words, copy_ids, strict=False))
    pieces = zip(target.encode(pair.target), target.words(pair.target), strict=True)
    return [extended.get(word, UNK) if known == UNK else known for known, word in pieces]


def translation_vocabulary(
    config: TokenizerConfig, pairs: Sequence[SentencePair], vectors: WordVectors | None = None
) -> Vocabulary:
    """One tokenizer of subwords for both languages, or one of words for each.

    The words of the target keep case and digits, because the output is made of them.

    Raises:
        ConfigFault: words are cut in a way that cannot be joined again.
    """
    if config.unit == "word":
        if config.cut not in ("whitespace", "code"):
            raise ConfigFault(
                f'tokenizer.cut "{config.cut}" cannot be undone in a translation: words are cut at "whitespace", or as '
                '"code", with quotes, brackets and operators apart; or set tokenizer.unit to "subword"'
            )
        source = fit_text_words([pair.source for pair in pairs], config, vectors)
        as_written = config.model_copy(update={"lowercase": False, "zero_digits": False})
        target = fit_text_words([pair.target for pair in pairs], as_written)
        return Vocabulary({"source": source, "target": target}, vectors=vector_rows(source, vectors))
    joint = fit_subwords((text for pair in pairs for text in pair), config)
    return Vocabulary({"source": joint, "target": joint})


def _line(record: SentencePair, found: Mapping[str, Any]) -> str:
    return f"{record.source} -> {found['text']} (reference: {record.target})"

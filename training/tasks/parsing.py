"""Dependency parsing: the task object, its training set and its vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from service.bundle.load import Bundle
from service.bundle.padding import pad_ids, pad_nested_ids
from service.bundle.task_options import LemmatizerOptions, ParsingOptions, TaskOptions
from service.tasks.core.task import Runner
from service.tasks.parsing.head_encoding import ROOT, encode_heads
from training.config.parser import ParserConfig
from training.config.recipe import Recipe, TokenizerConfig
from training.data.records import ParsedSentence
from training.evaluation.task import Question, TrainingTask, options_as
from training.evaluation.tasks.parsing import ParsingEvaluation
from training.networks.build import WordEmbedding
from training.networks.network import Network
from training.networks.parsing.parser import Parser, ParserSizes
from training.preprocessing.batches import NO_LABEL, ParsingBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor, lengths_tensor
from training.preprocessing.parsing.lemma_types import (
    count_lemmas,
    has_lemmas,
    lemma_table,
    require_lemmas,
    table_lines,
    table_of,
)
from training.preprocessing.vocabulary import Vocabulary, fit_characters, fit_words, vector_rows
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import beside, example_questions, sample_lines

#: The sets of labels in a vocabulary beside the parts of speech.
RELATIONS, FEATURES, OFFSETS = "relations", "features", "offsets"
#: The lines of the table of lemmas stand beside them.
LEMMAS: Final = "lemmas"
#: With fewer sentences than this, features of all words are too rare to be learned as one label each.
_FEW: Final = 500


class ParsingTask(ParsingEvaluation, TrainingTask[ParsedSentence]):
    """Words and their characters in; a tree, parts of speech, features and lemmas out."""

    word_embedding = WordEmbedding("words", "word_embedding", "network.word_size")
    fine_tunes = True
    kept_label_sets = frozenset({LEMMAS})

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[ParsedSentence], vectors: WordVectors | None = None
    ) -> Vocabulary:
        return parsing_vocabulary(recipe.tokenizer, recipe.network_as(ParserConfig), records, vectors)

    def label_sets_of(self, options: TaskOptions) -> Mapping[str, tuple[str, ...]]:
        options = options_as(options, ParsingOptions)
        lemmas = table_lines(options.lemmatizer.table) if options.lemmatizer else ()
        sets = {RELATIONS: options.relations, FEATURES: options.features, OFFSETS: options.offsets, LEMMAS: lemmas}
        return {name: labels for name, labels in sets.items() if labels}

    def character_models(self, recipe: Recipe) -> tuple[str, ...]:
        return recipe.network_as(ParserConfig).contextual

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[ParsedSentence], *, is_dev: bool = False
    ) -> ParsingSet:
        limit = recipe.network_as(ParserConfig).max_word_characters
        short = [record for record in records if len(record.words) <= recipe.limits.max_input_tokens]
        return ParsingSet(short, vocabulary, limit, recipe.training.batch_size, recipe.seed)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        of_words = {name: len(vocabulary.label_sets.get(name, ())) for name in (RELATIONS, FEATURES, OFFSETS)}
        sizes = ParserSizes(
            words=vocabulary.size("words"),
            characters=vocabulary.size("characters"),
            tags=len(vocabulary.labels),
            **of_words,
        )
        return Parser(recipe.network_as(ParserConfig), sizes, vocabulary.character_models)

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> ParsingOptions:
        config = recipe.network_as(ParserConfig)
        return ParsingOptions(
            decoder=config.decoder,
            relations=vocabulary.label_sets[RELATIONS],
            offsets=vocabulary.label_sets.get(OFFSETS, ()),
            features=vocabulary.label_sets.get(FEATURES, ()),
            max_word_characters=config.max_word_characters,
            lemmatizer=LemmatizerOptions(table=table_of(vocabulary.label_sets[LEMMAS])) if config.lemmas else None,
        )

    def samples(
        self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[ParsedSentence]
    ) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, lambda record: list(record.words), _line)

    def questions(self, recipe: Recipe, records: Sequence[ParsedSentence]) -> list[Question]:
        limit = recipe.limits.max_input_tokens
        return example_questions(recipe, records, lambda record: list(record.words[:limit]))

    def defaults(self, records: Sequence[ParsedSentence]) -> dict[str, Any]:
        """A biaffine parser; with features where the data has them, and is large enough; with lemmas if it has them."""
        network = {"hidden_size": 200, "layers": 2, "features": len(records) >= _FEW, "lemmas": has_lemmas(records)}
        training = {"epochs": 20, "patience": 5, "batch_size": 32, "ema_decay": 0.99, "beta2": 0.9}
        return {"network": network, "training": training}


class ParsingSet(Bucketed):
    """Sentences with tags, heads, relations and features of each word."""

    def __init__(
        self, sentences: Sequence[ParsedSentence], vocabulary: Vocabulary, limit: int, batch_size: int, seed: int
    ) -> None:
        super().__init__([len(sentence.words) for sentence in sentences], batch_size, seed)
        words, characters = vocabulary.tokenizers["words"], vocabulary.tokenizers["characters"]
        self._words = [words.encode_words(s.words) for s in sentences]
        self._characters = [[characters.encode_characters(word, limit) for word in s.words] for s in sentences]
        self._heads = [list(s.heads) for s in sentences]
        sets = vocabulary.label_sets
        # A label that is not in train counts as label 0 in the dev loss, and as wrong in the dev score.
        self._tags = _numbered([s.tags for s in sentences], vocabulary.labels)
        self._relations = _numbered([s.relations for s in sentences], sets[RELATIONS])
        self._features = _numbered([s.feats for s in sentences], sets.get(FEATURES, ()))
        # A head whose label is too rare to be learned is not learned from.
        encoded = [encode_heads(s.tags, s.heads) if OFFSETS in sets else s.tags for s in sentences]
        self._offsets = _numbered(encoded, sets.get(OFFSETS, ()), NO_LABEL if OFFSETS in sets else 0)

    def batch(self, indices: Order) -> ParsingBatch:
        words = [self._words[i] for i in indices]
        by_word = (self._tags, self._heads, self._relations, self._features, self._offsets)
        tags, heads, relations, features, offsets = (
            ids_tensor(pad_ids([rows[i] for i in indices])) for rows in by_word
        )
        return ParsingBatch(
            words=ids_tensor(pad_ids(words)),
            characters=ids_tensor(pad_nested_ids([self._characters[i] for i in indices])),
            lengths=lengths_tensor(words),
            tags=tags,
            heads=heads,
            relations=relations,
            features=features,
            offsets=offsets,
        )


def _numbered(rows: Sequence[Sequence[str]], labels: Sequence[str], unknown: int = 0) -> list[list[int]]:
    number = {label: index for index, label in enumerate(labels)}
    return [[number.get(label, unknown) for label in row] for row in rows]


def parsing_vocabulary(
    tokenizer: TokenizerConfig,
    network: ParserConfig,
    sentences: Sequence[ParsedSentence],
    vectors: WordVectors | None = None,
) -> Vocabulary:
    """Words, their characters, parts of speech, and the other labels that the network predicts."""
    words = fit_words((sentence.words for sentence in sentences), tokenizer, vectors)
    characters = fit_characters(word for sentence in sentences for word in sentence.words)
    labels = _distinct(sentence.tags for sentence in sentences)
    sets = {RELATIONS: _distinct(sentence.relations for sentence in sentences)}
    features = _distinct(sentence.feats for sentence in sentences)
    if network.features and len(features) > 1:
        sets[FEATURES] = features
    if network.decoder == "labels":
        sets[OFFSETS] = _frequent_offsets(sentences, network.min_offset_count)
    if network.lemmas:
        require_lemmas(sentences)
        sets[LEMMAS] = table_lines(lemma_table(count_lemmas(sentences)))
    tokenizers = {"words": words, "characters": characters}
    return Vocabulary(tokenizers, labels, vector_rows(words, vectors), label_sets=sets)


def _distinct(rows: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({label for row in rows for label in row}))


def _frequent_offsets(sentences: Sequence[ParsedSentence], least: int) -> tuple[str, ...]:
    """The encodings of heads that occur often enough, and that of the root, which every sentence has."""
    counts = Counter(offset for sentence in sentences for offset in encode_heads(sentence.tags, sentence.heads))
    return tuple(sorted(offset for offset, count in counts.items() if count >= least or offset == ROOT))


def _line(record: ParsedSentence, found: Mapping[str, Any]) -> str:
    """The sentence, then its words whose head, relation or tag is wrong, as `word: found (not right)`."""
    rows = zip(record.words, record.tags, record.heads, record.relations, found["tokens"], strict=True)
    wrong = []
    for word, tag, head, relation, token in rows:
        given = 0 if token["head"] is None else token["head"] + 1
        arc = beside(f"{token['relation']} of {_name(record, given)}", f"{relation} of {_name(record, head)}")
        if (token["tag"], given, token["relation"]) != (tag, head, relation):
            wrong.append(f"{word}/{beside(token['tag'], tag)}: {arc}")
    return f"{' '.join(record.words)} -> {'; '.join(wrong) or 'all right'}"


def _name(record: ParsedSentence, head: int) -> str:
    """A head with its number, which tells it from others of its form."""
    return f"{record.words[head - 1]}-{head}" if head else "the root"

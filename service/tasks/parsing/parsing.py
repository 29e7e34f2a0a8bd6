"""Dependency parsing: sentences of words, and raw texts, which are cut into sentences and words first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from service.bundle.load import Bundle
from service.bundle.padding import FloatArray
from service.bundle.task_options import ParsingOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.hidden import HiddenForm, finite_numbers, formed
from service.tasks.core.predict_task import PredictTask
from service.tasks.core.sentence import SentenceReader
from service.tasks.core.task import (
    AnswerStatistics,
    Array,
    InputStatistics,
    PredictInput,
    Runner,
    input_statistics_of,
)
from service.tasks.parsing.conllu import answer_conllu
from service.tasks.parsing.parsing_answer import ParsingAnswer, ParsingParameters
from service.tasks.parsing.segmenter import CutSentence, Segmenter
from service.tasks.parsing.sentence_parser import ParsingExample, ParsingOutput, SentenceParser
from service.tasks.parsing.text_places import TextPlaces

#: Sentences of a text that are parsed in one run, and their words with padding.
_SENTENCES, _WORDS = 32, 2048
#: How many words more than twice those of the shortest they may have.
_NEAR: Final = 8

ResultT = TypeVar("ResultT")


class TextOutput(NamedTuple):
    """The sentences of a text that was cut, with the tree of each; None if scores of its characters were not finite.

    `hidden` is the mean over all words.
    """

    cut: Sequence[CutSentence] | None
    sentences: Sequence[ParsingExample]
    outputs: Sequence[ParsingOutput]
    hidden: FloatArray | None = None


class Parsing(PredictTask[ParsingExample, ParsingOutput | TextOutput]):
    """Parses sentences; and where the bundle has the graph `segmenter`, texts of several sentences."""

    parameters_type = ParsingParameters
    answer_type = ParsingAnswer

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        if not isinstance(manifest.options, ParsingOptions):
            raise TypeError(f"{manifest.name} is a bundle for {manifest.task}, not for parsing")
        self._options = options = manifest.options
        self._labels = manifest.labels
        self._reader = SentenceReader(bundle, "parser", options.max_word_characters, ParsingExample)
        self._parser = SentenceParser(bundle, options, self._reader)
        self._segmenter = Segmenter(bundle, options.segmenter) if options.segmenter is not None else None

    def preprocess(self, value: PredictInput, parameters: ParsingParameters) -> ParsingExample:
        """Split a text into words, or take a list of words, and look them up; or read a text that is cut by `run`."""
        if self._segmenter is None and parameters.segment:
            message = "this model does not cut text into sentences: leave it out, or set it to false"
            raise InvalidInput(message, ("parameters", "segment"))
        if self._segmenter is not None and isinstance(value, str) and parameters.segment is not False:
            raw = self._segmenter.read(value)
            example = self._reader.uncut(value, parameters)
            example.raw, example.unit = raw, parameters.offsets
        else:
            example = self._reader.read(value, parameters)
        example.conllu = parameters.conllu
        return example

    def run(self, runner: Runner, examples: Sequence[ParsingExample]) -> list[ParsingOutput | TextOutput]:
        def of_texts(texts: Sequence[ParsingExample]) -> Sequence[ParsingOutput | TextOutput]:
            return self._parse_texts(runner, texts)

        return _apart(examples, partial(self._parser.parse, runner), of_texts)

    def _parse_texts(self, runner: Runner, texts: Sequence[ParsingExample]) -> list[TextOutput]:
        cuts, sentences = self._cut(runner, texts)
        outputs = iter(_in_groups([*chain(*sentences)], partial(self._parser.parse, runner)))
        return [
            _text_output(text, cut, its, [next(outputs) for _ in its])
            for text, cut, its in zip(texts, cuts, sentences, strict=True)
        ]

    def _cut(
        self, runner: Runner, texts: Sequence[ParsingExample]
    ) -> tuple[list[list[CutSentence] | None], list[list[ParsingExample]]]:
        """The sentences of each text, and the same looked up."""
        assert self._segmenter is not None, "only a bundle with a segmenter has texts to cut"
        cuts = self._segmenter.cut(runner, [text.raw for text in texts if text.raw is not None])
        sentences = []
        for text, cut in zip(texts, cuts, strict=True):
            hidden: HiddenForm = "plain" if text.hidden else ""
            sentences.append([self._reader.of_words(each.words, hidden) for each in cut or ()])
        return cuts, sentences

    def embed(self, runner: Runner, examples: Sequence[ParsingExample]) -> list[Array]:
        def of_sentences(sentences: Sequence[ParsingExample]) -> list[Array]:
            return self._reader.embed(runner, self._reader.feeds(sentences))

        def of_texts(texts: Sequence[ParsingExample]) -> list[Array]:
            _, sentences = self._cut(runner, texts)
            vectors = iter(_in_groups([*chain(*sentences)], of_sentences))
            return [_mean([next(vectors) for _ in its], its) for its in sentences]

        return _apart(examples, of_sentences, of_texts)

    def plain_answer(self, example: ParsingExample, output: ParsingOutput | TextOutput) -> dict[str, Any]:
        """The answer of `postprocess` as JSON values.

        Raises:
            InferenceFailed: if the scores are not finite.
        """
        if isinstance(output, TextOutput):
            answer = self._text_answer(example, output)
        else:
            places = example.places_of_words()
            answer = {"tokens": self._tokens(example, output, places)}
        if example.conllu:
            answer["conllu"] = answer_conllu(answer)
        if output.hidden is not None:
            answer["hidden"] = finite_numbers(output.hidden)
        return answer

    def _text_answer(self, text: ParsingExample, output: TextOutput) -> dict[str, Any]:
        """The sentences of a text as one list of tokens."""
        if output.cut is None:
            raise InferenceFailed("the model computed scores of characters that are not finite numbers")
        assert text.text is not None, "what was cut is a text"
        places = TextPlaces(text.text, output.cut, text.unit)
        tokens: list[dict[str, Any]] = []
        for sentence, tree, its in zip(output.sentences, output.outputs, places.of_words, strict=True):
            first = len(tokens)
            for token in self._tokens(sentence, tree, its):
                if token["head"] is not None:
                    token["head"] += first
                tokens.append(token)
        return {"tokens": tokens, "sentences": places.sentences, "multiword_tokens": places.multiword_tokens}

    def _tokens(
        self, example: ParsingExample, output: ParsingOutput, places: Sequence[tuple[int | None, int | None]]
    ) -> list[dict[str, Any]]:
        """The words of one sentence. Raises InferenceFailed if a score is not finite."""
        if not output.is_finite:
            raise InferenceFailed("the model computed scores of tags, heads or relations that are not finite numbers")
        tokens = [self._token(example, output, word) for word in range(example.length)]
        for token, (start, end) in zip(tokens, places, strict=True):
            token["start"], token["end"] = start, end
        return tokens

    def _token(self, example: ParsingExample, output: ParsingOutput, word: int) -> dict[str, Any]:
        head = output.heads.ids[word]
        token: dict[str, Any] = {
            "text": example.words[word],
            "tag": self._labels[output.tags.ids[word]],
            "score": output.tags.scores[word],
            "head": head - 1 if head else None,
            "relation": self._options.relations[output.relations.ids[word]],
            "head_score": output.heads.scores[word],
            "relation_score": output.relations.scores[word],
        }
        if output.features is not None:
            token["features"] = self._options.features[output.features[word]]
        if output.lemmas is not None:
            token["lemma"] = output.lemmas[word]
        return token

    def postprocess(self, example: ParsingExample, output: ParsingOutput | TextOutput) -> ParsingAnswer:
        return ParsingAnswer.model_validate(self.plain_answer(example, output))

    def input_statistics(self, example: ParsingExample) -> InputStatistics:
        return input_statistics_of(example.word_ids)

    def answer_statistics(self, plain_answer: dict[str, Any]) -> AnswerStatistics:
        """The tags of the words, and the mean probability of their heads."""
        tokens = plain_answer["tokens"]
        confidence = sum([token["head_score"] for token in tokens]) / len(tokens)
        return AnswerStatistics([token["tag"] for token in tokens], confidence)


def _apart(
    examples: Sequence[ParsingExample],
    of_sentences: Callable[[Sequence[ParsingExample]], Sequence[ResultT]],
    of_texts: Callable[[Sequence[ParsingExample]], Sequence[ResultT]],
) -> list[ResultT]:
    """Results in order, of sentences whose words are known and of texts that are still to be cut."""
    sentences, texts = ([each for each in examples if (each.raw is None) is known] for known in (True, False))
    if not texts:
        return [*of_sentences(sentences)]
    parsed, cut = iter(of_sentences(sentences) if sentences else ()), iter(of_texts(texts))
    return [next(parsed if each.raw is None else cut) for each in examples]


def _in_groups(
    sentences: Sequence[ParsingExample], run: Callable[[Sequence[ParsingExample]], Sequence[ResultT]]
) -> list[ResultT]:
    """Results in order; sentences of similar length are run together, a bounded number of words at once."""
    results: dict[int, ResultT] = {}
    for group in _groups([sentence.length for sentence in sentences]):
        results |= zip(group, run([sentences[place] for place in group]), strict=True)
    return [results[place] for place in range(len(sentences))]


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices by length, in groups whose padded size is bounded, and whose sentences are of similar length."""
    group: list[int] = []
    for place in np.argsort(lengths, kind="stable").tolist():
        is_full = len(group) == _SENTENCES or (len(group) + 1) * lengths[place] > _WORDS
        if group and (is_full or lengths[place] > 2 * lengths[group[0]] + _NEAR):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _text_output(
    text: ParsingExample,
    cut: Sequence[CutSentence] | None,
    sentences: Sequence[ParsingExample],
    outputs: Sequence[ParsingOutput],
) -> TextOutput:
    states = [output.hidden for output in outputs if output.hidden is not None]
    hidden = formed(_mean(states, sentences)[None], [text.hidden])[0] if text.hidden and states else None
    return TextOutput(cut, sentences, outputs, hidden)


def _mean(vectors: Sequence[Array], sentences: Sequence[ParsingExample]) -> Array:
    """The mean over the words of all sentences, from that of each. Raises InferenceFailed if there is none."""
    if not vectors:
        raise InferenceFailed("the model computed scores of characters that are not finite numbers")
    weights = [sentence.length for sentence in sentences]
    return np.asarray(np.average(np.stack(vectors).astype(np.float64), axis=0, weights=weights), dtype=np.float32)

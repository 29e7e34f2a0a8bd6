"""The decoder that a request's parameters give, and the parameters that are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from service.bundle.load import Bundle
from service.bundle.manifest import GraphSpec, Manifest
from service.bundle.task_options import TranscriptionOptions, WaveformSpec
from service.bundle.tokenizer import TextTokenizer
from service.errors import InvalidInput
from service.tasks.core.parameters import check_parameters
from service.tasks.transcription.decoder import FoundKeyword
from service.tasks.transcription.greedy_ctc import GreedyCtc
from service.tasks.transcription.search.decoders import Decoders
from service.tasks.transcription.search.parameters import DEFAULT_BEAMS, SearchParameters
from service.tasks.transcription.search.prefix_beam import PrefixBeamSearch
from service.tasks.transcription.search.spotting import SpottingDecoder
from tests.tasks.builders import vocabulary, word_tokenizer
from tests.tasks.transcription.builders import NO_RUNNER, log_probs_of
from tests.tasks.transcription.search.builders import BigramModel, characters, step_spec

LETTERS = characters("abcdefghijklmnopqrstuvwxyz' ")
DIGITS = word_tokenizer(["zero", "one", "two", "seven", "nine"])


def subwords() -> TextTokenizer:
    tokenizer = Tokenizer(
        models.BPE(vocabulary(["\u2581", "o", "n", "e", "\u2581o", "ne"]), [("\u2581", "o"), ("n", "e")])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return TextTokenizer(tokenizer)


def decoders_of(
    tokenizer: TextTokenizer, unit: str = "character", own: TextTokenizer | None = None, **more: Any
) -> Decoders:
    signal = WaveformSpec(sample_rate_hz=8000, samples_per_step=320)
    options = TranscriptionOptions(signal=signal, step_ms=40, unit=unit, language_model=own is not None, **more)
    graphs = {graph: GraphSpec(file="x", inputs=(), outputs=()) for graph in options.required_graphs}
    tokenizers = {"text": tokenizer}
    if own is not None:
        graphs["language_model"], tokenizers["language_model"] = step_spec(own.vocabulary_size), own
    manifest = Manifest(
        name="test", task="transcription", options=options, graphs=graphs, tokenizers=dict.fromkeys(tokenizers, "x")
    )
    return Decoders(
        Bundle(path=None, manifest=manifest, tokenizers=tokenizers), options, GreedyCtc(tokenizer.vocabulary_size)
    )


def parameters(**given: Any) -> SearchParameters:
    found: SearchParameters = check_parameters(SearchParameters, given)
    return found


def heard(
    made: Decoders, tokens: Sequence[int], probability: float = 0.9, **given: Any
) -> tuple[list[int], tuple[FoundKeyword, ...]]:
    decoder = made.decoder(parameters(**given))
    size = made._tokenizer.vocabulary_size
    (found,) = decoder.advance(NO_RUNNER, [decoder.start()], [log_probs_of(tokens, size, probability)])
    decoded = decoder.best(found, True)
    return [token.token_id for token in decoded.tokens], decoded.keywords


def test_what_nothing_is_asked_of_is_decoded_greedily() -> None:
    """Beams cost time, so they are for requests and models that name them or need them."""
    plain = decoders_of(LETTERS)
    assert isinstance(plain.decoder(parameters()), GreedyCtc)
    assert isinstance(plain.decoder(parameters(num_beams=1)), GreedyCtc)
    assert isinstance(decoders_of(LETTERS, num_beams=4).decoder(parameters(num_beams=1)), GreedyCtc)
    beams = [
        plain.decoder(parameters(num_beams=3)),
        decoders_of(LETTERS, num_beams=4).decoder(parameters()),
        plain.decoder(parameters(vocabulary=["yes"])),
        plain.decoder(parameters(phrases=["yes"], num_beams=1)),
    ]
    assert [one.num_beams for one in beams if isinstance(one, PrefixBeamSearch)] == [3, 4, DEFAULT_BEAMS, 1]
    spotting = plain.decoder(parameters(keywords=["yes"]))
    assert isinstance(spotting, SpottingDecoder)


def test_equal_parameters_share_a_decoder_and_others_have_another_name() -> None:
    """Streams with equal parameters advance together; a state of other parameters is told by its name."""
    made = decoders_of(LETTERS)
    first = made.decoder(parameters(vocabulary=["yes", "no"]))
    assert made.decoder(parameters(vocabulary=["yes", "no"])) is first
    others = [made.decoder(parameters(vocabulary=["yes", "nay"])), made.decoder(parameters(num_beams=4))]
    others += [made.decoder(parameters(keywords=["yes"])), made.decoder(parameters())]
    assert len({one.name for one in (first, *others)}) == 5
    for number in range(100):
        made.decoder(parameters(phrases=[f"a{'b' * (number % 60)}"], phrase_boost=number / 20))
    assert len(made._made) <= 64


def test_word_lists_that_were_sent_once_are_forgotten_and_that_of_a_stream_is_not() -> None:
    """What they hold in memory is bounded by their characters, while a stream compiles its list once."""
    made = decoders_of(LETTERS)
    lists = [[letter * 4 + other * 60 for other in "abcdefghij"] * 100 for letter in "abcd"]
    of_stream = made.decoder(parameters(vocabulary=lists[0]))
    for words in lists[1:]:
        made.decoder(parameters(vocabulary=words))
    assert sum(cost for _, cost in made._made.values()) <= 2 * 64_000
    assert len(made._in_use) == 3
    assert made.decoder(parameters(vocabulary=lists[0])) is of_stream


def test_words_and_keywords_of_models_of_words() -> None:
    """A word list of digits writes nothing else, and a keyword is one token."""
    made = decoders_of(DIGITS, "word")
    seven, nine = 7, 8
    assert heard(made, [0, nine, 0, seven], vocabulary=["Seven", "zero"])[0][-1] == seven
    assert nine not in heard(made, [0, nine, 0, seven], vocabulary=["Seven", "zero"])[0]
    ((keyword, step, _),) = heard(made, [0, nine, nine, 0, seven], keywords=["NINE"])[1]
    assert (keyword, step) == ("NINE", 1)
    assert not heard(made, [0, seven], keywords=["nine", "seven nine"])[1]
    assert heard(made, [0, seven, 0, nine, 0], keywords=["seven  nine"])[1][0].keyword == "seven  nine"


def test_words_of_models_of_subwords_may_be_divided_in_any_way() -> None:
    """`one` is accepted as `_o ne` and as `_ o n e`."""
    made = decoders_of(subwords(), "subword")
    for tokens in ([8, 0, 9], [4, 5, 6, 7]):
        assert heard(made, tokens, vocabulary=["one"])[0] == [token for token in tokens if token]
    assert heard(made, [8, 0, 9, 0, 0], keywords=["one"])[1][0].keyword == "one"


HOSTILE = {
    "empty word": ({"vocabulary": ["yes", ""]}, "vocabulary.1", "empty"),
    "blank word": ({"phrases": [" \t"]}, "phrases.0", "empty"),
    "empty list": ({"vocabulary": []}, "vocabulary", "empty"),
    "characters outside the alphabet": ({"vocabulary": ["naïve"]}, "vocabulary.0", "'ï'"),
    "only strange characters": ({"keywords": ["東京"]}, "keywords.0", "'東', '京'"),
    "digits": ({"phrases": ["route 66"]}, "phrases.0", "'6'"),
    "two words": ({"vocabulary": ["new york"]}, "vocabulary.0", "'new' and 'york'"),
    "long word": ({"vocabulary": ["a" * 65]}, "vocabulary.0", "64 characters"),
    "many words": ({"vocabulary": ["a"] * 1001}, "vocabulary", "1000 items"),
    "many phrases": ({"phrases": ["a"] * 101}, "phrases", "100 items"),
    "no list": ({"keywords": "yes"}, "keywords", "list"),
    "numbers": ({"keywords": [1]}, "keywords.0", "text"),
    "half a surrogate pair": ({"phrases": ["\ud800"]}, "phrases.0", "surrogate"),
    "no beams": ({"num_beams": 0}, "num_beams", "greater than or equal to 1"),
    "many beams": ({"num_beams": 33}, "num_beams", "32"),
    "boost": ({"phrases": ["a"], "phrase_boost": -1.0}, "phrase_boost", "greater"),
    "threshold": ({"keywords": ["a"], "keyword_threshold": 1.5}, "keyword_threshold", "less"),
    "no language model": ({"language_model_weight": 0.5}, "language_model_weight", "no language model"),
}


@pytest.mark.parametrize("form", HOSTILE)
def test_what_cannot_be_searched_for_is_refused_with_its_place(form: str) -> None:
    """The error names the parameter, the item, and what is wrong with it."""
    given, path, said = HOSTILE[form]
    with pytest.raises(InvalidInput) as raised:
        decoders_of(LETTERS).decoder(parameters(**given))
    assert raised.value.field == ("parameters", *(int(part) if part.isdigit() else part for part in path.split(".")))
    assert said in raised.value.message


def test_a_word_that_a_model_of_words_lacks_is_refused_with_the_nearest_one() -> None:
    """The error lists the words, and says which may be meant."""
    with pytest.raises(
        InvalidInput, match=r"'seen' is not a word .* nine, one, seven, two, zero; did you mean 'seven'"
    ):
        decoders_of(DIGITS, "word").decoder(parameters(vocabulary=["seen"]))


def test_odd_but_harmless_lists_are_taken() -> None:
    """Duplicates, capitals and blanks around words change nothing."""
    made = decoders_of(LETTERS)
    text = LETTERS.encode("yes")
    assert heard(made, text, vocabulary=["YES", " yes ", "yes", "Yes"])[0] == text
    assert [one.keyword for one in heard(made, [0, *text, 0], keywords=["Yes", "Yes"])[1]] == ["Yes"]
    thousand = [f"{'q' * 60}{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}{'z' * (n // 676)}" for n in range(1000)]
    assert made.decoder(parameters(vocabulary=thousand, phrases=thousand[:100], keywords=thousand[:100]))


def test_a_transducer_refuses_what_it_has_not() -> None:
    """It is decoded greedily, so that beams and lists would be ignored."""
    made = decoders_of(LETTERS, decoder="transducer")
    assert isinstance(made.decoder(parameters(num_beams=1)), GreedyCtc)
    for given in ({"num_beams": 2}, {"vocabulary": ["a"]}, {"phrases": ["a"]}, {"keywords": ["a"]}):
        with pytest.raises(InvalidInput, match="transducer"):
            made.decoder(parameters(**given))


def test_the_language_model_of_a_bundle_is_used_by_beams_unless_its_weight_is_zero() -> None:
    """Characters that it lacks are unknown to it, and nothing fails."""
    own = characters("abc\n")
    runner = BigramModel(np.zeros((own.vocabulary_size, own.vocabulary_size)))
    made = decoders_of(LETTERS, own=own, num_beams=4, language_model_weight=0.5)
    row = log_probs_of(LETTERS.encode("abz"), LETTERS.vocabulary_size)
    for weight, num_runs in ((None, 4), (0.0, 0)):
        decoder = made.decoder(parameters(language_model_weight=weight) if weight is not None else parameters())
        runner.runs.clear()
        (found,) = decoder.advance(runner, [decoder.start()], [row])
        assert [token.token_id for token in decoder.best(found, True).tokens] == LETTERS.encode("abz")
        assert len(runner.runs) == num_runs

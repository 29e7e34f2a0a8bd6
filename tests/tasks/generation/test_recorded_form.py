"""The recorded form of generation: validation, and conversion to and from plain values."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import InvalidInput
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.recorded_form import GenerationAnswer, GenerationParameters, written_answer
from service.tasks.generation.result import GeneratedText, GenerationResult, PromptScore, PromptToken, Token

TOKEN = Token(5, "b", -0.5, False)
END = Token(3, "<eos>", -1.5, True)
ONE = GeneratedText("b", [5, 3], "eos_token", 7, [TOKEN, END], [[TOKEN], [END]])
RESULT = GenerationResult([ONE], [PromptToken(4, "a", None)], PromptScore(2.0, 1.0))


@pytest.mark.parametrize("shape", [{"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.9}, {"typical_p": 0.9}])
def test_asking_for_a_distribution_is_asking_to_sample(shape: dict[str, Any]) -> None:
    assert GenerationParameters(**shape).samples
    assert not GenerationParameters(temperature=1.0, repetition_penalty=1.5).samples
    assert GenerationParameters.when_absent().samples


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0}, {"temperature": -1}, {"temperature": float("inf")}, {"temperature": float("nan")},
        {"repetition_penalty": 0}, {"frequency_penalty": 2.1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1}, {"top_p": 1.5},
        {"typical_p": 1}, {"max_new_tokens": -1}, {"seed": -1}, {"seed": 2**64}, {"stop": ["a"] * 5}, {"stop": [""]},
        {"stop": "a"}, {"stop": ["\ud800"]}, {"truncate": 0}, {"top_n_tokens": 6}, {"best_of": 0}, {"watermark": True},
        {"grammar": {"type": "json"}}, {"grammar": {"type": "regex", "value": 1}}, {"presence_penalty": -2.1},
        {"logit_bias": {"a": 1.0}}, {"logit_bias": {"5": float("nan")}}, {"logit_bias": {"5": 100.5}},
        {"logit_bias": [5]}, {"logit_bias": dict.fromkeys(map(str, range(1025)), 1.0)}, {"choices": []},
        {"choices": [""]}, {"choices": "ab"}, {"choices": ["a"] * 1001}, {"regex": ""}, {"regex": "a" * 1001},
        {"bad_words": ["a" * 65]}, {"bad_words": ["a"] * 101}, {"adapter_id": "x"}, {"unknown": 1}, {"top_k": "5"},
        {"do_sample": 1},
    ],
)  # fmt: skip
def test_refused_parameters_name_the_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerationParameters.model_validate(wrong)
    assert caught.value.errors()[0]["loc"][0] == next(iter(wrong))


def test_the_whole_parameter_object_of_other_clients_is_accepted() -> None:
    """The full parameter object that other clients send, with most fields null, is accepted."""
    nulls = dict.fromkeys(
        ["best_of", "temperature", "repetition_penalty", "frequency_penalty", "top_k", "top_p", "typical_p", "truncate",
         "return_full_text", "seed", "top_n_tokens", "grammar", "adapter_id", "max_new_tokens"]
    )  # fmt: skip
    flags = {"do_sample": False, "watermark": False, "details": True, "decoder_input_details": False, "stop": []}
    assert not GenerationParameters.model_validate({**nulls, **flags}).samples
    assert GenerationParameters.model_validate(nulls | dict.fromkeys(flags)) == GenerationParameters()


def test_the_best_of_several_texts_has_the_others_in_its_details() -> None:
    """Its tokens are listed inside, to rank the texts, and shown with the details alone."""
    parameters = GenerationParameters(best_of=2, do_sample=True, details=True)
    written = written_answer(GenerationResult([ONE, ONE]), parameters, "a", ["s"])
    assert written == GenerationAnswer.model_validate(written).model_dump(mode="json")
    assert written["state"] == "s"
    (other,) = written["details"]["best_of_sequences"]
    assert other["generated_text"] == written["generated_text"]
    plain = GenerationParameters(best_of=2, do_sample=True)
    assert plain.options.lists_tokens
    assert written_answer(GenerationResult([ONE, ONE]), plain, "a") == {"generated_text": ONE.text}


def test_the_best_of_equal_texts_is_no_choice() -> None:
    GenerationParameters(best_of=1).require_choice()
    GenerationParameters(best_of=2, top_k=3).require_choice()
    with pytest.raises(InvalidInput, match="add do_sample"):
        GenerationParameters(best_of=2).require_choice()


def test_every_parameter_reaches_the_plain_options() -> None:
    rules = {"temperature": 0.5, "repetition_penalty": 1.5, "frequency_penalty": 0.1, "top_k": 4, "top_p": 0.9}
    parameters = GenerationParameters(
        **rules, typical_p=0.8, seed=3, max_new_tokens=9, stop=["x"], truncate=6, details=True, top_n_tokens=2,
        decoder_input_details=True, presence_penalty=0.2, logit_bias={"5": -1.5}, choices=["a", "b"], bad_words=["c"],
    )  # fmt: skip
    assert parameters.options == SamplingOptions(
        **rules, typical_p=0.8, samples=True, seed=3, max_new_tokens=9, stop=["x"], max_prompt_tokens=6,
        lists_tokens=True, num_top_tokens=2, presence_penalty=0.2, logit_bias={5: -1.5}, choices=("a", "b"),
        bad_words=("c",),
    )  # fmt: skip


def test_a_pattern_is_given_as_regex_or_as_grammar() -> None:
    """Clients of text-generation-inference send a regular expression as a grammar; both together are refused."""
    grammar = {"type": "regex", "value": "a+"}
    assert GenerationParameters.model_validate({"regex": "a+"}).options.regex == "a+"
    assert GenerationParameters.model_validate({"grammar": grammar}).options.regex == "a+"
    with pytest.raises(ValidationError, match="leave one of them out"):
        GenerationParameters.model_validate({"grammar": grammar, "regex": "a+"})


def test_the_prompt_is_listed_in_the_details_only() -> None:
    assert not GenerationParameters(decoder_input_details=True).lists_prompt
    assert GenerationParameters(decoder_input_details=True, details=True).lists_prompt


def test_details_are_absent_unless_asked_for() -> None:
    assert written_answer(RESULT, GenerationParameters(), "a") == {"generated_text": "b"}


def test_the_full_text_has_the_prompt_before_it() -> None:
    assert written_answer(RESULT, GenerationParameters(return_full_text=True), "a") == {"generated_text": "ab"}


def test_a_written_answer_is_what_its_model_would_write() -> None:
    """Names, order and values of the JSON match the documented answer, for one text and for several."""
    parameters = GenerationParameters(details=True, decoder_input_details=True, top_n_tokens=1)
    for result, states in ((RESULT, ["s"]), (GenerationResult([ONE, ONE]), ["s", "t"]), (RESULT, [])):
        written = written_answer(result, parameters, "a", states)
        checked = GenerationAnswer.model_validate(written).model_dump(mode="json")
        assert list(_flat(checked)) == list(_flat(written))


def _flat(value: Any, path: str = "") -> Any:
    """All leaves with their paths, in order."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _flat(item, f"{path}.{number}")
    else:
        yield path, value

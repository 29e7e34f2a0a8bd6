"""Constrained translations through the client and a service: the default, the parameter, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from service.client import Client, InvalidInput
from tests.client.conftest import address
from tests.live_server import LiveServer, live_server
from tests.tiny_bundles import write_tiny_bundle
from training.publish.additions.grammar import add_grammar

#: The tiny translator writes letters from a to j: pairs of an a and another letter, at most in brackets of j.
GRAMMAR = 'start: pair+\npair: "a" OTHER | "j" pair "j"\nOTHER: /[b-i]/\n'
TEXT = re.compile(r"(a[b-i]|ja[b-i]j|jja[b-i]jj|jjja[b-i]jjj)+")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    models = tmp_path_factory.mktemp("constrained") / "models"
    add_grammar(write_tiny_bundle(models, "translation", "with-grammar"), GRAMMAR, lambda _line: None)
    write_tiny_bundle(models, "translation", "without")
    with live_server(models) as started:
        yield started


def test_the_parameter_turns_the_grammar_off(server: LiveServer) -> None:
    """Answers parse unless `constrained` is false; many at once as well as one."""
    texts = ["the cat sat", "hello", "one two", "a mat in london"] * 4
    with Client(address(server)) as client:
        bound = client.predict(texts, model="with-grammar", max_new_tokens=9).predictions
        free = client.predict(texts, model="with-grammar", max_new_tokens=9, constrained=False).predictions
        plain = client.predict(texts, model="without", max_new_tokens=9).predictions
    assert all(TEXT.fullmatch(found.text) and len(found.text) < 9 for found in bound)
    assert [found.text for found in free] == [found.text for found in plain]
    assert not all(TEXT.fullmatch(found.text) for found in free)


def test_what_cannot_be_constrained_is_refused_by_its_field(server: LiveServer) -> None:
    """A limit below the shortest text, and a model without a grammar, are errors that name the parameter."""
    with Client(address(server)) as client:
        with pytest.raises(InvalidInput, match=r"max_new_tokens.* shortest answer .* has 3 tokens"):
            client.predict("hello", model="with-grammar", max_new_tokens=2)
        with pytest.raises(InvalidInput, match=r"constrained.* has no grammar"):
            client.predict("hello", model="without", constrained=True)

"""The examples in the guide of the client run as they stand there, in order, with the tiny models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service import client as public
from tests.client.conftest import MOTION, address
from tests.live_server import LiveServer
from tests.tiny_speech_bundle import SPEECH

GUIDE = Path(__file__).parents[2] / "service/docs/python-client.md"
TEXT = GUIDE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
MODELS = {
    "intent-en": "tiny-classifier",
    "ner-en": "tiny-tagger",
    "shakespeare": "tiny-generator",
    "translate-en-de": "tiny-translator",
    "my-tagger": "tiny-tagger-chunks",
    "my-sensor-model": MOTION,
    "speech-en": SPEECH,
}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(number: int, service: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    source = EXAMPLES[number].replace("http://127.0.0.1:8000", address(service))
    for named, tiny in MODELS.items():
        source = source.replace(f'"{named}"', f'"{tiny}"')
    names: dict[str, object] = {"__name__": "__example__"}
    exec(compile(source, f"{GUIDE.name} example {number + 1}", "exec"), names)
    assert capsys.readouterr().out


def test_every_public_method_and_error_is_in_the_guide() -> None:
    methods = {name for name in vars(public.Client) if not name.startswith("_")} - {"close"}
    errors = {name for name in public.__all__ if issubclass(_class(name), public.ClientError)}
    assert EXAMPLES
    assert not {name for name in methods | errors - {"ClientError"} if f"`{name}" not in TEXT}


def _class(name: str) -> type:
    """What is exported under a name; of a union of types, none of its members."""
    found = getattr(public, name)
    return found if isinstance(found, type) else object

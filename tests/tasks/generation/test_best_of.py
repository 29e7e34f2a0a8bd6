"""Of several texts for one prompt, those of highest mean log-probability are the best."""

from __future__ import annotations

from service.tasks.generation.result import GeneratedText, Token, best_of


def text(name: str, *log_probabilities: float) -> GeneratedText:
    tokens = [Token(5, "x", value, False) for value in log_probabilities]
    return GeneratedText(name, [5] * len(tokens), "length", None, tokens)


def names(texts: object, count: int) -> list[str]:
    return [one.text for one in best_of(texts, count)]  # type: ignore[arg-type]


def test_the_mean_decides_and_not_the_sum() -> None:
    """A longer text is not worse for being long."""
    texts = [text("short", -2.0), text("long", -1.0, -1.0, -1.5), text("worst", -9.0)]
    assert names(texts, 1) == ["long"]
    assert names(texts, 2) == ["long", "short"]


def test_of_equals_the_earlier_is_better() -> None:
    """So that the same seeds give the same choice."""
    assert names([text("a", -1.0), text("b", -1.0), text("c", -1.0)], 2) == ["a", "b"]


def test_without_a_choice_the_order_stays_and_no_tokens_are_needed() -> None:
    texts = [text("a"), text("b", -1.0), text("c", -0.5)]
    assert names(texts, 3) == ["a", "b", "c"]

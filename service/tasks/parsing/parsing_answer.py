"""What a caller asks of a parser, and what it answers."""

from __future__ import annotations

from pydantic import Field

from service.tasks.core.sentence import END_OF_PLACE, START_OF_PLACE, SentenceParameters
from service.tasks.core.task import Answer


class ParsingParameters(SentenceParameters):
    """How to count the places of words, whether to cut a text into sentences, and whether to return CoNLL-U."""

    conllu: bool = Field(default=False, description="also return the sentences as CoNLL-U, ten columns a word")
    segment: bool | None = Field(
        default=None,
        description="whether to cut a text into sentences and words by the model; otherwise it is one sentence, cut by "
        "rules; by default true where the model can. Lists of words are one sentence in any case",
    )


class ParsedToken(Answer):
    """A word, its head and their relation."""

    text: str
    tag: str
    score: float = Field(description="probability of the tag, 0 to 1")
    head: int | None = Field(description="index of its head in `tokens`; null for the root of the sentence")
    relation: str = Field(description="to its head, such as nsubj")
    head_score: float = Field(description="probability of the head among the other words and the root, 0 to 1")
    relation_score: float = Field(description="probability of the relation, given the head, 0 to 1")
    features: str | None = Field(
        default=None,
        exclude_if=lambda features: features is None,
        description='morphological features, such as "Case=Nom|Number=Sing", "_" for none; if the model gives them',
    )
    lemma: str | None = Field(
        default=None,
        exclude_if=lambda lemma: lemma is None,
        description="its form in a dictionary, such as go for went; if the model gives it",
    )
    start: int | None = Field(description=START_OF_PLACE)
    end: int | None = Field(description=END_OF_PLACE)


class TextSentence(Answer):
    """A sentence of a text that was cut."""

    start: int = Field(description="where it begins in the input, in code points or the unit that was asked for")
    end: int = Field(description="where it ends, likewise: the place after its last character")
    first_token: int = Field(description="index of its first word in `tokens`")
    num_tokens: int = Field(description="how many words it has")


class MultiwordToken(Answer):
    """A token of a text that is several words, as the French "du" is "de" and "le"."""

    text: str
    start: int = Field(description="where it begins in the input, in code points or the unit that was asked for")
    end: int = Field(description="where it ends, likewise: the place after its last character")
    first_token: int = Field(description="index of its first word in `tokens`")
    num_tokens: int = Field(description="how many words it is")


class ParsingAnswer(Answer):
    """Every word with its head: a tree with one root for each sentence.

    `sentences` and `multiword_tokens` only of a text that the model cut; `conllu` and `hidden` only if requested.
    """

    tokens: list[ParsedToken]
    sentences: list[TextSentence] | None = Field(
        default=None,
        exclude_if=lambda found: found is None,
        description="of a text that the model cut into sentences; `tokens` has the words of all of them",
    )
    multiword_tokens: list[MultiwordToken] | None = Field(
        default=None,
        exclude_if=lambda found: found is None,
        description="of such a text, the tokens that are several words; those have their parts of it as places, or all "
        "of it where they are no parts",
    )
    conllu: str | None = Field(
        default=None, exclude_if=lambda text: text is None, description="the sentences as CoNLL-U, if requested"
    )
    hidden: list[float] | None = Field(
        default=None,
        exclude_if=lambda hidden: hidden is None,
        description="the mean of the hidden states of its words, if requested",
    )

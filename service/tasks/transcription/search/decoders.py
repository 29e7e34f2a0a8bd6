"""The decoder of a request: greedy, or by beam search with what the request expects, with or without keywords.

Decoders are cached by their parameters, so that a word list is compiled once, and so that streams with the same
parameters advance together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from service.bundle.load import Bundle
from service.bundle.task_options import TranscriptionOptions
from service.bundle.tokenizer import UNK
from service.errors import InvalidInput
from service.tasks.transcription.decoder import Decoder
from service.tasks.transcription.search.biasing import Biasing
from service.tasks.transcription.search.keyword_spotter import Keyword, KeywordSpotter
from service.tasks.transcription.search.language_model import GRAPH, LanguageModel
from service.tasks.transcription.search.parameters import DEFAULT_BEAMS, SearchParameters
from service.tasks.transcription.search.phrases import BoostedPhrases
from service.tasks.transcription.search.prefix_beam import PrefixBeamSearch
from service.tasks.transcription.search.spelling import Spelling
from service.tasks.transcription.search.spotting import SpottingDecoder
from service.tasks.transcription.search.word_list import WordList

#: Decoders that are kept for further requests with the same parameters, and characters of all their lists: some 250
#: bytes of memory for each, so 32 MB. Those of open streams are kept by the streams.
_CACHED = 64
_CACHED_CHARACTERS = 1 << 17
#: Silence after which a keyword has ended, where the model writes blanks between words.
_PAUSE_MS = 320.0
#: The same in steps: where the duration of a step is unknown, and for models whose tokens are words.
_PAUSE_STEPS, _PAUSE_STEPS_OF_WORDS = 8, 2
#: Silence within a keyword of several words. A word that is one token is written at one step and sounds beyond it, so
#: that the steps without a token between two such words are those of a pause and of a word.
_LONGEST_PAUSE_MS, _LONGEST_PAUSE_MS_OF_WORDS = 600.0, 1200.0
_USUAL_STEP_MS = 40.0


class Decoders:
    """Makes the decoders of one bundle. `greedy` decodes what asks for nothing else."""

    def __init__(self, bundle: Bundle, options: TranscriptionOptions, greedy: Decoder[Any]) -> None:
        self._options = options
        self._greedy = greedy
        self._tokenizer = bundle.tokenizers["text"]
        self._spelling = Spelling(self._tokenizer, options.unit)
        self._language_model: LanguageModel | None = None
        if options.language_model:
            own = bundle.tokenizers[GRAPH]
            self._language_model = LanguageModel(bundle.manifest.graphs[GRAPH], own, self._tokenizer)
        #: By parameters: decoders, and the characters of their lists.
        self._made: dict[tuple[object, ...], tuple[Decoder[Any], int]] = {}
        self._in_use: WeakValueDictionary[tuple[object, ...], Decoder[Any]] = WeakValueDictionary()

    def decoder(self, parameters: SearchParameters) -> Decoder[Any]:
        """The decoder for a request. Raises InvalidInput, with the path of the parameter."""
        key = parameters.search_key
        found = self._in_use.get(key)
        if found is None:
            found = self._make(parameters)
            self._make_room(parameters.num_characters)
            self._made[key] = found, parameters.num_characters
            self._in_use[key] = found
        return found

    def _make_room(self, num_characters: int) -> None:
        """Forget the oldest decoders until there is room for one whose lists have so many characters."""
        kept = list(self._made.items())
        total = num_characters + sum(cost for _, (_, cost) in kept)
        for number, (key, (_, cost)) in enumerate(kept):
            if total <= _CACHED_CHARACTERS and len(kept) - number < _CACHED:
                return
            self._made.pop(key, None)
            total -= cost

    def _make(self, parameters: SearchParameters) -> Decoder[Any]:
        if self._options.decoder == "transducer":
            return self._of_transducer(parameters)
        digest = hashlib.sha256(repr(parameters.search_key).encode()).hexdigest()[:12]
        decoder = self._of_texts(parameters, digest)
        if not parameters.keywords:
            return decoder
        return SpottingDecoder(decoder, self._spotter(parameters.keywords, parameters.keyword_threshold), digest)

    def _of_texts(self, parameters: SearchParameters, digest: str) -> Decoder[Any]:
        num_beams = parameters.num_beams or self._options.num_beams
        if parameters.num_beams is None and num_beams == 1 and parameters.needs_beams:
            num_beams = DEFAULT_BEAMS
        weight = self._weight(parameters)
        if num_beams == 1 and not parameters.needs_beams:
            return self._greedy
        return PrefixBeamSearch(
            num_beams,
            self._tokenizer.vocabulary_size,
            language_model=self._language_model,
            language_model_weight=weight,
            token_bonus=self._options.token_bonus if weight else 0.0,
            biasing=self._biasing(parameters),
            name=f"beams {digest}",
        )

    def _weight(self, parameters: SearchParameters) -> float:
        asked = parameters.language_model_weight
        if self._language_model is None:
            if asked:
                raise InvalidInput("this model has no language model", ("parameters", "language_model_weight"))
            return 0.0
        return self._options.language_model_weight if asked is None else asked

    def _biasing(self, parameters: SearchParameters) -> Biasing | None:
        if not parameters.vocabulary and not parameters.phrases:
            return None
        begins_with_blank, per_word = self._spelling.begins_with_blank, self._options.unit == "word"
        words = phrases = None
        if parameters.vocabulary:
            words = WordList(self._words(parameters.vocabulary), begins_with_blank)
        if parameters.phrases:
            texts = self._texts(parameters.phrases, "phrases")
            phrases = BoostedPhrases(texts, parameters.phrase_boost, begins_with_blank, per_word)
        return Biasing(self._spelling, words, phrases)

    def _texts(self, texts: Sequence[str], name: str) -> list[str]:
        return [self._spelling.normalized(text, ("parameters", name, place)) for place, text in enumerate(texts)]

    def _words(self, texts: Sequence[str]) -> list[str]:
        words = self._texts(texts, "vocabulary")
        for place, word in enumerate(words):
            if " " in word:
                parts = " and ".join(repr(part) for part in word.split())
                message = f"{word!r} is more than one word; list {parts}, or give it as one of `phrases`"
                raise InvalidInput(message, ("parameters", "vocabulary", place))
        return words

    def _spotter(self, keywords: Sequence[str], threshold: float) -> KeywordSpotter:
        texts, listed = self._texts(keywords, "keywords"), list[Keyword]()
        for place, (name, text) in enumerate(zip(keywords, texts, strict=True)):
            ids = self._ids(text)
            if UNK in ids or not ids:
                raise InvalidInput(f"the tokens of this model cannot spell {name!r}", ("parameters", "keywords", place))
            listed.append(Keyword(name, ids))
        unit = self._options.unit
        begins_word = np.array([text.startswith(" ") for text in self._spelling.texts])
        space_id = self._tokenizer.token_id(" ") if unit == "character" else None
        # A keyword that is listed twice is told once.
        return KeywordSpotter(
            list(dict.fromkeys(listed)),
            threshold,
            begins_word,
            space_id,
            self._pause_steps(unit == "word"),
            self._longest_pause_steps(unit == "word"),
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        if self._options.unit == "word":
            return tuple(self._tokenizer.encode_words(text.split()))
        return tuple(self._tokenizer.encode(text))

    def _pause_steps(self, has_words: bool) -> int:
        if has_words:
            return _PAUSE_STEPS_OF_WORDS
        return max(2, round(_PAUSE_MS / self._options.step_ms)) if self._options.step_ms else _PAUSE_STEPS

    def _longest_pause_steps(self, has_words: bool) -> int:
        pause_ms = _LONGEST_PAUSE_MS_OF_WORDS if has_words else _LONGEST_PAUSE_MS
        return round(pause_ms / (self._options.step_ms or _USUAL_STEP_MS))

    def _of_transducer(self, parameters: SearchParameters) -> Decoder[Any]:
        """A transducer is decoded greedily: what needs the outputs of CTC is refused."""
        for name in ("vocabulary", "phrases", "keywords"):
            if getattr(parameters, name):
                message = "this model is a transducer, which takes none; models with the decoder ctc do"
                raise InvalidInput(message, ("parameters", name))
        if (parameters.num_beams or 1) > 1 or parameters.language_model_weight:
            name = "num_beams" if (parameters.num_beams or 1) > 1 else "language_model_weight"
            raise InvalidInput("this model is a transducer, which is decoded greedily", ("parameters", name))
        return self._greedy

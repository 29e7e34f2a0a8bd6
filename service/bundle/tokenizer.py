"""Tokenizers: text to ids and back, by one class for training, verification and serving."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders

from service.bundle.word_joiners import JOINER, join_words

#: The first ids of every vocabulary. PAD is 0 so that a zeroed array is padding.
PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIAL_TOKENS = ("<pad>", "<unk>", "<bos>", "<eos>")

#: Byte-level tokenizers write printable bytes of Latin-1 as they are, and the n-th other byte as character 256 + n.
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTE_OF_SIGN = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + n): byte for n, byte in enumerate(_OTHERS)}
#: How tokenizers that fall back to bytes spell one.
_ONE_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_REPLACEMENT = "\ufffd"
#: Decoders that turn each token but the first into the same text wherever it stands, if it is whole characters.
_DECODERS_BY_TOKEN = (decoders.ByteLevel, decoders.Fuse, decoders.Metaspace)

#: Normalizers that look at one character, or at one and its combining marks: never across a blank.
_NORMALIZERS = (
    {"type": "NFC"},
    {"type": "Lowercase"},
    {"type": "Replace", "pattern": {"Regex": "[0-9]"}, "content": "0"},
)

_CACHED_WORDS = 100_000
#: Parts of texts between blanks: words with the punctuation beside them.
_CACHED_PARTS = 50_000
#: Longer words are not cached, which bounds the memory of the cache.
_MAX_CACHED_CHARACTERS = 64


class Piece(NamedTuple):
    """A word of a text: `text[start:end] == self.text`, in characters (code points)."""

    text: str
    start: int
    end: int


class PlacedToken(NamedTuple):
    """A token and what it stands for: `text[start:end]`, in characters (code points)."""

    id: int
    start: int
    end: int


class TextTokenizer:
    """A `tokenizers.Tokenizer` whose first ids are the four special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        found = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]
        if found != [PAD, UNK, BOS, EOS]:
            raise ValueError(f"the special tokens {SPECIAL_TOKENS} must have the ids 0 to 3, not {found}")
        self._character_ids = lru_cache(maxsize=_CACHED_WORDS)(self._encode_characters)
        self._known_words: dict[str, int] = {}
        self._texts_after: dict[int, str | None] = {}
        form = json.loads(tokenizer.to_str())
        #: Whether tokens are whole words and marks, rather than parts of words.
        self.reads_words: bool = form["model"]["type"] == "WordLevel"
        self._cuts_at_blanks = _cuts_at_blanks(form["pre_tokenizer"])
        self._reads_parts = self._cuts_at_blanks and _reads_parts(form)
        self._known_parts: dict[str, tuple[int, ...]] = {}
        self._known_cuts: dict[str, tuple[tuple[str, int, int], ...]] = {}

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        """Read `tokenizer.json`. Raises ValueError if it is not one, or lacks the special tokens."""
        try:
            return cls(Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except OSError:
            raise
        except Exception as error:  # the library raises bare Exception for unreadable content
            raise ValueError(f"not a usable tokenizer: {error}") from error

    def save(self, path: Path) -> None:
        path.write_text(self._tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")

    def with_tokens(self, tokens: Sequence[str]) -> TextTokenizer:
        """The same tokenizer with further tokens, whose ids follow its own; those that it knows are left out.

        Raises ValueError for a tokenizer that composes tokens of parts, such as byte-pair encoding.
        """
        form = json.loads(self._tokenizer.to_str())
        if form["model"]["type"] != "WordLevel":
            raise ValueError("only a vocabulary of whole tokens can be added to")
        known = form["model"]["vocab"]
        for token in tokens:
            known.setdefault(token, len(known))
        return TextTokenizer(Tokenizer.from_str(json.dumps(form, ensure_ascii=False)))

    @property
    def looks_up_tokens(self) -> bool:
        """Whether its tokens are whole words or characters, to which `with_tokens` can add."""
        return bool(json.loads(self._tokenizer.to_str())["model"]["type"] == "WordLevel")

    @property
    def vocabulary_size(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def token(self, token_id: int) -> str:
        """A token of the vocabulary by id."""
        return self._tokenizer.id_to_token(token_id) or SPECIAL_TOKENS[UNK]

    def token_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary, spelt as `token` gives it; None if there is none."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    def encode(self, text: str) -> list[int]:
        """Ids of a text: normalised, tokenised and looked up, without special tokens."""
        if not self._reads_parts:
            return self._encode(text)
        parts, known = text.split(" "), self._known_parts
        try:  # in most texts all parts are known
            return list(chain.from_iterable(map(known.__getitem__, parts)))
        except KeyError:
            return list(chain.from_iterable([known.get(part) or self._encode_part(part) for part in parts]))

    def encode_with_tokens(self, text: str) -> tuple[list[int], list[str]]:
        """Like `encode`, with the text of each token."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.ids), list(encoding.tokens)

    def words(self, text: str) -> list[str]:
        """The tokens of a text as they would be looked up: normalised and cut, whether they are known or not."""
        form, cut = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        normal = text if form is None else form.normalize_str(text)
        return [normal] if cut is None else [word for word, _ in cut.pre_tokenize_str(normal)]

    def encode_with_places(self, text: str) -> list[PlacedToken]:
        """Like `encode`, with the place of each token in the text."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [PlacedToken(number, *place) for number, place in zip(encoding.ids, encoding.offsets, strict=True)]

    def pieces(self, text: str) -> list[Piece]:
        """Split a text into words by the pre-tokenizer; white space is dropped, offsets refer to `text`."""
        if not self._cuts_at_blanks:
            return [Piece(*cut) for cut in self._cut(text)]
        known, pieces, place = self._known_cuts, list[Piece](), 0
        for part in text.split(" "):
            for word, start, end in known[part] if part in known else self._cut_part(part):
                pieces.append(Piece(word, place + start, place + end))
            place += len(part) + 1
        return pieces

    def encode_words(self, words: Sequence[str]) -> list[int]:
        """One id per word: normalised, then looked up; UNK if it is not in the vocabulary."""
        known = self._known_words
        return [known[word] if word in known else self._look_up(word) for word in words]

    def encode_characters(self, word: str, limit: int) -> list[int]:
        """Ids of the first `limit` characters of a word; at least one id, so that no word is empty."""
        return list(self._character_ids(word[:limit])) or [UNK]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are skipped, and words are joined where a mark has a joiner."""
        text = str(self._tokenizer.decode([i for i in ids if i > EOS], skip_special_tokens=False))
        return join_words(text.split(" ")).text if JOINER in text else text

    def text_after(self, token_id: int) -> str | None:
        """What a token adds to any text of other tokens; None if that depends on them, or if it adds nothing."""
        known = self._texts_after
        return known[token_id] if token_id in known else known.setdefault(token_id, self._find_text_after(token_id))

    def bytes_of_tokens(self) -> list[bytes]:
        """What each token adds to a text after others, in UTF-8, by id; parts of characters too.

        Empty for special tokens, and for those whose bytes the decoder does not tell.
        """
        ids = range(EOS + 1, self.vocabulary_size)
        if isinstance(self._tokenizer.decoder, decoders.ByteLevel):
            found = [bytes([_BYTE_OF_SIGN.get(sign, 0) for sign in self.token(token_id)]) for token_id in ids]
        else:
            context = self._any_visible()
            start = len(self.decode([context]))
            found = [self._bytes_of(token_id, self.decode([context, token_id])[start:]) for token_id in ids]
        return [b""] * (EOS + 1) + found

    def _any_visible(self) -> int:
        """A token after which others can be decoded: decoders take the space off the first token of a text."""
        ids = range(EOS + 1, self.vocabulary_size)
        return next((one for one in ids if (text := self.decode([one])).strip() and _REPLACEMENT not in text), PAD)

    def _find_text_after(self, token_id: int) -> str | None:
        if not isinstance(self._tokenizer.decoder, _DECODERS_BY_TOKEN):
            return None
        context = self._any_visible()
        added = self.decode([context, token_id])[len(self.decode([context])) :]
        return added if added and _REPLACEMENT not in added else None

    def _bytes_of(self, token_id: int, text: str) -> bytes:
        token = self.token(token_id)
        if _ONE_BYTE.fullmatch(token) and text != token:
            return bytes([int(token[3:5], 16)])
        return b"" if _REPLACEMENT in text and _REPLACEMENT not in token else text.encode()

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _encode_part(self, part: str) -> Sequence[int]:
        """The ids of a part that is not cached yet; they are cached while there is room."""
        ids = tuple(self._encode(part))
        if len(part) <= _MAX_CACHED_CHARACTERS and len(self._known_parts) < _CACHED_PARTS:
            self._known_parts[part] = ids
        return ids

    def _cut(self, text: str) -> Iterator[tuple[str, int, int]]:
        """The words of a text, and where they begin and end."""
        pre_tokenizer = self._tokenizer.pre_tokenizer
        cuts = [(text, (0, len(text)))] if pre_tokenizer is None else pre_tokenizer.pre_tokenize_str(text)
        for _, (start, end) in cuts:
            if text[start:end].strip():
                yield text[start:end], start, end

    def _cut_part(self, part: str) -> Sequence[tuple[str, int, int]]:
        """The words of a part that is not cached yet; they are cached while there is room."""
        cuts = tuple(self._cut(part))
        if len(part) <= _MAX_CACHED_CHARACTERS and len(self._known_cuts) < _CACHED_PARTS:
            self._known_cuts[part] = cuts
        return cuts

    def _look_up(self, word: str) -> int:
        """The id of a word that is not cached yet; it is cached while there is room."""
        word_id = self._word_id(word)
        if len(word) <= _MAX_CACHED_CHARACTERS and len(self._known_words) < _CACHED_WORDS:
            self._known_words[word] = word_id
        return word_id

    def _word_id(self, word: str) -> int:
        normalizer = self._tokenizer.normalizer
        form = word if normalizer is None else normalizer.normalize_str(word)
        token_id = self._tokenizer.token_to_id(form)
        # A word that spells a special token is an unknown word, not that token.
        return UNK if token_id is None or token_id <= EOS else int(token_id)

    def _encode_characters(self, word: str) -> tuple[int, ...]:
        return tuple(self._word_id(character) for character in word)


def _cuts_at_blanks(pre_tokenizer: Mapping[str, Any] | None) -> bool:
    """Whether what is between two blanks is cut by itself, by the serialised form of the pre-tokenizer."""
    if pre_tokenizer is None:
        return False
    steps = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    return [step["type"] for step in steps[:1]] == ["WhitespaceSplit"]


def _reads_parts(form: Mapping[str, Any]) -> bool:
    """Whether a text that is cut at blanks has the ids of its parts, one after the other, by the serialised form."""
    normalizer = form["normalizer"]
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    special = [token["content"] for token in form["added_tokens"]]
    is_plain = form["post_processor"] is None and form["truncation"] is None and form["padding"] is None
    return is_plain and all(step in _NORMALIZERS for step in steps) and not any(" " in token for token in special)

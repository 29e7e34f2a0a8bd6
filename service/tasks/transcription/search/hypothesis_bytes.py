"""Hypotheses of prefix beam search as bytes, for the state of a stream.

All numbers are little-endian and stand without gaps: counts; the tokens of all alignments, each with the place of the
one before it, so that what alignments share is stored once; the texts; and the states of the language model before the
last token of each text.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.bundle.padding import Array
from service.bundle.tokenizer import EOS
from service.tasks.core.state_bytes import malformed
from service.tasks.transcription.decoder import Token
from service.tasks.transcription.search.biasing import Biasing, Context
from service.tasks.transcription.search.hypotheses import NOTHING, ROOT_KEY, Alignments, Hypotheses, Prefix, Written
from service.tasks.transcription.search.language_model import LanguageModel, LanguagePoint

#: Steps, quiet steps, best token of the last step, tokens, texts, states of the language model; and `Hypotheses.base`.
_COUNTS = struct.Struct("<IIIIIId")
#: `before` and the alignments of a text are places in the list of tokens, -1 for none.
_WRITTEN = np.dtype([("token_id", "<i4"), ("step", "<i4"), ("before", "<i4"), ("log_prob", "<f8")])
_TEXT = np.dtype(
    [
        ("key", "<i8"),
        ("parent_key", "<i8"),
        ("last_id", "<i4"),
        ("words", "<i4"),
        ("phrases", "<i4"),
        ("in_blank", "<i4"),
        ("in_token", "<i4"),
        ("point", "<i4"),
        ("extra", "<f8"),
        ("scores", "<f8", (4,)),
    ]
)
_FLOAT = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class HypothesisBytes:
    """Writes and reads the hypotheses of one decoder."""

    num_beams: int
    vocabulary_size: int
    language_model: LanguageModel | None
    biasing: Biasing | None

    def write(self, hypotheses: Hypotheses) -> bytes:
        """Equal hypotheses give equal bytes."""
        places: dict[int, int] = {}
        written: list[tuple[int, int, int, float]] = []
        for alignments in hypotheses.alignments:
            for path in alignments:
                _place(path, places, written)
        points = [prefix.point for prefix in hypotheses.prefixes if prefix.point is not None]
        befores = {id(point.before): point.before for point in points}
        numbers = {key: number for number, key in enumerate(befores)}
        texts = np.zeros(len(hypotheses.prefixes), _TEXT)
        for row, (prefix, alignments) in enumerate(zip(hypotheses.prefixes, hypotheses.alignments, strict=True)):
            in_blank, in_token = (places.get(id(path), -1) for path in alignments)
            point = -1 if prefix.point is None else numbers[id(prefix.point.before)]
            scores = tuple(hypotheses.scores[:, row])
            head = (prefix.key, prefix.parent_key, prefix.last_id, *prefix.context)
            texts[row] = (*head, in_blank, in_token, point, prefix.extra, scores)
        counts = _COUNTS.pack(
            hypotheses.num_steps,
            hypotheses.num_quiet,
            hypotheses.top_id,
            len(written),
            len(texts),
            len(befores),
            hypotheses.base,
        )
        states = [np.asarray(tensor, dtype=_FLOAT).tobytes() for before in befores.values() for tensor in before]
        return b"".join([counts, np.array(written, _WRITTEN).tobytes(), texts.tobytes(), *states])

    def read(self, data: bytes, max_steps: int) -> Hypotheses:
        """The inverse of `write`. Raises StateRefused for bytes that `write` does not give within `max_steps`."""
        start = _COUNTS.size
        if len(data) < start:
            raise malformed("its hypotheses are cut off")
        num_steps, num_quiet, top_id, num_written, num_texts, num_states, base = _COUNTS.unpack_from(data)
        is_counted = num_quiet <= num_steps <= max_steps and top_id < self.vocabulary_size
        if not is_counted or not 0 < num_texts <= self.num_beams or not np.isfinite(base):
            raise malformed(f"no hypotheses are {num_texts} texts after {num_steps} steps, {num_quiet} of them quiet")
        width = 0 if self.language_model is None else sum(map(_size, self.language_model.state_shapes))
        sizes = num_written * _WRITTEN.itemsize, num_texts * _TEXT.itemsize, num_states * width * _FLOAT.itemsize
        if len(data) != start + sum(sizes):
            raise malformed(f"its hypotheses have {len(data) - start} bytes where {sum(sizes)} belong")
        written = self._read_written(np.frombuffer(data, _WRITTEN, num_written, start), num_steps)
        texts = np.frombuffer(data, _TEXT, num_texts, start + sizes[0])
        self._check_texts(texts, num_written, num_states)
        states = self._read_states(np.frombuffer(data, _FLOAT, num_states * width, start + sizes[0] + sizes[1]))
        prefixes = tuple(self._prefix(text, states) for text in texts)
        alignments = tuple(
            Alignments(_at(written, int(text["in_blank"])), _at(written, int(text["in_token"]))) for text in texts
        )
        scores = np.ascontiguousarray(texts["scores"].T)
        return Hypotheses(prefixes, alignments, scores, base, top_id, num_steps, num_quiet)

    def _read_written(self, rows: Array, num_steps: int) -> list[Written]:
        ids, steps = rows["token_id"], rows["step"]
        is_token = (ids > EOS) & (ids < self.vocabulary_size) & (steps >= 0) & (steps < num_steps)
        is_linked = (rows["before"] >= -1) & (rows["before"] < np.arange(len(rows)))
        if not (is_token & is_linked & np.isfinite(rows["log_prob"]) & (rows["log_prob"] <= 0)).all():
            raise malformed("an alignment has a token that is not of this model, or of no step")
        written: list[Written] = []
        for token_id, step, before, log_prob in rows.tolist():
            written.append(Written(Token(token_id, step, log_prob), _at(written, before)))
        return written

    def _check_texts(self, texts: Array, num_written: int, num_states: int) -> None:
        num_words, num_phrases = self.biasing.sizes if self.biasing is not None else (1, 1)
        is_placed = (texts["words"] >= 0) & (texts["words"] < num_words)
        is_placed &= (texts["phrases"] >= 0) & (texts["phrases"] < num_phrases)
        is_token = (texts["last_id"] > EOS) | (texts["key"] == ROOT_KEY)
        is_token &= (texts["last_id"] >= NOTHING) & (texts["last_id"] < self.vocabulary_size)
        least = -1 if self.language_model is None else 0
        is_linked = (texts["point"] >= least) & (texts["point"] < max(num_states, least + 1 if least else 0))
        for name in ("in_blank", "in_token"):
            is_linked &= (texts[name] >= -1) & (texts[name] < num_written)
        is_number = np.isfinite(texts["extra"]) & ~np.isnan(texts["scores"]).any(axis=1)
        is_number &= np.isfinite(texts["scores"].max(axis=1))
        if not (is_placed & is_token & is_linked & is_number).all():
            raise malformed("a text of its hypotheses is not one of this decoder")

    def _read_states(self, values: Array) -> list[tuple[Array, ...]]:
        if not np.isfinite(values).all():
            raise malformed("a state of its language model has numbers that are not finite")
        if self.language_model is None or not len(values):
            return []
        shapes = self.language_model.state_shapes
        rows = values.reshape(-1, sum(map(_size, shapes)))
        edges = np.cumsum([0, *map(_size, shapes)])
        return [
            tuple(row[a:b].reshape(shape) for a, b, shape in zip(edges[:-1], edges[1:], shapes, strict=True))
            for row in rows
        ]

    def _prefix(self, text: Array, states: Sequence[tuple[Array, ...]]) -> Prefix:
        key, last_id = int(text["key"]), int(text["last_id"])
        context = Context(int(text["words"]), int(text["phrases"]))
        point = None
        if self.language_model is not None:
            of_model = self.language_model.start_id if key == ROOT_KEY else int(self.language_model.ids[last_id])
            point = LanguagePoint(states[int(text["point"])], of_model)
        return Prefix(key, int(text["parent_key"]), last_id, float(text["extra"]), context, point)


def _place(path: Written | None, places: dict[int, int], written: list[tuple[int, int, int, float]]) -> None:
    """Append the tokens of an alignment that are not in the list yet, the first one first."""
    new: list[Written] = []
    while path is not None and id(path) not in places:
        new.append(path)
        path = path.before
    for one in reversed(new):
        before = -1 if one.before is None else places[id(one.before)]
        places[id(one)] = len(written)
        written.append((*one.token[:2], before, one.token.log_prob))


def _at(written: Sequence[Written], place: int) -> Written | None:
    return written[place] if place >= 0 else None


def _size(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1]

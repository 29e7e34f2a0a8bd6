"""New words and new labels for a network that has learned: ids after the old ones, weights that change no old answer.

A new word starts with the vector of the unknown word, which is what it was read as before; a new label with the mean of
the weights of all old ones, so that it never scores above the best of them until it is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from service.bundle.tokenizer import SPECIAL_TOKENS, UNK, TextTokenizer
from training.config.recipe import ConfigFault
from training.networks.network import Network
from training.preprocessing.vocabulary import Vocabulary

#: Names that a sentence shows.
_MAX_SHOWN = 8
#: Above this share of pieces of the new texts that a tokenizer cannot spell, it is the wrong one.
_MAX_UNKNOWN = 0.2


@dataclass(frozen=True)
class Grown:
    """A vocabulary with all that the old one has, in its order, and sentences about what is new."""

    vocabulary: Vocabulary
    remarks: tuple[str, ...]


def grown_vocabulary(
    old: Vocabulary, fresh: Vocabulary, title: str, *, words: bool = True, kept: Collection[str] = ()
) -> Grown:
    """`old` with the labels and, with `words`, the words and characters of `fresh`, which was fitted on new data.

    The label sets called `kept` stay as they are.

    Raises:
        ConfigFault: a tokenizer of subwords cannot spell the new texts.
    """
    tokenizers, remarks = dict(old.tokenizers), list[str]()
    grown: dict[int, TextTokenizer] = {}
    for role, tokenizer in old.tokenizers.items():
        if tokenizer.looks_up_tokens and words:
            grown[id(tokenizer)] = tokenizer.with_tokens(_tokens(fresh.tokenizers[role]))
            num_new = grown[id(tokenizer)].vocabulary_size - tokenizer.vocabulary_size
            remarks += [f"{num_new:,} tokens ({role}) are new to {title}: added"] if num_new else []
        elif id(tokenizer) not in grown:
            grown[id(tokenizer)] = tokenizer
            if not tokenizer.looks_up_tokens:
                remarks += _unspelt(tokenizer, fresh.tokenizers[role], title)
        tokenizers[role] = grown[id(tokenizer)]
    sets = {
        name: labels if name in kept else _joined(labels, fresh.label_sets.get(name, ()))
        for name, labels in old.label_sets.items()
    }
    labels, text_labels = _joined(old.labels, fresh.labels), _joined(old.text_labels, fresh.text_labels)
    for name, before, after in (
        ("label", old.labels, labels),
        ("label of whole texts", old.text_labels, text_labels),
        *((f"label of {name}", old.label_sets[name], sets[name]) for name in sets),
    ):
        remarks += _about_labels(name, before, after, title)
    if old.labels and not set(old.labels) & set(fresh.labels):
        remarks.append(f"no label of {title} is in train: without --replay it forgets them")
    grown_sets = replace(old, tokenizers=tokenizers, labels=labels, text_labels=text_labels, label_sets=sets)
    return Grown(grown_sets, tuple(remarks))


def grow_weights(network: Network, old: Network, before: Vocabulary, after: Vocabulary) -> None:
    """Give `network`, built with the vocabulary `after`, the weights of `old`, built with `before`.

    Raises ValueError, with the name of a weight, where the networks differ in more than words and labels.
    """
    theirs, own = _weights(old), _weights(network)
    if theirs.keys() != own.keys():
        raise ValueError(min(theirs.keys() ^ own.keys()))
    transitions = old.transitions()
    for name, tensor in own.items():
        _adopt(name, tensor, theirs[name], _sizes(before, after), boundary=theirs[name] is transitions)


def adopt_body(
    network: Network, old: Network, renamed: Callable[[str], str], before: Vocabulary, after: Vocabulary
) -> None:
    """Give `network` those weights of a language model that `renamed` has a name for; all others stay random.

    Raises ValueError, with the name of a weight, where it is missing or of another shape.
    """
    own = _weights(network)
    for name, values in _weights(old).items():
        target = renamed(name)
        if target and target not in own:
            raise ValueError(target)
        if target:
            _adopt(target, own[target], values, _sizes(before, after), boundary=False)


def _weights(network: Network) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


@torch.no_grad()
def _adopt(name: str, tensor: Tensor, values: Tensor, sizes: Sequence[_Size], *, boundary: bool) -> None:
    for axis in range(values.dim() if values.dim() == tensor.dim() else 0):
        if values.shape[axis] != tensor.shape[axis]:
            values = _longer(values, axis, tensor.shape[axis], sizes, boundary=boundary)
    if values.shape != tensor.shape:
        raise ValueError(name)
    tensor.copy_(values)


@dataclass(frozen=True)
class _Size:
    """Rows before and after of what a vocabulary numbers; new ones start as the unknown word does, or as the mean."""

    before: int
    after: int
    as_unknown: bool


def _sizes(before: Vocabulary, after: Vocabulary) -> list[_Size]:
    tokens = [
        _Size(tokenizer.vocabulary_size, after.tokenizers[role].vocabulary_size, True)
        for role, tokenizer in before.tokenizers.items()
    ]
    pairs = [(before.labels, after.labels), (before.text_labels, after.text_labels)]
    pairs += [(labels, after.label_sets[name]) for name, labels in before.label_sets.items()]
    return [*tokens, *(_Size(len(old), len(new), False) for old, new in pairs if old)]


def _longer(values: Tensor, axis: int, length: int, sizes: Sequence[_Size], *, boundary: bool) -> Tensor:
    """`values` with rows for what is new along an axis; unchanged where the axis is not that of a vocabulary.

    One row may have several places, as that of a relation of a parser has. With `boundary` the last row, which is that
    of the beginning or end, stays the last.
    """
    edge = int(boundary)
    for size in sizes:
        places = (values.shape[axis] - edge) // size.before
        if (places * size.before, places * size.after) == (values.shape[axis] - edge, length - edge):
            inner = values.narrow(axis, 0, values.shape[axis] - edge)
            rows = inner.movedim(axis, 0).unflatten(0, (size.before, places))
            first = rows[UNK : UNK + 1] if size.as_unknown else rows.mean(dim=0, keepdim=True)
            repeated = first.expand(size.after - size.before, *first.shape[1:])
            whole = torch.cat([rows, repeated]).flatten(0, 1).movedim(0, axis)
            return torch.cat([whole, values.narrow(axis, values.shape[axis] - edge, edge)], dim=axis)
    return values


def _tokens(tokenizer: TextTokenizer) -> list[str]:
    """The tokens of a vocabulary in id order, without the special ones."""
    return [tokenizer.token(token_id) for token_id in range(len(SPECIAL_TOKENS), tokenizer.vocabulary_size)]


def _unspelt(tokenizer: TextTokenizer, fresh: TextTokenizer, title: str) -> list[str]:
    """A sentence about pieces of the new texts that a tokenizer of subwords cannot spell.

    Raises ConfigFault if they are many.
    """
    pieces = [fresh.decode([token_id]) for token_id in range(len(SPECIAL_TOKENS), fresh.vocabulary_size)]
    unknown = [piece for piece in pieces if UNK in tokenizer.encode(piece)]
    if not unknown:
        return []
    sentence = f"the tokenizer of {title} cannot spell {len(unknown):,} of {len(pieces):,} pieces of train: "
    sentence += _listed(unknown)
    if len(unknown) > _MAX_UNKNOWN * len(pieces):
        raise ConfigFault(f"start.model: {sentence}; subwords cannot be added: train anew")
    return [f"warning: {sentence}"]


def _joined(old: Sequence[str], new: Iterable[str]) -> tuple[str, ...]:
    return (*old, *sorted(set(new) - set(old)))


def _about_labels(name: str, before: Sequence[str], after: Sequence[str], title: str) -> list[str]:
    added = after[len(before) :]
    if not added or not before:  # a language model has no labels
        return []
    return [f"{title} has not the {name}{'s' * (len(added) > 1)} {_listed(added)}: added"]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_SHOWN
    return ", ".join(names[:_MAX_SHOWN]) + (f" and {more:,} more" if more > 0 else "")

"""Two bundles beside each other, by their manifests and vocabularies alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from service.bundle.load import Bundle, load_bundle
from service.bundle.manifest import Manifest
from service.errors import InvalidInput

#: Names that a row shows.
_MAX_SHOWN = 10


class Difference(NamedTuple):
    """One fact of both bundles; what they agree on has the same text on both sides."""

    fact: str
    first: str
    second: str

    @property
    def is_one(self) -> bool:
        """Whether the two differ."""
        return self.first != self.second


def compared_bundles(first: Path, second: Path) -> list[Difference]:
    """Every fact of two bundles of one task, in the order of a reader's interest.

    Raises:
        InvalidInput: the bundles are for different tasks.
        BundleError: one of them cannot be used.
    """
    bundles = load_bundle(first), load_bundle(second)
    left, right = (bundle.manifest for bundle in bundles)
    if left.task != right.task:
        raise InvalidInput(f"{first} is for {left.task}, {second} for {right.task}: only models of one task compare")
    facts = [_facts(bundle) for bundle in bundles]
    names = dict.fromkeys([*facts[0], *facts[1]])
    rows = [Difference(name, *(each.get(name, "none") for each in facts)) for name in names]
    return [*rows, *_sets(left, right), *_vocabularies(*bundles), *_scores(left, right)]


def _facts(bundle: Bundle) -> dict[str, str]:
    manifest = bundle.manifest
    training, parent = manifest.training, manifest.training.parent
    size = sum((bundle.path / file).stat().st_size for file in manifest.files)
    options = manifest.options.model_dump(mode="json")
    limits = manifest.limits.model_dump()
    return {
        "finished": training.finished_at or "not recorded",
        "started from": f"{parent.name} {parent.version}".strip() if parent else "random weights",
        "data": " + ".join(source.name for source in training.data) or "not recorded",
        "weights": f"{training.parameters:,}",
        "graphs (sha256)": " ".join(manifest.files[spec.file][:8] for spec in manifest.graphs.values()),
        "size": f"{size / 1e6:.1f} MB",
        "labels": str(len(manifest.labels)),
        **{f"vocabulary of {role}": f"{each.vocabulary_size:,}" for role, each in sorted(bundle.tokenizers.items())},
        **{f"option {key}": str(value) for key, value in options.items() if isinstance(value, str | int | float)},
        **{f"limit {key}": f"{value:,}" for key, value in limits.items()},
        "faster forms": ", ".join(manifest.variants) or "none",
    }


def _sets(left: Manifest, right: Manifest) -> Iterator[Difference]:
    """Labels that only one of both has."""
    for name in ("labels", "text_labels"):
        yield from _only(name.replace("_", " "), getattr(left, name), getattr(right, name))


def _vocabularies(left: Bundle, right: Bundle) -> Iterator[Difference]:
    """Tokens that only one of both has, by the role of their tokenizer."""
    for role in sorted(left.tokenizers.keys() & right.tokenizers.keys()):
        tokens = [
            [tokenizer.token(number) for number in range(tokenizer.vocabulary_size)]
            for tokenizer in (left.tokenizers[role], right.tokenizers[role])
        ]
        yield from _only(f"tokens of {role}", *tokens)


def _only(name: str, first: Sequence[str], second: Sequence[str]) -> Iterator[Difference]:
    known = set(first), set(second)
    alone = [label for label in first if label not in known[1]], [label for label in second if label not in known[0]]
    if any(alone):
        yield Difference(f"{name} of one alone", *map(_listed, alone))


def _scores(left: Manifest, right: Manifest) -> Iterator[Difference]:
    """Scores by measure and split. Those of different data do not compare: the row of the data tells."""
    found = [{(score.measure, score.split): score.value for score in each.scores} for each in (left, right)]
    for key in dict.fromkeys([*found[0], *found[1]]):
        yield Difference(f"{key[0]} on {key[1]}", *(_number(each, key) for each in found))


def _number(scores: Mapping[tuple[str, str], float], key: tuple[str, str]) -> str:
    return f"{scores[key]:.2f}" if key in scores else "none"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_SHOWN
    return f"{len(names):,}: {', '.join(names[:_MAX_SHOWN])}" + " ..." * (more > 0) if names else "none"

"""What a person should know of a bundle before it is used: what it is, its licences, scores, and who signed it."""

from __future__ import annotations

from typing import Any

from service.bundle.manifest import Manifest, Score
from service.bundle.models_folder import printable
from service.hub.pull import Found

_MAX_CHARACTERS = 200
#: Of data sets, and of scores: far above those of any bundle.
_MAX_LINES = 20


def lines_about(manifest: Manifest, digest: str) -> list[str]:
    """What a bundle is, line by line; whatever it says of itself is made printable."""
    about = [manifest.task, manifest.language, manifest.description]
    lines = [
        f"{manifest.name}, version {manifest.version}: {_plain(', '.join(part for part in about if part))}",
        f"  digest    sha256:{digest}",
        f"  licence   {_plain(manifest.licence) or 'NOT STATED'}",
    ]
    for source in manifest.training.data[:_MAX_LINES]:
        attribution = f" ({_plain(source.attribution)})" if source.attribution else ""
        lines.append(
            f"  data      {_plain(source.name)}: {_plain(source.licence) or 'licence not stated'}{attribution}"
        )
    return [*lines, *(f"  score     {_plain(_score(score))}" for score in manifest.scores[:_MAX_LINES])]


def lines_of(found: Found) -> list[str]:
    """The same of a bundle that was found at an address, and who signed it."""
    return [*lines_about(found.manifest, found.digest), f"  signature {found.signature}"]


def in_short(found: Found) -> str:
    """Licence, first score and signature in one line."""
    licence = _plain(found.manifest.licence) or "NOT STATED"
    scores = [_plain(_score(score)) for score in found.manifest.scores[:1]] or ["no score"]
    return f"licence: {licence}; {scores[0]}; {found.signature}"


def record_of(found: Found) -> dict[str, Any]:
    """The same as values in JSON."""
    manifest = found.manifest
    return {
        "address": str(found.address),
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "language": manifest.language,
        "licence": manifest.licence,
        "digest": f"sha256:{found.digest}",
        "signature": {"state": found.signature.state, "key": found.signature.key},
        "data": [{"name": source.name, "licence": source.licence} for source in manifest.training.data],
        "scores": [score.model_dump() for score in manifest.scores],
    }


def _score(score: Score) -> str:
    beside = "" if score.baseline is None else f", baseline {score.baseline:g} {score.baseline_name}".rstrip()
    return f"{score.measure} {score.value:g} ({score.split}{beside})"


def _plain(text: str) -> str:
    return printable(text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…")

"""What was understood of a model, in plain words, for the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from training.importing.understanding import Understanding


def report(understanding: Understanding) -> str:
    """What was found, what was changed, what is not possible and why, and the proof."""
    parts = [
        ("found", understanding.found),
        ("changed", understanding.mended),
        ("not possible", understanding.missing),
        ("served as", [_served(understanding)]),
        ("proof", [f"{check}: largest difference {value:.1e}" for check, value in understanding.proof.checks.items()]),
    ]
    return "\n".join(_part(title, sentences) for title, sentences in parts if sentences)


def report_json(understanding: Understanding, published: Path | None = None) -> str:
    """The same as one JSON object, with the folder of the bundle where one was published."""
    draft = understanding.draft
    facts = {
        "found": understanding.found,
        "changed": understanding.mended,
        "not_possible": understanding.missing,
        "has_lengths": draft.has_lengths,
        "reads_chunks": bool(draft.state),
        "fixed_length": draft.foreign.fixed_steps,
        "graph": draft.spec.model_dump(mode="json"),
        "state": [part.model_dump(mode="json") for part in draft.state],
        "proof": understanding.proof.checks,
        **({} if published is None else {"path": str(published)}),
    }
    return json.dumps(facts, ensure_ascii=False)


def _served(understanding: Understanding) -> str:
    draft = understanding.draft
    batches = "in batches of mixed lengths" if draft.has_lengths else "in batches of equal length"
    if draft.foreign.fixed_steps is not None:
        batches = f"in batches of {draft.foreign.fixed_steps} steps each"
    chunks = "in chunks and step by step" if draft.state else "as a whole"
    return f"{batches if draft.over_time or draft.foreign.fixed_steps else 'in batches'}; {chunks}"


def _part(title: str, sentences: Sequence[str]) -> str:
    return "\n".join([f"{title}:", *(f"  {sentence}" for sentence in sentences)])

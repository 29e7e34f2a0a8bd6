"""The card of an imported bundle: what it takes and gives, what was found, changed and not possible, and the proof."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence

from service.bundle.load import Example
from service.bundle.manifest import GraphSpec, Manifest, TensorSpec
from service.bundle.task_options import TensorNote, TensorsOptions
from training.importing.understanding import Understanding
from training.publish.model_card import MAX_ANSWER_CHARACTERS, MAX_REQUEST_CHARACTERS, NOT_FOR, SERVICE

_CHUNKS = (
    "It reads forward only: an input can be sent in chunks or step by step. Ask for `return_state`, and send the "
    "`state` of the answer with the next chunk; or send it over `/stream`."
)
_WHOLE = "It reads its input as a whole, which cannot be sent in chunks."


def import_card(manifest: Manifest, example: Example, understanding: Understanding, source: str) -> str:
    """The card in Markdown; `source` names the file that the model came from."""
    sections = [
        ("How to call it", _calling(manifest, example)),
        ("Inputs and outputs", _edges(manifest)),
        ("What was found", _list(understanding.found)),
        ("What was changed", _list(understanding.mended) or "Nothing."),
        ("What is not possible", _list(understanding.missing) or "Nothing was found that is not."),
        ("Parity with the original", _parity(manifest)),
        ("Intended use", f"What its makers intend. {NOT_FOR}"),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"# {manifest.name}, version {manifest.version}\n\n{_introduction(manifest, source)}\n\n{body}\n"


def _introduction(manifest: Manifest, source: str) -> str:
    licence = f"Licence: {manifest.licence}." if manifest.licence else "The licence of its weights is not stated."
    made = ", ".join(f"{name} {version}".strip() for name, version in manifest.training.library_versions.items())
    origin = f"Imported from `{source}` ({made}): {manifest.training.parameters:,} weights, trained elsewhere."
    return "\n\n".join(part for part in (manifest.description, origin, licence) if part)


def _calling(manifest: Manifest, example: Example) -> str:
    body = json.dumps({"model": manifest.name, "inputs": example.inputs}, ensure_ascii=False)
    is_long = len(body) > MAX_REQUEST_CHARACTERS
    sent = "@request.json" if is_long else shlex.quote(body)
    lines = [f"curl -s {SERVICE}/predict -H 'Content-Type: application/json' \\", f"  -d {sent}"]
    answer = json.dumps(example.answer, ensure_ascii=False)
    shown = f"The answer:\n\n```json\n{answer}\n```" if len(answer) <= MAX_ANSWER_CHARACTERS else ""
    more = "`examples.jsonl` beside this card has inputs, with the answers of the original."
    chunks = _CHUNKS if manifest.reads_chunks else _WHOLE
    return "\n\n".join(part for part in ("```sh\n" + "\n".join(lines) + "\n```", shown, more, chunks) if part)


def _edges(manifest: Manifest) -> str:
    (graph,) = manifest.graphs.values()
    notes = manifest.options.notes if isinstance(manifest.options, TensorsOptions) else {}
    rows = [(kind, *_row(tensor, notes.get(tensor.name))) for kind, tensor in _tensors(graph, manifest)]
    header = ["| | name | numbers | axes | note |", "|---|---|---|---|---|"]
    most = f"At most {manifest.limits.max_input_tokens} steps of time in one input; longer input is refused, never cut."
    return "\n".join([*header, *(f"| {' | '.join(row)} |" for row in rows), "", most])


def _tensors(graph: GraphSpec, manifest: Manifest) -> Iterable[tuple[str, TensorSpec]]:
    states = {part.name for part in manifest.state}
    nexts = {part.next_name for part in manifest.state}
    yield from (("state" if tensor.name in states else "input", tensor) for tensor in graph.inputs)
    yield from (("output", tensor) for tensor in graph.outputs if tensor.name not in nexts)


def _row(tensor: TensorSpec, note: TensorNote | None) -> tuple[str, str, str, str]:
    said = "" if note is None else note.description.replace("|", "/")
    if note is not None and note.maximum is not None and note.minimum is not None:
        said = f"{said} {note.minimum:g} to {note.maximum:g}".strip()
    return f"`{tensor.name}`", tensor.dtype, f"[{', '.join(map(str, tensor.shape))}]", said


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _parity(manifest: Manifest) -> str:
    parity = manifest.parity
    if parity is None:
        return "Not verified."
    text = (
        "The bundle's graph was compared with the original, run row by row, and with itself in other batches and in "
        f"chunks, on the CPU. A difference up to {parity.tolerance:g}, relative to the size of the number where that "
        "is above 1, was allowed."
    )
    rows = [f"| {name} | {difference:.1e} |" for name, difference in parity.checks.items()]
    return "\n".join([text, "", "| check | largest difference |", "|---|---|", *rows])

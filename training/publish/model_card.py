"""Model card: `README.md` of a bundle, written from its manifest."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from service.bundle.load import Example
from service.bundle.manifest import DataSource, Manifest, ParentModel, Score, Variant, VariantName
from service.tasks.catalogue import TASKS
from training.evaluation.task import CardTexts
from training.evaluation.tasks.card_texts import listed
from training.evaluation.tasks.catalogue import evaluation_task

#: The default address of the service.
SERVICE = "http://127.0.0.1:8000"
#: Longer answers are only in `examples.jsonl`.
MAX_ANSWER_CHARACTERS = 1500
#: Longer requests are shown as a file.
MAX_REQUEST_CHARACTERS = 1500
LONG_REQUEST = (
    '`request.json` holds `{{"model": "{name}", "inputs": ...}}`; inputs to try stand in `examples.jsonl` beside this '
    "card, one a line, with the answers to expect."
)
#: Scores below this are shown with one more decimal.
SMALL_SCORE = 10.0

NOT_FOR = (
    "Do not let it decide about people (credit, work, health, law) on its own: it was not tested for that, and it "
    "carries whatever bias its data has."
)

READS_CHUNKS = (
    "- It reads forward only, so that an input can be sent in chunks: ask for `return_state`, and send the `state` of "
    "the answer with the next chunk. The limit on tokens holds for each chunk."
)
READS_WHOLE = "- It looks at the whole input before it answers, which cannot be sent in chunks."


def model_card(manifest: Manifest, example: Example) -> str:
    """The card in Markdown. `example` is shown as a request with its recorded answer."""
    task = evaluation_task(manifest)
    card = task.card
    errors = _errors(manifest) if task.has_errors else ""
    sections = [
        ("", _introduction(manifest, card)),
        ("How to call it", _calling(manifest, example, card)),
        ("How well it does", _scores(manifest.scores) + errors),
        *([("Faster forms", _variants(manifest.variants))] if manifest.variants else []),
        ("Data", _data(manifest)),
        ("Training", _training(manifest)),
        ("Limits", _limits(manifest, card)),
        ("Intended use", f"{card.intended_use}\n\n{NOT_FOR}"),
        ("Parity with torch", _parity(manifest)),
        ("How to make it again", _reproduction(manifest)),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in sections)
    return f"# {manifest.name}, version {manifest.version}\n\n{body}\n"


def _introduction(manifest: Manifest, card: CardTexts) -> str:
    purpose = card.purpose(manifest)
    if manifest.text_labels:
        purpose += f" Also gives the whole text one of {len(manifest.text_labels)} labels."
    licence = f"Licence: {manifest.licence}." if manifest.licence else ""
    language = f"Language: {manifest.language}." if manifest.language else ""
    return "\n\n".join(part for part in (manifest.description, purpose, f"{language} {licence}".strip()) if part)


def _calling(manifest: Manifest, example: Example, card: CardTexts) -> str:
    parameters = {"parameters": example.parameters} if example.parameters else {}
    body = json.dumps({"model": manifest.name, "inputs": example.inputs, **parameters}, ensure_ascii=False)
    is_long = len(body) > MAX_REQUEST_CHARACTERS
    sent = "@request.json" if is_long else shlex.quote(body)
    lines = [f"curl -s {SERVICE}/{TASKS[manifest.task].route} -H 'Content-Type: application/json' \\", f"  -d {sent}"]
    if card.commands is not None:
        lines = card.commands(manifest, SERVICE)
    answer = json.dumps(example.answer, ensure_ascii=False)
    shown = f"The answer:\n\n```json\n{answer}\n```" if len(answer) <= MAX_ANSWER_CHARACTERS else ""
    note = "`examples.jsonl` beside this card has more inputs, with the answers to expect."
    if is_long:
        note = LONG_REQUEST.format(name=manifest.name)
    return "\n\n".join(part for part in (_code(lines), shown, note) if part)


def _scores(scores: Sequence[Score]) -> str:
    if not scores:
        return "It has not been scored."
    rows = [
        (score.measure, score.split, _number(score.value), _baseline(score), score.detail.replace("|", "/"))
        for score in scores
    ]
    return _table(("measure", "split", "this model", "baseline", "detail"), rows)


def _errors(manifest: Manifest) -> str:
    """The command that shows what it gets wrong."""
    command = f"unroll evaluate models/{manifest.name}/{manifest.version} FILE --analysis errors"
    return (
        f"\n\nWhat it gets wrong, by kind and with examples: `{command}` writes tables and pictures; "
        f"those of dev were left in `runs/{manifest.name}/analysis` when it was trained."
    )


def _baseline(score: Score) -> str:
    if score.baseline is None:
        return "none"
    return f"{_number(score.baseline)} ({score.baseline_name})" if score.baseline_name else _number(score.baseline)


def _variants(variants: Mapping[VariantName, Variant]) -> str:
    rows = [
        (name, v.measure, f"{v.score:.4g}", f"{v.fp32_score:.4g}", f"{v.agreement:.2f} %")
        for name, v in variants.items()
    ]
    table = [
        "| form | measure on dev | score | in fp32 | same decisions |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    lines = ["Choose one with `UNROLL_PRECISION`. Language models and translators are scored greedily, step by step."]
    if any(variant.depends_on_batch for variant in variants.values()):
        lines.append("In int8 an answer depends a little on what else is in its batch.")
    return "\n".join([" ".join(lines), "", *table])


def _data(manifest: Manifest) -> str:
    sources = manifest.training.data
    return "\n".join(_source(source) for source in sources) if sources else "Not recorded."


def _source(source: DataSource) -> str:
    head = f"- **{source.name}**, licence {source.licence or 'not stated'}."
    attribution = f" {source.attribution.strip()}" if source.attribution else ""
    splits = [f"  - {split}: sha256 `{digest}`" for split, digest in source.splits.items()]
    return "\n".join([head + attribution, *splits])


def _training(manifest: Manifest) -> str:
    facts = manifest.training
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts.library_versions.items()))
    rows = [
        ("weights", f"{facts.parameters:,}"),
        ("seed", str(facts.seed)),
        ("epochs", f"{facts.epochs:g}"),
        ("time", f"{facts.minutes:.0f} minutes"),
        ("hardware", facts.hardware),
        ("libraries", versions),
        ("finished", facts.finished_at),
        ("started from", _parent(facts.parent) if facts.parent else ""),
    ]
    return _table(("fact", "value"), [(name, value) for name, value in rows if value])


def _parent(parent: ParentModel) -> str:
    """The model that training started from."""
    name = f"{parent.name} version {parent.version}" if parent.version else f"the run {parent.name}"
    return f"{name} (sha256 `{parent.digest}`)" + f", {parent.frozen} frozen" * bool(parent.frozen)


def _limits(manifest: Manifest, card: CardTexts) -> str:
    lines = card.limits(manifest)
    if manifest.labels:
        lines.append(READS_CHUNKS if manifest.reads_chunks else READS_WHOLE)
        lines.append(f"- It knows these labels and no others: {listed(manifest.labels)}.")
    if manifest.text_labels:
        lines.append(f"- Of whole texts it knows these labels and no others: {listed(manifest.text_labels)}.")
    if manifest.language and card.reads_one_language:
        lines.append(f"- It was trained on this language alone: {manifest.language}.")
    return "\n".join(lines)


def _parity(manifest: Manifest) -> str:
    parity = manifest.parity
    if parity is None:
        return "Not verified."
    rows = [(name, f"{difference:.1e}") for name, difference in parity.checks.items()]
    text = (
        "The graphs were compared with the torch network that they were written from, on the CPU, before they were "
        f"published. A difference up to {parity.tolerance:g}, relative to the size of the number where that is above "
        "1, was allowed."
    )
    return f"{text}\n\n{_table(('check', 'largest difference'), rows)}"


def _reproduction(manifest: Manifest) -> str:
    config = "The effective configuration, defaults included, is in `manifest.json` under `training.config`."
    command = _command(manifest)
    return f"{_code([command])}\n\n{config}" if command else f"The recipe is not recorded. {config}"


def _command(manifest: Manifest) -> str:
    """The training command: a shipped recipe by name, or the task with the names of its files."""
    data = manifest.training.config.get("data")
    paths = data if isinstance(data, dict) else {}
    files = {role: Path(str(paths[role])).name for role in ("train", "dev") if paths.get(role)}
    if "train" not in files:
        return f"unroll train {manifest.training.recipe}" if manifest.training.recipe else ""
    options = [f"--{role} {shlex.quote(name)}" for role, name in files.items()]
    parent = manifest.training.parent
    if parent is not None and parent.version:
        return " ".join(
            [
                f"unroll train {manifest.task} --from models/{parent.name}/{parent.version}",
                *options,
                f"--name {manifest.name}",
            ]
        )
    return " ".join(["unroll train", manifest.task, *options, f"--name {manifest.name}"])


def _number(value: float) -> str:
    """Two decimals for percentages, three for losses and other small numbers."""
    return f"{value:.2f}" if abs(value) >= SMALL_SCORE else f"{value:.3f}"


def _code(lines: Iterable[str]) -> str:
    return "\n".join(["```sh", *lines, "```"])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

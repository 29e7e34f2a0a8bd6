"""The command `import`: a model that was trained elsewhere becomes a bundle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from service.errors import UnrollError
from training.cli.options import AsJson, ModelsFolder, friendly_errors, say
from training.fit.places import check_writable

if TYPE_CHECKING:
    from training.importing.typed import TypedGraph
    from training.importing.understanding import Understanding

AxesOption = Annotated[
    list[str] | None,
    typer.Option("--axes", help="Axes of an input, if they cannot be told: x=batch,time,5. Repeatable."),
]
DescribeOption = Annotated[
    list[str] | None,
    typer.Option("--describe", help='What an input or output holds: x="acceleration in m/s2". Repeatable.'),
]
TaskOption = Annotated[
    Literal["tensors", "tagging", "classification"],
    typer.Option("--task", help="tensors (named arrays), tagging or classification."),
]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="Labels in the order of the outputs: one a line, or JSON.")
]
TokenizerOption = Annotated[
    Path | None,
    typer.Option("--tokenizer", help="Vocabulary of the ids: tokenizer.json, vocab.txt, or a dictionary in JSON."),
]
ReadOption = Annotated[
    Literal["steps", "last", "final", "mean", "max"],
    typer.Option("--read", help="Of weights without a program: what goes from the recurrence into the linear layer."),
]
CutOption = Annotated[
    Literal["whitespace", "english", "french", "portuguese"],
    typer.Option("--cut", help="Where texts are cut into words, for vocabularies that do not say so."),
]


def import_model(
    model: Annotated[Path, typer.Argument(help="ONNX file; or weights: .safetensors, .pt.")],
    name: Annotated[str, typer.Option("--name", help="Name of the bundle.", show_default="that of the file")] = "",
    models: ModelsFolder = Path("models"),
    task: TaskOption = "tensors",
    labels: LabelsOption = None,
    tokenizer: TokenizerOption = None,
    unknown: Annotated[str, typer.Option("--unknown", help="Token of the vocabulary for unknown words.")] = "",
    cut: CutOption = "whitespace",
    features: Annotated[
        str, typer.Option("--features", help="Names of the numbers of a frame, for a classifier of frames: x,y,z.")
    ] = "",
    output: Annotated[
        str, typer.Option("--output", help="Output with a score for each label, if not the only one.")
    ] = "",
    read: ReadOption = "steps",
    transitions: Annotated[
        Path | None, typer.Option("--transitions", help="Of a tagger's CRF: .npy [labels + 1, labels + 1].")
    ] = None,
    axes: AxesOption = None,
    examples: Annotated[
        Path | None,
        typer.Option("--examples", help="Inputs to record: .npz with an array [rows, ...] for each input, or texts."),
    ] = None,
    describe: DescribeOption = None,
    description: Annotated[str, typer.Option("--description", help="What the model is, for its card.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Licence of the weights.")] = "",
    language: Annotated[str, typer.Option("--language", help="Language of its texts.")] = "",
    max_steps: Annotated[int, typer.Option("--max-steps", min=1, help="Longest input in steps of time.")] = 512,
    inspect: Annotated[bool, typer.Option("--inspect", help="Print what was understood; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import a recurrent model that was trained elsewhere, and publish it as a bundle.

    What it is:     unroll import model.onnx --inspect

    Named arrays:   unroll import model.onnx --name my-lstm

    Typed:          unroll import model.onnx --task tagging --labels labels.txt --tokenizer vocab.txt

    Weights:        unroll import weights.safetensors --read last --name my-lstm

    LSTM, GRU and Elman recurrences become state, so that inputs can be streamed. Batch and time are made free, lengths
    are added where padding would be read, and every answer is compared with that of the original before anything is
    published. No code of the file runs. See training/docs/importing.md for what can be imported.
    """
    with friendly_errors():
        from training.importing.import_model import open_file, parse_axes
        from training.importing.record import BundleFacts, publish_arrays, publish_typed
        from training.importing.report import report, report_json

        if not inspect:
            _require_name(name or _name_of(model))
            check_writable(models, "--models")
        understanding = open_file(model, parse_axes(axes or []), read, may_have_state=transitions is None)
        words = Words(labels, tokenizer, unknown, cut, features, output, transitions)
        typed = _typed(understanding, task, words)
        if inspect:
            typer.echo(report_json(understanding) if as_json else report(understanding))
            return
        facts = BundleFacts(
            name=name or _name_of(model),
            source=model.name,
            description=description,
            language=language,
            licence=licence,
            max_input_tokens=max_steps,
            descriptions=_descriptions(describe or []),
        )
        if not as_json:
            say(report(understanding))
        if typed is None:
            published = publish_arrays(understanding, facts, models, examples)
        else:
            published = publish_typed(understanding, typed, facts, models, examples)
        typer.echo(report_json(understanding, published.path) if as_json else published.path)


class Words(NamedTuple):
    """What the user says of the numbers of a model."""

    labels: Path | None
    tokenizer: Path | None
    unknown: str
    cut: Literal["whitespace", "english", "french", "portuguese"]
    features: str
    output: str
    transitions: Path | None


def _typed(
    understanding: Understanding, task: Literal["tensors", "tagging", "classification"], words: Words
) -> TypedGraph | None:
    """The model with the contract of a typed task; None for named arrays, which have no labels and no words."""
    from training.importing.typed import embedded_ids, read_labels, read_transitions, typed_graph
    from training.importing.vocabulary import read_vocabulary

    if task == "tensors":
        files = (("--labels", words.labels), ("--tokenizer", words.tokenizer), ("--transitions", words.transitions))
        given = [name for name, file in files if file is not None]
        if given:
            raise UnrollError(f"{given[0]} belongs to a typed task: add --task tagging or --task classification")
        return None
    if words.labels is None:
        raise UnrollError(f"--task {task} needs --labels FILE, the labels in the order of the outputs")
    labels, vocabulary, transitions = read_labels(words.labels), None, None
    if words.tokenizer is not None:
        vocabulary = read_vocabulary(words.tokenizer, embedded_ids(understanding), words.unknown, words.cut)
        understanding.mended += vocabulary.notes
    if words.transitions is not None:
        transitions = read_transitions(words.transitions, len(labels))
    features = [part.strip() for part in words.features.split(",") if part.strip()]
    return typed_graph(understanding, task, labels, vocabulary, features, words.output, transitions)


def _name_of(model: Path) -> str:
    """The name of a bundle from that of a file: lower case, with hyphens."""
    stem = "".join(char if char.isascii() and char.isalnum() else " " for char in model.stem.lower())
    return "-".join(stem.split())[:64] or "imported"


def _require_name(name: str) -> None:
    from service.bundle.manifest import NAME_PATTERN

    if re.fullmatch(NAME_PATTERN, name) is None:
        allowed = "at most 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        raise UnrollError(f"--name {name!r} is no name of a bundle: {allowed}")


def _descriptions(settings: list[str]) -> dict[str, str]:
    pairs = [setting.partition("=") for setting in settings]
    for setting, (name, _, text) in zip(settings, pairs, strict=True):
        if not name or not text:
            raise UnrollError(f"--describe {setting}: it is NAME=TEXT, such as x=acceleration")
    return {name: text for name, _, text in pairs}

"""The `unroll` command: what the service has, and the training commands if they are installed.

Heavy imports (onnxruntime, FastAPI) are deferred until a command needs them, so that `unroll --help` starts fast.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from service.cli import rollout_commands  # noqa: F401 - adds its commands to `unroll models`
from service.cli.bench_commands import BENCH_EXAMPLES, bench
from service.cli.hub_commands import PULL_EXAMPLES, PUSH_EXAMPLES, SIGNING_KEY_EXAMPLES, pull, push, signing_key
from service.cli.keys_commands import keys_app
from service.cli.models_commands import JsonOption, ModelsOption, UrlOption, models_app
from service.cli.plain_errors import fail as _fail
from service.cli.plain_errors import plain_errors as _plain_errors
from service.cli.request_parameter import parse_parameter
from service.cli.scoring.perplexity import PERPLEXITY_EXAMPLES, perplexity
from service.cli.scoring.score import SCORE_EXAMPLES, score
from service.cli.standard_input import lines_of_standard_input
from service.cli.stream_command import STREAM_EXAMPLES, stream
from service.cli.transcription.command import TRANSCRIBE_EXAMPLES, transcribe
from service.cli.versions import commands  # noqa: F401 - adds its commands to `unroll models`
from service.distribution import install_hint, installed_version

OWN_COMMANDS = (
    "serve", "predict", "generate", "score", "perplexity", "stream", "transcribe", "models", "keys", "openapi", "bench",
    "pull", "push", "signing-key",
)  # fmt: skip
TRAINING_COMMANDS = (
    "train", "resume", "retrain", "evaluate", "evaluate-keywords", "check-data", "export", "verify", "find-lr",
    "import", "search", "seeds", "leave-one-out", "experiment", "synthesize",
)  # fmt: skip
TRAINING_MISSING = f"this command needs the training extra: {install_hint('training')}"
RUNTIME_MISSING = (
    f"onnxruntime is not installed: {install_hint('cpu')}, or {install_hint('gpu')}, or {install_hint('openvino')}"
)
_ENTRY_POINTS = "unroll.commands"

_HELP = """Train, verify and serve recurrent models for sequences.

A model is a folder models/NAME/VERSION. Examples:

  unroll models                                    list the models\n
  unroll predict --model intent-en "play some jazz"\n
  unroll generate "ROMEO:" --temperature 0.8 --seed 7\n
  unroll score intent-en in.csv out.parquet        answers to a file of any size\n
  unroll perplexity "To be, or not to be"          how well a language model predicts a text\n
  tail -f log.txt | unroll stream ner-en           answers while the text arrives, from a running server\n
  arecord -q -f S16_LE -r 16000 | unroll transcribe -   text while one speaks, from a running server\n
  unroll pull https://HOST/ner-en/1                add a model from a folder, S3, Hugging Face or an OCI registry

  unroll serve                                     serve over HTTP, see http://127.0.0.1:8000/docs\n
  unroll bench http://127.0.0.1:8000               measure what a running server takes

predict, generate, perplexity and models open the bundles themselves; with --url (or UNROLL_URL) they query a running
server, with the API key in UNROLL_API_KEY. score never needs one. `unroll keys` makes keys.
"""
_SERVE_EXAMPLES = """Examples:

  unroll serve --port 9000 --models /srv/models\n
  unroll serve --grpc-port 8001\n
  unroll serve --workers auto\n
  unroll serve --pull https://models.example.org/ner-en/1\n
  UNROLL_MAX_BATCH_ITEMS=16 unroll serve

The API documentation is at http://HOST:PORT/docs; SIGHUP reloads the models folder.
"""
_PREDICT_EXAMPLES = """Examples:

  unroll predict -m pos-en "The cat sat on the mat"\n
  unroll predict -m intent-en -p top_k=3 "play some jazz"\n
  unroll predict -m digits-en speech.wav --json\n
  unroll predict -m spam-en mails.csv --column text=Body --out labels.csv\n
  unroll predict -m spam-en --url http://localhost:8000 < messages.txt
"""
_GENERATE_EXAMPLES = """Examples:

  unroll generate "ROMEO:" --max-new-tokens 200 --temperature 0.8 --seed 7\n
  unroll generate "ROMEO:" --greedy --stop "JULIET:" --json\n
  unroll generate "To be, or not to be? " --choices yes --choices no\n
  unroll generate "ROMEO:" --regex "( [a-z]+){3}[.!]" --bad-words thou
"""

_OPENAPI_EXAMPLES = """Examples:

  unroll openapi --out openapi.json\n
  openapi-python-client generate --path openapi.json
"""

app = typer.Typer(
    name="unroll", help=_HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
)

ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Model name; optional if only one can answer.")]
VersionOption = Annotated[str | None, typer.Option(help="Version of the model.", show_default="the highest")]


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"unroll {installed_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


@app.command(epilog=_SERVE_EXAMPLES)
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="8000")] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(help="Port for the Open Inference Protocol over gRPC, as well.", show_default="none"),
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder with NAME/VERSION bundles.", show_default="models")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Processes that serve together: a number, or auto for one per usable core.", show_default="1"
        ),
    ] = None,
    first: Annotated[
        list[str] | None,
        typer.Option("--pull", metavar="ADDRESS", help="Bundle that is pulled first; repeatable.", show_default="none"),
    ] = None,
) -> None:
    """Serve the models over HTTP, and over gRPC if a port is given.

    All other settings are UNROLL_... environment variables.
    """
    from service.server.run import run_server
    from service.settings import SettingsError, read_settings

    try:
        given = {"host": host, "port": port, "grpc_port": grpc_port, "models_dir": models, "workers": workers}
        given["pull"] = " ".join(first) if first else None
        settings = read_settings(given)
        run_server(settings)
    except (SettingsError, OSError) as error:
        _fail(str(error))


@app.command(epilog=_PREDICT_EXAMPLES)
def predict(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT...",
            help="Texts; or files: .txt, .csv, .tsv, .jsonl, .conllu, .npz, .npy, .wav, .png, .json, or a folder.",
            show_default="lines of standard input",
        ),
    ] = None,
    model: ModelOption = None,
    version: VersionOption = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="Request parameter, such as top_k=3; repeatable."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="ROLE=NAME",
            help="How a data file is read, as in training: text=message, time=ds, dates=day-first, format=csv.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the answers to a .csv, .tsv or .jsonl file, one row for each input row; trees and tags to "
            ".conllu."
        ),
    ] = None,
    url: UrlOption = None,
    models: ModelsOption = Path("models"),
    as_json: JsonOption = False,
) -> None:
    """Tag, parse, classify or translate texts, classify or forecast series of numbers, caption images, run on arrays.

    An argument that is a file or folder is read, with the reader that training uses: a model predicts the file that it
    was trained on. All other arguments are texts.
    """
    from service.cli.predict import Prediction

    with _plain_errors():
        parameters = dict(map(parse_parameter, parameter or []))
        prediction = Prediction(model, version, parameters, column or [], url, models)
        lines = None if texts else lines_of_standard_input()
        num_refused = prediction.write(texts or [], lines, out) if out else prediction.show(texts or [], lines, as_json)
    if num_refused:
        _fail(f"{num_refused:,} inputs were refused: the column `error` says why")


@app.command(epilog=_GENERATE_EXAMPLES)
def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to continue.")],
    model: ModelOption = None,
    version: VersionOption = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Maximum number of tokens to generate.")] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Sampling temperature: below 1 prefers likely tokens, above 1 gives more varied text."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from this many most likely tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Sample from the smallest set of tokens with this total probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed; the same seed gives the same text.")] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Always take the most likely token instead of sampling.")
    ] = False,
    repetition_penalty: Annotated[
        float | None, typer.Option(help="Penalty on tokens that occurred before; above 1 reduces repetition.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop when this text is generated; repeatable.")] = None,
    choices: Annotated[list[str] | None, typer.Option(help="The text is one of the choices; repeatable.")] = None,
    regex: Annotated[str | None, typer.Option(help="The whole text matches this regular expression.")] = None,
    bad_words: Annotated[list[str] | None, typer.Option(help="Never generate this text; repeatable.")] = None,
    url: UrlOption = None,
    models: ModelsOption = Path("models"),
    as_json: JsonOption = False,
) -> None:
    """Generate a continuation of a prompt, and print it token by token."""
    from service.cli import backends as client

    given = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "repetition_penalty": repetition_penalty,
        "stop": stop or None,
        "choices": choices or None,
        "regex": regex,
        "bad_words": bad_words or None,
        "do_sample": not greedy,
    }
    parameters = {name: value for name, value in given.items() if value is not None}
    with _plain_errors():
        source = client.open_source(url, models)
        if as_json:
            print(json.dumps(source.generate(model, version, prompt, parameters), ensure_ascii=False))
            return
        for piece in source.stream(model, version, prompt, parameters):
            print(piece, end="", flush=True)
    print()


@app.command(epilog=_OPENAPI_EXAMPLES)
def openapi(
    out: Annotated[
        Path | None, typer.Option(help="Write the document to this file.", show_default="standard output")
    ] = None,
) -> None:
    """Print the OpenAPI document of the HTTP API, for generators of clients and gateways.

    It is what a server of this version has at /openapi.json, whatever models it serves; no server is needed.
    """
    from service.api.documentation import written
    from service.server.app import openapi_document

    text = written(openapi_document())
    with _plain_errors():
        if out is None:
            sys.stdout.write(text)
        else:
            out.write_text(text, encoding="utf-8", newline="\n")


app.command(epilog=SCORE_EXAMPLES)(score)
app.command(epilog=PERPLEXITY_EXAMPLES)(perplexity)
app.command(epilog=STREAM_EXAMPLES)(stream)
app.command(epilog=TRANSCRIBE_EXAMPLES)(transcribe)
app.command(epilog=BENCH_EXAMPLES)(bench)
app.command(epilog=PULL_EXAMPLES)(pull)
app.command(epilog=PUSH_EXAMPLES)(push)
app.command(epilog=SIGNING_KEY_EXAMPLES)(signing_key)
app.add_typer(models_app)
app.add_typer(keys_app)


def main() -> None:
    """Entry point of the console script. Looks up training commands only if one may be meant, to start fast."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    if first not in (*OWN_COMMANDS, "--version"):
        attach_training_commands(app)
    try:
        app()
    except ModuleNotFoundError as error:
        explanation = _explain_missing(error, first)
        if not explanation:
            raise
        print(f"unroll: {explanation}  (missing: {error.name})", file=sys.stderr)
        sys.exit(2)


def _explain_missing(error: ModuleNotFoundError, command: str) -> str:
    """Message that names the extra with the missing module; "" if no extra has it."""
    if error.name == "onnxruntime":
        return RUNTIME_MISSING
    return TRAINING_MISSING if command in TRAINING_COMMANDS else ""


def attach_training_commands(target: typer.Typer) -> None:
    """Add the commands of the entry point group; if there are none, placeholders that say which extra is missing."""
    loaded = False
    for entry_point in importlib.metadata.entry_points(group=_ENTRY_POINTS):
        try:
            commands = entry_point.load()
        except ImportError:
            continue
        target.add_typer(commands)
        loaded = True
    if not loaded:
        for name in TRAINING_COMMANDS:
            target.command(name, help="(needs the training extra)", context_settings=_ANY_ARGUMENTS)(_training_missing)


_ANY_ARGUMENTS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def _training_missing() -> None:
    _fail(TRAINING_MISSING)

"""`unroll bench`: load test of a running server, and comparison of two."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.plain_errors import fail, plain_errors

if TYPE_CHECKING:
    from service.cli.bench.measurement import Load
    from service.cli.bench.result import Case, Comparison
    from service.cli.bench.run import Plan

BENCH_EXAMPLES = """Examples:

  unroll bench http://localhost:8000\n
  unroll bench http://localhost:8000 -m intent-en -c 1,16,64 --duration 10s\n
  unroll bench http://localhost:8000 -m intent-en --rate 200,400        requests a second, at random times\n
  unroll bench http://localhost:8000 -m shakespeare -c 8 --max-new-tokens 100\n
  unroll bench http://localhost:8000 -m spam-en --file messages.txt --requests 5000 --json before.json\n
  unroll bench http://localhost:8000 -m spam-en --file messages.txt --requests 5000 --baseline before.json\n
  unroll bench http://old:8000 http://new:8000 -m intent-en -c 64       compare two servers, in turn

A closed loop (-c) has so many callers, each of which sends its next request when it has its answer: it finds what the
server takes at most. An open loop (--rate) sends at random times (Poisson arrivals) whatever the answers do: it finds
the latency that users see at that rate, counted from when a request should have been sent.

The exit status is 1 if nothing was answered, 130 after Ctrl-C.
"""
_INTERRUPTED = 130
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_ROUNDS_OF_TWO = 5
#: Callers, or requests a second.
_MOST = 100_000
_LONGEST_S = 86_400.0

UrlsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="URL [URL]", envvar="UNROLL_URL", help="A server, such as http://host:8000; two are compared."
    ),
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Model to ask; repeatable.", show_default="every model that answers"),
]
VersionOption = Annotated[str | None, typer.Option(help="Version of the model.", show_default="the server's choice")]
FileOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Inputs, one a line: JSON in .jsonl, text in every other file.",
        show_default="made of the model's examples",
    ),
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="Request parameter, such as top_k=3; repeatable."),
]
MaxNewTokensOption = Annotated[int, typer.Option(min=1, help="Tokens of each generated text.")]
StreamOption = Annotated[bool, typer.Option(help="Read generated texts as a stream, and time every token.")]
ConcurrencyOption = Annotated[
    str | None,
    typer.Option("--concurrency", "-c", help="Callers of a closed loop, as a list.", show_default="1,16,64"),
]
RateOption = Annotated[str | None, typer.Option("--rate", help="Requests a second of an open loop, as a list.")]
DurationOption = Annotated[
    str | None, typer.Option("--duration", "-d", help="Of each measurement: 10s, 2m.", show_default="5s")
]
RequestsOption = Annotated[
    int | None, typer.Option("--requests", "-n", min=1, help="Stop each measurement after so many instead.")
]
WarmUpOption = Annotated[str, typer.Option(help="Before each measurement, not counted.")]
RoundsOption = Annotated[
    int | None, typer.Option(min=1, max=100, help="Repetitions.", show_default="1; 5 to compare two servers")
]
JsonFileOption = Annotated[Path | None, typer.Option("--json", help="Write all figures to a file; - prints them.")]
CsvFileOption = Annotated[Path | None, typer.Option("--csv", help="Write the figures of each round as a table.")]
BaselineOption = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="Compare with a file that --json wrote.")
]
CaFileOption = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Certificates to trust, in PEM.")]
CertFileOption = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="Certificate of this client, for mTLS.")
]
KeyFileOption = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="Private key of that certificate.")
]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Do not check the server's certificate.")]


def bench(
    urls: UrlsArgument,
    model: ModelOption = None,
    version: VersionOption = None,
    file: FileOption = None,
    parameter: ParameterOption = None,
    max_new_tokens: MaxNewTokensOption = 64,
    stream: StreamOption = True,
    concurrency: ConcurrencyOption = None,
    rate: RateOption = None,
    duration: DurationOption = None,
    requests: RequestsOption = None,
    warm_up: WarmUpOption = "1s",
    rounds: RoundsOption = None,
    json_file: JsonFileOption = None,
    csv_file: CsvFileOption = None,
    baseline: BaselineOption = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    insecure: InsecureOption = False,
) -> None:
    """Measure what a running server takes: throughput, latency percentiles, errors.

    The requests are made of the examples of each model, with mixed lengths, or of your own inputs. The API key is read
    from UNROLL_API_KEY.
    """
    from service.cli.bench.load.address import TlsOptions, parse_address
    from service.cli.bench.measurement import Extent
    from service.cli.bench.result import read_recorded
    from service.cli.bench.run import Plan
    from service.cli.bench.workload import Options
    from service.cli.request_parameter import parse_parameter
    from service.client.connection import key_header

    if len(urls) > 2:
        fail("give one URL, or two to compare")
    if duration is not None and requests is not None:
        fail("give --duration or --requests, not both")
    seconds = None if requests else _seconds("--duration", duration or "5s")
    if seconds == 0:
        fail("--duration 0: measure for some time, such as 5s")
    with plain_errors():
        tls = TlsOptions(ca_file, cert_file, key_file, insecure)
        parameters = dict(map(parse_parameter, parameter or []))
        plan = Plan(
            [parse_address(url, tls, key_header()) for url in urls],
            model or [],
            version,
            _loads(concurrency, rate),
            Extent(_seconds("--warm-up", warm_up), seconds, requests),
            rounds or (_ROUNDS_OF_TWO if len(urls) > 1 else 1),
            Options(parameters, max_new_tokens, stream, file),
        )
        _bench(plan, read_recorded(baseline) if baseline else None, baseline, json_file, csv_file)


def _bench(
    plan: Plan, recorded: dict[str, Any] | None, baseline: Path | None, json_file: Path | None, csv_file: Path | None
) -> None:
    from rich.console import Console

    from service.cli.bench import result
    from service.cli.bench.display import live_display
    from service.cli.bench.run import run_to_end

    to_terminal = Console(stderr=True, highlight=False)
    cases: list[Case] = []
    with live_display(to_terminal) as display:
        run_to_end(plan, cases, display, lambda text: to_terminal.print(text, markup=False, soft_wrap=True))
    cases = [case for case in cases if case.rounds]
    comparisons = _comparisons(plan, cases, recorded, baseline)
    for file, text in ((json_file, result.as_json(cases, comparisons)), (csv_file, result.as_csv(cases))):
        if file == Path("-"):
            sys.stdout.write(text)
        elif file is not None:
            file.write_text(text, encoding="utf-8")
    if Path("-") not in (json_file, csv_file):
        _print_tables(cases, comparisons)
    _exit(plan, cases)


def _comparisons(
    plan: Plan, cases: list[Case], recorded: dict[str, Any] | None, baseline: Path | None
) -> list[Comparison]:
    from service.cli.bench.result import compare, compare_with_recorded

    found: list[Comparison | None] = []
    if len(plan.addresses) > 1:
        pairs = zip(cases[::2], cases[1::2], strict=False)
        found += [compare(first, second) for first, second in pairs if len(first.rounds) == len(second.rounds)]
    if recorded is not None:
        found += [compare_with_recorded(case, recorded, str(baseline)) for case in cases]
    return [each for each in found if each is not None]


def _print_tables(cases: list[Case], comparisons: list[Comparison]) -> None:
    from rich.console import Console

    from service.cli.bench.display import comparisons_table, results_table, warnings

    # A table in a file or a pipe has its full width: nothing would break it sensibly.
    out = Console(highlight=False)
    if not out.is_terminal:
        out = Console(highlight=False, width=1000)
    if not cases:
        print("unroll: interrupted before anything was measured", file=sys.stderr)
        return
    out.print(results_table(cases))
    if comparisons:
        out.print(f"\n{comparisons[0].second} beside {comparisons[0].first}", markup=False, soft_wrap=True)
        out.print(comparisons_table(comparisons))
    marked = Console(stderr=True, highlight=False)
    for remark in warnings(cases):
        marked.print(f"unroll: {remark}", style="yellow", markup=False, soft_wrap=True)


def _exit(plan: Plan, cases: list[Case]) -> None:
    """130 after Ctrl-C, 1 if nothing was answered."""
    is_whole = len(cases) and all(len(case.rounds) == plan.rounds for case in cases)
    if not is_whole or any(measurement.is_interrupted for case in cases for measurement in case.rounds):
        raise typer.Exit(_INTERRUPTED)
    if not any(len(measurement.tally.latencies_s) for case in cases for measurement in case.rounds):
        raise typer.Exit(1)


def _loads(concurrency: str | None, rate: str | None) -> list[Load]:
    from service.cli.bench.measurement import Load

    if concurrency is not None and rate is not None:
        fail("give --concurrency for a closed loop or --rate for an open one, not both")
    if rate is not None:
        return [Load(rate=value) for value in _numbers("--rate", rate, is_whole=False)]
    return [
        Load(connections=int(value)) for value in _numbers("--concurrency", concurrency or "1,16,64", is_whole=True)
    ]


def _numbers(option: str, text: str, is_whole: bool) -> list[float]:
    """A list such as `1,16,64`."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    good = [value for value in values if 0 < value <= _MOST and (not is_whole or value == int(value))]
    if not values or len(good) < len(values):
        what = "whole numbers" if is_whole else "numbers"
        fail(f"{option} {text}: write {what} from {1 if is_whole else 0} to {_MOST:,} with commas, such as 1,16,64")
    return values


def _seconds(option: str, text: str) -> float:
    """`10`, `10s`, `2m` or `1m30s` in seconds."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not any(found.groups()):
        fail(f"{option} {text}: write seconds or minutes, such as 10s, 2m or 1m30s")
    minutes, seconds = (float(part or 0) for part in found.groups())
    if 60 * minutes + seconds > _LONGEST_S:
        fail(f"{option} {text}: at most a day")
    return 60 * minutes + seconds

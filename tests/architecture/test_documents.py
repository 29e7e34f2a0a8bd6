"""Documents are consistent with the code: links, file names, settings, metrics, commands and decisions."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.main import get_command

from service.cli.commands import app as service_commands
from service.server.app import create_app
from service.settings import ENV_PREFIX, OTHER_VARIABLES, Settings, read_settings
from training.cli.commands import app as training_commands

ROOT = Path(__file__).parents[2]
ROOMS = ("deploy", "models", "service", "tests", "training")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.md"))])
#: Written for readers of this version. Excludes generated model cards, and the changelog, which covers older versions.
GUIDES = [
    path
    for path in DOCUMENTS
    if path.name != "CHANGELOG.md" and not any(path.is_relative_to(ROOT / room) for room in ("models", "tests"))
]
MAX_LINES_OF_README = 150

FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
FILE = re.compile(r"`((?:" + "|".join(ROOMS) + r")/[\w./-]+\.\w+)`")
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
DECISION = re.compile(r"^### (\d+)\. ", re.MULTILINE)
REFERENCE = re.compile(r"\bdecisions? (\d+)\b", re.IGNORECASE)
SETTING = re.compile(r"\bUNROLL_[A-Z][A-Z_]*[A-Z]\b")
METRIC = re.compile(r"\bunroll_[a-z_]+[a-z]\b")
SERIES_OF_HISTOGRAM = ("_bucket", "_sum", "_count")
#: Not `kubectl -n unroll ...`, which names a namespace.
COMMAND = re.compile(r"(?<!-n)(?:^|[`/ ])unroll ([a-z][a-z-]+)", re.MULTILINE)

TARGET = re.compile(r"(?:^|`)make ([a-z][a-z-]*)", re.MULTILINE)


def in_words(path: Path) -> str:
    """Return the path as the test ID shows it."""
    return path.relative_to(ROOT).as_posix()


def anchor_of(heading: str) -> str:
    """Return GitHub's anchor for a heading: without markup, lower case, spaces as hyphens, no punctuation."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "").lower()
    kept = (char for char in text if char in "-_ " or unicodedata.category(char)[0] in "LN")
    return "".join(kept).replace(" ", "-")


@cache
def anchors_of(path: Path) -> frozenset[str]:
    """Return every anchor of a document; repeated headings get a numeric suffix."""
    found: list[str] = []
    for heading in HEADING.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        anchor = anchor_of(heading)
        repeats = sum(1 for other in found if other == anchor or re.fullmatch(re.escape(anchor) + r"-\d+", other))
        found.append(f"{anchor}-{repeats}" if repeats else anchor)
    return frozenset(found)


def links_of(path: Path) -> Iterator[str]:
    """Return the links of a document into this repository, excluding code blocks."""
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if not re.match(r"[a-z]+:", target):
            yield target


def fault_of(path: Path, target: str) -> str | None:
    """Return why a link is broken."""
    name, _, anchor = target.partition("#")
    file = (path.parent / name).resolve() if name else path
    if not file.exists():
        return "there is no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors_of(file):
        return "there is no such heading"
    return None


def test_documents_are_found() -> None:
    names = {in_words(path) for path in GUIDES}
    assert {"README.md", "DECISIONS.md", "service/docs/README.md", "deploy/runbooks/down.md"} <= names


@pytest.mark.parametrize("path", DOCUMENTS, ids=in_words)
def test_every_link_leads_somewhere(path: Path) -> None:
    faults = {target: fault for target in links_of(path) if (fault := fault_of(path, target))}
    assert not faults


@pytest.mark.parametrize("path", GUIDES, ids=in_words)
def test_every_file_that_a_document_names_exists(path: Path) -> None:
    named = FILE.findall(path.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists() and not list(ROOT.glob(name))]


@pytest.mark.parametrize("path", GUIDES, ids=in_words)
def test_every_setting_that_a_document_names_is_read(path: Path) -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    assert not set(SETTING.findall(path.read_text(encoding="utf-8"))) - known


def test_every_setting_is_documented_with_its_default() -> None:
    """The settings table lists every setting in its first column and the default in its second."""
    page = (ROOT / "service/docs/settings.md").read_text(encoding="utf-8")
    cells = [line.split("|") for line in page.splitlines() if line.startswith("| `UNROLL_")]
    documented = {name: row[2] for row in cells for name in SETTING.findall(row[1])}
    for name, field in Settings.model_fields.items():
        assert written_default(field.default) in documented.get(ENV_PREFIX + name.upper(), ""), name


def test_every_extra_is_documented() -> None:
    """Every extra is documented except the test extra, which is for contributors."""
    page = (ROOT / "service/docs/install.md").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"^\| `([a-z]+)` \|", page, flags=re.MULTILINE)) == set(extras) - {"test"}


def written_default(default: Any) -> str:
    """Return a default as the settings table formats it."""
    if default is None or isinstance(default, SecretStr):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:,.0f}" if isinstance(default, int | float) else str(default)


def test_every_route_and_every_parameter_of_generation_is_documented(tmp_path: Path) -> None:
    page = (ROOT / "service/docs/http-api.md").read_text(encoding="utf-8")
    schema = create_app(read_settings({"models_dir": tmp_path})).framework.openapi()
    parameters = schema["components"]["schemas"]["GenerationParameters"]["properties"]
    assert not [path for path in schema["paths"] if f" {path}`" not in page]
    assert parameters
    assert not [name for name in parameters if f"`{name}`" not in page]


@pytest.mark.parametrize("path", GUIDES, ids=in_words)
def test_every_metric_that_a_document_names_is_exported(path: Path) -> None:
    table = (ROOT / "deploy/metrics.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE))
    known |= {name + part for name in known for part in SERIES_OF_HISTOGRAM}
    known.add("unroll_client")  # the package that is generated from the OpenAPI document
    assert not set(METRIC.findall(path.read_text(encoding="utf-8"))) - known


@pytest.mark.parametrize("path", GUIDES, ids=in_words)
def test_every_command_that_a_document_names_exists(path: Path) -> None:
    named = {name for block in code_of(path) for name in COMMAND.findall(block)}
    assert not named - commands()


@cache
def commands() -> frozenset[str]:
    """Return the subcommands of `unroll`, including those of training."""
    return frozenset(
        name for app in (service_commands, training_commands) for name in vars(get_command(app))["commands"]
    )


@pytest.mark.parametrize("path", GUIDES, ids=in_words)
def test_every_make_target_that_a_document_names_exists(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = {name for block in code_of(path) for name in TARGET.findall(block)}
    assert not named - set(targets)


def code_of(path: Path) -> Iterator[str]:
    """Yield the code blocks and inline code of a document."""
    text = path.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield match[0]
    yield from re.findall(r"`[^`\n]+`", FENCE.sub("", text))


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(number) for number in DECISION.findall((ROOT / "DECISIONS.md").read_text(encoding="utf-8"))]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", GUIDES, ids=in_words)
def test_every_decision_that_a_document_refers_to_exists(path: Path) -> None:
    last = max(int(number) for number in DECISION.findall((ROOT / "DECISIONS.md").read_text(encoding="utf-8")))
    assert not [
        number for number in REFERENCE.findall(path.read_text(encoding="utf-8")) if not 1 <= int(number) <= last
    ]


def test_the_index_of_decisions_names_each_once() -> None:
    head = (ROOT / "DECISIONS.md").read_text(encoding="utf-8").partition("### 1.")[0]
    listed = sorted(int(number) for number in re.findall(r"\[(\d+)\]\(#", head))
    assert listed == list(range(1, len(listed) + 1))


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_LINES_OF_README


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("How far back they reach", "how-far-back-they-reach"),
        ("the cats ... were, the cat ... was", "the-cats--were-the-cat--was"),
        ("51. The distribution is called unroll-rnn", "51-the-distribution-is-called-unroll-rnn"),
        ("`make verify-deploy`", "make-verify-deploy"),
    ],
)
def test_anchors_are_those_of_github(heading: str, anchor: str) -> None:
    assert anchor_of(heading) == anchor


def test_a_broken_link_is_noticed() -> None:
    readme = ROOT / "README.md"
    assert fault_of(readme, "no/such/file.md") == "there is no such file"
    assert fault_of(readme, "ARCHITECTURE.md#no-such-heading") == "there is no such heading"
    assert fault_of(readme, "ARCHITECTURE.md#rooms") is None

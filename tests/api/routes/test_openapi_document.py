"""`service/docs/openapi.json` is the OpenAPI document of the routes, and made to generate clients from."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from typer.testing import CliRunner

from service.api.documentation import written
from service.cli.commands import app
from service.server.app import PROTOCOLS, openapi_document

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "service/docs/openapi.json"
MAX_LINES = 60


@cache
def document() -> dict[str, Any]:
    return openapi_document()


def operations() -> list[dict[str, Any]]:
    return [operation for methods in document()["paths"].values() for operation in methods.values()]


def difference(committed: str, made: str) -> str:
    """The first lines of the difference, and what to do about it; empty if there is none."""
    names = "service/docs/openapi.json", "the routes of this tree"
    lines = list(difflib.unified_diff(committed.splitlines(), made.splitlines(), *names, n=2, lineterm=""))
    if not lines:
        return ""
    left = len(lines) - MAX_LINES
    more = [f"... {left} more lines"] if left > 0 else []
    advice = "If clients may see this change, write it down with `make openapi` and commit the file."
    return "\n".join(["the OpenAPI document has changed:", *lines[:MAX_LINES], *more, advice])


def test_the_committed_document_is_that_of_the_routes() -> None:
    made = written(document() | {"info": document()["info"] | {"version": project_version()}})
    changed = difference(COMMITTED.read_text(encoding="utf-8"), made)
    assert not changed, changed


def project_version() -> str:
    """The version that the file must have; what is installed may be older in a checkout."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def test_a_difference_is_shown_with_the_command_that_mends_it() -> None:
    """Also a large one, of which the beginning is shown."""
    before = written({"paths": {f"/{number}": {} for number in range(1000)}})
    after = written({"paths": {f"/{number}": {"get": {}} for number in range(1000)}})
    assert difference(before, before) == ""
    lines = difference(before, after).splitlines()
    assert '-    "/0": {},' in lines
    assert lines[-1].count("make openapi") == 1
    assert re.fullmatch(r"\.\.\. [0-9]+ more lines", lines[-2])
    assert len(lines) == MAX_LINES + 3


def test_operation_ids_are_short_names_of_methods_and_unique() -> None:
    """Generators make the names of methods from them."""
    names = [operation["operationId"] for operation in operations()]
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+){0,5}", name)] == []
    assert len(set(names)) == len(names)


def test_every_answer_of_json_has_a_schema_and_every_error_a_type() -> None:
    """What has none is of type Any in a generated client. `/models/{name}` answers in the shape of each task."""
    untyped = []
    for operation in operations():
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                if not content.get("schema"):
                    untyped.append((operation["operationId"], status, media_type))
    assert untyped == [("run_task", "200", "application/json")]
    assert [
        (operation["operationId"], status)
        for operation in operations()
        for status, response in operation["responses"].items()
        if int(status) >= 400 and "content" not in response
    ] == []


def test_examples_of_answers_have_the_types_that_are_declared() -> None:
    """Nulls included, which FastAPI drops from examples."""
    num_checked = 0
    for route in (route for protocol in PROTOCOLS for route in protocol.routes if route.answer is not None):
        answered = document()["paths"][route.path][route.method.lower()]["responses"]["200"]
        content = answered["content"]["application/json"]
        if "example" in content:
            TypeAdapter(route.answer).validate_python(content["example"])
            num_checked += 1
    assert num_checked > 30
    refused = document()["paths"]["/v1/completions"]["post"]["responses"]["413"]["content"]["application/json"]
    assert refused["example"]["error"]["param"] is None


def test_nothing_refers_to_an_error_that_no_route_answers_with() -> None:
    text = json.dumps(document())
    assert "HTTPValidationError" not in text
    components = document()["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) == set(components)


def test_a_route_that_always_refuses_promises_no_success() -> None:
    paths = document()["paths"]
    assert "200" not in paths["/v2/logging"]["post"]["responses"]
    assert set(paths["/stream"]["get"]["responses"]) & {"101", "200", "426"} == {"101", "426"}


def test_keys_are_declared_and_optional() -> None:
    """`/docs` offers to send one, and a client may be without."""
    assert document()["security"] == [{}, {"bearer": []}, {"apiKey": []}]
    schemes = document()["components"]["securitySchemes"]
    assert (schemes["bearer"]["scheme"], schemes["apiKey"]["name"]) == ("bearer", "x-api-key")


def test_lists_of_numbers_are_written_on_one_line() -> None:
    """And nothing else is, a text that looks like one least of all."""
    value = {"a": [[1, -2.5e-7], []], "b": "[\n  1\n]", "c": [True, "x"]}
    text = written(value)
    assert "[1, -2.5e-07]" in text
    assert json.loads(text) == value
    assert text.count("\n") == 11


def test_the_command_prints_the_document_and_writes_it_to_a_file(tmp_path: Path) -> None:
    expected = written(document())
    assert CliRunner().invoke(app, ["openapi"]).stdout == expected
    assert CliRunner().invoke(app, ["openapi", "--out", str(tmp_path / "openapi.json")]).exit_code == 0
    assert (tmp_path / "openapi.json").read_text(encoding="utf-8") == expected

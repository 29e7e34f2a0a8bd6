"""Security headers of the pages that document the API."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from fastapi.testclient import TestClient

PAGES = ("/docs", "/redoc")


@pytest.mark.parametrize("path", PAGES)
def test_the_reference_has_the_security_headers_of_the_page(client: TestClient, path: str) -> None:
    """The same headers as `/`, with a policy that allows no script but its own and no other server."""
    reference, page = client.get(path), client.get("/", headers={"Accept": "text/html"})
    named = ("X-Content-Type-Options", "Referrer-Policy", "Cache-Control")
    assert [reference.headers[name] for name in named] == [page.headers[name] for name in named]
    policy = dict(part.split(" ", 1) for part in reference.headers["Content-Security-Policy"].split("; "))
    strict = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy.items() >= strict.items()
    assert "unsafe" not in policy["script-src"]
    assert "http" not in reference.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", PAGES)
def test_every_inline_script_is_allowed_by_its_hash(client: TestClient, path: str) -> None:
    """A browser runs a script in the page only if the policy has the SHA-256 of exactly its text."""
    response = client.get(path)
    scripts = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-(.*?)'", response.headers["Content-Security-Policy"]) == digests
    assert len(re.findall("<script", response.text)) == len(scripts) + 1


def test_the_reference_answers_head(client: TestClient) -> None:
    assert client.head("/docs").status_code == 200

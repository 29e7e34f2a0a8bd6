"""A start on an address that others can reach, without keys, is warned about; all other starts are not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from service.server.app import create_app
from service.server.run import warn_if_open
from service.settings import Settings
from tests.access.key_makers import key, key_file


@pytest.mark.parametrize(
    ("host", "has_keys", "is_warned"),
    [
        ("127.0.0.1", False, False),
        ("127.8.9.10", False, False),
        ("::1", False, False),
        ("localhost", False, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("192.168.1.7", False, True),
        ("models.internal", False, True),
        ("", False, True),
        ("0.0.0.0", True, False),
    ],
)
def test_an_open_address_without_keys_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str, has_keys: bool, is_warned: bool
) -> None:
    path = key_file(tmp_path, key("one")) if has_keys else None
    settings = Settings(models_dir=tmp_path, host=host, api_keys_file=path)
    with caplog.at_level(logging.WARNING):
        warn_if_open(settings, create_app(settings))
    assert ("no API keys" in caplog.text) == is_warned


def test_a_person_at_a_terminal_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere standard error is the log, whose lines are JSON."""
    settings = Settings(models_dir=tmp_path, host="0.0.0.0")
    app = create_app(settings)
    warn_if_open(settings, app)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    warn_if_open(settings, app)
    assert "unroll keys add" in capsys.readouterr().err

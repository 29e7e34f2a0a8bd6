"""Settings come from UNROLL_ variables, and misspelled ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import Settings, SettingsError, read_settings, refuse_unknown_variables


def test_variables_and_overrides_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLL_MAX_BATCH_ITEMS", "16")
    monkeypatch.setenv("UNROLL_PORT", "9000")
    settings = read_settings({"port": 9001, "host": None})
    assert (settings.max_batch_items, settings.port, settings.host) == (16, 9001, "127.0.0.1")
    assert settings.models_dir == Path("models")


def test_an_unknown_variable_is_refused_with_a_suggestion() -> None:
    with pytest.raises(SettingsError, match=r"UNROLL_MAX_BATCH_ITEM is not a setting; did you mean \S+_ITEMS"):
        refuse_unknown_variables({"UNROLL_MAX_BATCH_ITEM": "16"})


def test_variables_of_others_are_left_alone() -> None:
    refuse_unknown_variables({"UNROLL_DATA_DIR": "x", "UNROLL_CACHE_DIR": "x", "UNROLL_URL": "x", "PATH": "x"})
    with pytest.raises(SettingsError, match="the settings are UNROLL_"):
        refuse_unknown_variables({"UNROLL_QQQQQQQQ": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNROLL_PORT", "70000"),
        ("UNROLL_DEVICE", "tpu"),
        ("UNROLL_MAX_QUEUE_ITEMS", "0"),
        ("UNROLL_DEFAULT_MODELS", "Shakespeare!"),
        ("UNROLL_DEFAULT_MODELS", "a,,b"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        read_settings({})


def test_a_request_that_could_never_fit_the_queue_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="max_inputs_per_request must not be larger"):
        Settings(max_inputs_per_request=100, max_queue_items=10)


def test_sessions_in_redis_need_a_key_of_all_replicas() -> None:
    """Redis sessions require a configured state key, because a generated key differs between replicas."""
    with pytest.raises(ValueError, match="UNROLL_REDIS_URL needs UNROLL_STATE_KEYS"):
        Settings(redis_url="redis://127.0.0.1:6379")  # type: ignore[arg-type]


@pytest.mark.parametrize(("session_ttl_s", "state_ttl_s"), [(3600.0, 3599.0), (2.0, 1.0), (700_000.0, 604_800.0)])
def test_a_session_that_outlives_its_state_is_refused_at_the_start(session_ttl_s: float, state_ttl_s: float) -> None:
    """The sentence names both settings with their values."""
    says = rf"UNROLL_SESSION_TTL_S \({session_ttl_s:g}\) must not be longer than UNROLL_STATE_TTL_S \({state_ttl_s:g}\)"
    with pytest.raises(ValueError, match=says.replace("+", r"\+")):
        Settings(session_ttl_s=session_ttl_s, state_ttl_s=state_ttl_s)
    Settings(session_ttl_s=state_ttl_s, state_ttl_s=state_ttl_s)

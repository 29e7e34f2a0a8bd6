"""The standard OpenTelemetry variables enable and disable tracing, and unsupported values are reported at startup."""

from __future__ import annotations

import subprocess
import sys

import pytest

from service.observability.tracing import open_tracer
from service.settings import SettingsError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def test_without_a_collector_there_is_no_tracer_and_the_library_is_not_loaded() -> None:
    program = (
        "import sys; import service.server.app; from service.observability.tracing import open_tracer\n"
        "print(open_tracer('1'), any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, env={}
    )
    assert done.stdout.split() == ["None", "False"]


@pytest.mark.parametrize(("variable", "value"), [("OTEL_SDK_DISABLED", "True"), ("OTEL_TRACES_EXPORTER", "none")])
def test_tracing_can_be_forbidden(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setenv(variable, value)
    assert open_tracer("1") is None


@pytest.mark.parametrize("variable", [ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_either_variable_turns_it_on(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    tracer = open_tracer("1")
    assert tracer is not None
    tracer.close()


def test_a_missing_library_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.delitem(sys.modules, "service.observability.otel_tracer", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    with pytest.raises(SettingsError, match=f"{ENDPOINT} is set, .* make serve-env"):
        open_tracer("1")


def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL: .* http/protobuf only"):
        open_tracer("1")

"""Checks of failures: graceful shutdown under load, and a damaged bundle."""

from __future__ import annotations

from typing import Any

from deploy.verify.load import LoadReport, load
from deploy.verify.stack import Stack
from deploy.verify.steps import CheckFailed, wait_for
from deploy.verify.traffic import ask, models_of


def stop_under_load(stack: Stack) -> str:
    """SIGTERM under load: all accepted requests and streams are completed."""
    models = models_of(stack.service)
    with load(stack.service, models) as report:
        _wait_until_warm(report)
        report.note_stop()
        stack.compose("stop", "--timeout", "30", "service", limit_s=60)
    _judge(report, stack)
    exit_status = stack.inspect("service", "{{.State.ExitCode}}")
    if exit_status != "0":
        raise CheckFailed(f"the service ended with {exit_status}")
    return report.summary()


def _wait_until_warm(report: LoadReport) -> None:
    try:
        wait_for(lambda: report.has_warmed_up or None, 120, "the load did not get going")
    except CheckFailed as failed:
        raise CheckFailed(f"{failed}: {report.progress()}") from failed


def _judge(report: LoadReport, stack: Stack) -> None:
    if report.lost:
        raise CheckFailed(f"{len(report.lost)} accepted requests were lost, first: {report.lost[0]}")
    if not report.num_answered_late:
        raise CheckFailed("no request was under way when the service was stopped, so nothing is shown")
    logged = stack.compose("logs", "--no-log-prefix", "service")
    unanswered = [name for name in report.refused_ids if f'"{name}"' in logged and not _was_refusal(logged, name)]
    if unanswered:
        raise CheckFailed(f"{len(unanswered)} requests were answered in the log and not to the caller: {unanswered[0]}")


def _was_refusal(logged: str, name: str) -> bool:
    """Whether the log line of this request says that the service was draining."""
    return any(f'"{name}"' in line and '"outcome":"not_ready"' in line for line in logged.splitlines())


def bad_bundle(stack: Stack) -> str:
    """With a damaged bundle the service stays unready and reports why, while other models answer."""
    damaged = _damage(stack)
    stack.compose("up", "--detach", "--no-build", "--no-deps", "service")
    reasons = wait_for(lambda: _final_reasons(stack), 60, "the service did not say what is wrong")
    if not any(damaged in reason for reason in reasons):
        raise CheckFailed(f"no reason names {damaged}: {reasons}")
    if stack.service.get("/health/live").status != 200:
        raise CheckFailed("it is not live")
    others = models_of(stack.service)
    if damaged in {model["name"] for model in others} or not others:
        raise CheckFailed(f"{damaged} should be the one model that does not answer")
    for model in others:
        ask(stack.service, model)
    return f"not ready: {reasons[0][:90]}; {len(others)} other models answer"


def _damage(stack: Stack) -> str:
    """Change one byte of a graph. Returns the name of the model."""
    graph = next(iter(sorted(stack.models_dir.glob("*/*/classifier.onnx"))))
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    return graph.parents[1].name


def _final_reasons(stack: Stack) -> list[str] | None:
    """Reasons for not being ready, once loading has finished."""
    try:
        answer = stack.service.get("/health/ready", timeout_s=2)
        listed: list[dict[str, Any]] = stack.service.get("/models", timeout_s=2).json["models"]
    except (OSError, TypeError, KeyError):
        return None
    if answer.status == 200:
        return None
    is_loading = not listed or any(model["state"] == "loading" for model in listed)
    return None if is_loading else list(answer.json["reasons"])

"""Checks of the start: build, health, configuration, hardening, first requests."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from deploy.verify.engine import docker
from deploy.verify.stack import Stack
from deploy.verify.steps import CheckFailed, wait_for
from deploy.verify.traffic import ask, expect, models_of, stream

MAX_SERVICE_IMAGE_BYTES = 350_000_000
#: Local scripts, styles and icons in HTML.
_NAMED_FILE = re.compile(rb'<(?:script|link)[^>]*(?:src|href)="(?!https?:)([^"#]+)"')
_TASKS = {"tagging", "classification", "translation", "generation", "forecasting", "captioning"}

#: Run in the container of the service: any output is a finding.
_HARDENING = """
import os, shutil
from pathlib import Path
if os.getuid() == 0: print("it runs as root")
for tool in ("pip", "apt", "apt-get", "dpkg", "gcc", "cc", "make", "curl", "git"):
    if shutil.which(tool): print(f"{tool} is there")
for folder in ("/", "/models", "/opt/unroll", "/usr/local/lib"):
    try: (Path(folder) / "written").touch(); print(f"{folder} can be written to")
    except OSError: pass
for folder, _, names in os.walk("/usr"):
    for path in (Path(folder) / name for name in names):
        if path.lstat().st_mode & 0o6000: print(f"{path} runs with the rights of its owner")
status = Path("/proc/self/status").read_text()
if "NoNewPrivs:\\t1" not in status: print("it may gain privileges")
if "CapEff:\\t0000000000000000" not in status: print("it has capabilities")
"""


def build(stack: Stack) -> str:
    """Build the image of the service, and report its size."""
    stack.compose("build", "--quiet", "service", limit_s=1200)
    name = f"{stack.project}-service"
    num_bytes = int(docker("image", "inspect", "--format", "{{.Size}}", name))
    if num_bytes > MAX_SERVICE_IMAGE_BYTES:
        raise CheckFailed(f"the image has {num_bytes / 1e6:.0f} MB, more than {MAX_SERVICE_IMAGE_BYTES / 1e6:.0f} MB")
    return f"{num_bytes / 1e6:.0f} MB without bundles"


def up(stack: Stack) -> str:
    """All default services are healthy."""
    stack.compose("up", "--detach", "--wait", "--wait-timeout", "180", limit_s=240)
    running = stack.compose("ps", "--format", "{{.Service}} {{.Health}}").split("\n")
    unhealthy = [line for line in running if line and not line.endswith(" healthy")]
    if unhealthy:
        raise CheckFailed(f"not healthy: {', '.join(unhealthy)}")
    return ", ".join(line.split()[0] for line in running if line)


def configurations(stack: Stack) -> str:
    """Prometheus and Alertmanager accept their configuration."""
    stack.compose("exec", "-T", "prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    stack.compose("exec", "-T", "alertmanager", "amtool", "check-config", "/etc/alertmanager/alertmanager.yml")
    return "promtool check config, amtool check-config"


def hardening(stack: Stack) -> str:
    """The container of the service has no unnecessary privileges or tools."""
    faults = stack.compose("exec", "-T", "service", "python", "-c", _HARDENING).split("\n")
    if any(faults):
        raise CheckFailed(", ".join(fault for fault in faults if fault))
    return "no root, no capabilities, no setuid programs, no build tools, no package managers, nothing writable"


def cold_start(stack: Stack) -> str:
    """Time from the start of the container until the service is ready."""
    stack.compose("stop", "service")
    stack.compose("start", "service")
    limit_s = 60.0
    wait_for(lambda: _ready_at(stack), limit_s, "the service was not ready again", pause_s=0.01)
    ready = time.time()
    started = datetime.fromisoformat(stack.inspect("service", "{{.State.StartedAt}}")).astimezone(UTC)
    return f"ready {ready - started.timestamp():.2f} s after the container's start"


def every_task(stack: Stack) -> str:
    """Each shipped bundle answers its first example through the published port; the language model streams."""
    models = models_of(stack.service)
    missing = _TASKS - {model["task"] for model in models}
    if missing:
        raise CheckFailed(f"no bundle does {', '.join(sorted(missing))}")
    for model in models:
        ask(stack.service, model)
    generators = [model["name"] for model in models if model["task"] == "generation"]
    num_events = sum(len(stream(stack.service, name, 30)) for name in generators)
    return f"{len(models)} models, {len(_TASKS)} tasks, {num_events} streamed tokens"


def every_page(stack: Stack) -> str:
    """HTML pages are served, with all files that they refer to."""
    paths = ["/", "/docs", "/openapi.json", "/metrics", "/health/live"]
    as_a_browser = {"Accept": "text/html"}
    bodies = [expect(stack.service.get(path, headers=as_a_browser), 200).body for path in paths]
    named = sorted({"/" + path.decode().lstrip("/") for body in bodies[:2] for path in _NAMED_FILE.findall(body)})
    for path in named:
        if not expect(stack.service.get(path), 200).body:
            raise CheckFailed(f"{path} is empty")
    return f"{len(paths)} pages and {len(named)} files that they name"


def grafana(stack: Stack) -> str:
    """Grafana and its database are healthy."""
    answer = expect(stack.grafana.get("/api/health"), 200).json
    if answer.get("database") != "ok":
        raise CheckFailed(f"its database is {answer.get('database')!r}")
    return f"version {answer.get('version', 'unknown')}"


def _ready_at(stack: Stack) -> bool | None:
    try:
        return stack.service.get("/health/ready", timeout_s=2).status == 200 or None
    except OSError:
        return None

"""The lock files pin by hash, on every platform, and contain no URL or path."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "locks"
SERVICES = ("service-cpu", "service-gpu", "service-openvino")
ENVIRONMENTS = (*SERVICES, "training", "trackers", "test")
#: Clients of other projects, which the tests run in environments of their own.
CLIENTS = [f"clients/{path.stem}" for path in sorted((LOCKS / "clients").glob("*.txt"))]
#: Engines of data and of services, each in a layer over the test environment.
ENGINES = ("engines/ray", "engines/spark")
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)")
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def entries_of(environment: str) -> list[str]:
    """Return the requirements of a lock file, each joined with its hashes, without comments."""
    lines = (LOCKS / f"{environment}.txt").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return [entry for entry in text.replace("\\\n", " ").splitlines() if entry.strip()]


def pins_of(environment: str) -> dict[str, str]:
    """Return the pinned version of each package."""
    found = [PIN.match(entry) for entry in entries_of(environment)]
    return {match["name"]: match["version"] for match in found if match}


def names_of(requirements: list[str]) -> set[str]:
    """Return the normalized package names of requirement strings such as `onnxruntime-gpu[cuda]>=1.28,<2`."""
    found = [NAME.match(requirement) for requirement in requirements]
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


@pytest.mark.parametrize("environment", [*ENVIRONMENTS, *ENGINES, *CLIENTS])
def test_every_entry_is_one_version_with_hashes(environment: str) -> None:
    entries = entries_of(environment)
    assert len(entries) > (0 if environment in (*CLIENTS, *ENGINES) else 20)
    assert not [entry for entry in entries if not PIN.match(entry) or "--hash=sha256:" not in entry]


@pytest.mark.parametrize("environment", [*ENVIRONMENTS, *ENGINES, *CLIENTS])
def test_no_lock_names_an_address_or_a_path(environment: str) -> None:
    """A lock file contains no index options, URLs or local paths."""
    text = (LOCKS / f"{environment}.txt").read_text(encoding="utf-8")
    assert not re.findall(r"://|^\s*--(?!hash=)\S+|^\s*-[a-z] .*|@ .*", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("environment", "extras"),
    [
        ("service-cpu", ["cpu", "redis"]),
        ("service-gpu", ["gpu", "redis"]),
        ("service-openvino", ["openvino", "redis"]),
        ("training", ["training"]),
        ("trackers", ["tracking"]),
        ("test", ["cpu", "training", "test"]),
    ],
)
def test_a_lock_holds_what_the_project_asks_for(environment: str, extras: list[str]) -> None:
    """A lock file contains every declared dependency, so a missing `make lock` is detected."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + [name for extra in extras for name in project["optional-dependencies"][extra]]
    assert names_of(asked) - {"torch"} <= set(pins_of(environment))


@pytest.mark.parametrize("environment", SERVICES)
def test_the_service_installs_nothing_of_training(environment: str) -> None:
    assert not set(pins_of(environment)) & {"torch", "onnx", "scikit-learn", "safetensors", "tensorboard"}


def test_no_lock_holds_two_runtimes_or_torch() -> None:
    """No lock file has two onnxruntime packages, which conflict, or torch, whose hash is platform-specific."""
    for environment in ENVIRONMENTS:
        pins = pins_of(environment)
        assert len({"onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"} & set(pins)) <= 1
        assert "torch" not in pins


@pytest.mark.parametrize("environment", [*SERVICES, "training", "trackers", *ENGINES])
def test_what_is_served_is_what_was_tested(environment: str) -> None:
    """A package in two lock files has the same version in both."""
    tested = pins_of("test")
    assert not {name for name, version in pins_of(environment).items() if tested.get(name, version) != version}

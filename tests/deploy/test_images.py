"""The images: contents, hashes, and how they run. `make verify-deploy` builds and runs them."""

from __future__ import annotations

import json
import re
import shlex
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.docker import healthcheck, trim

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
NAMES = [path.name for path in FILES]


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return keyword and arguments of each instruction, with continuation lines joined."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def last_stage(path: Path) -> dict[str, str]:
    """Return the last instruction of each kind in the final stage."""
    found: dict[str, str] = {}
    for keyword, rest in instructions(path):
        found = {} if keyword == "FROM" else found
        found[keyword] = rest
    return found


def pip_installs(path: Path) -> list[str]:
    """Return every `pip install`, without the commands chained to it."""
    runs = [part.strip() for keyword, rest in instructions(path) if keyword == "RUN" for part in rest.split("&&")]
    return [run for run in runs if re.search(r"\bpip\b.* install ", run)]


@pytest.fixture(params=FILES, ids=NAMES)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_there_are_images_for_serving_and_training() -> None:
    assert NAMES == ["service.Dockerfile", "training.Dockerfile"]


def test_base_images_have_a_version_and_no_address(dockerfile: Path) -> None:
    """Every base image has a version tag other than `latest`, and no registry address."""
    bases = [rest.split()[0] for keyword, rest in instructions(dockerfile) if keyword == "FROM"]
    assert bases
    assert set(bases) <= {"python:${PYTHON}-slim", "scratch"}
    assert ("ARG", "PYTHON=3.12") in instructions(dockerfile)


def test_the_image_runs_as_a_user_without_rights(dockerfile: Path) -> None:
    """The image runs as a non-root user, given by number so that Kubernetes can verify it."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last_stage(dockerfile)["USER"])


def test_signals_reach_the_program_itself(dockerfile: Path) -> None:
    """The entrypoint has the exec form, so that signals reach the program instead of a shell."""
    stage = last_stage(dockerfile)
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(stage["ENTRYPOINT"]) == ["unroll"]
    assert isinstance(json.loads(stage["CMD"]), list)


def test_the_image_says_how_to_ask_whether_it_is_well(dockerfile: Path) -> None:
    assert "HEALTHCHECK" in last_stage(dockerfile)


def test_the_image_says_what_it_is(dockerfile: Path) -> None:
    labels = dict(item.split("=", 1) for item in shlex.split(last_stage(dockerfile)["LABEL"]))
    names = {name.removeprefix("org.opencontainers.image.") for name in labels}
    assert {"title", "description", "licenses", "version", "revision"} <= names


def test_everything_is_installed_by_its_hash(dockerfile: Path) -> None:
    """Every package is installed with hashes, except the project itself and torch, whose hash is platform-specific."""
    for install in pip_installs(dockerfile):
        is_project = "--no-deps" in install and install.endswith("/src")
        assert "--require-hashes" in install or is_project or "${TORCH}" in install
    assert len(pip_installs(dockerfile)) >= 2


def test_the_service_is_installed_without_torch() -> None:
    assert not [install for install in pip_installs(FILES[0]) if "TORCH" in install]


def test_everything_that_is_copied_is_there_and_not_ignored(dockerfile: Path) -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    for keyword, rest in instructions(dockerfile):
        if keyword != "COPY" or "--from=" in rest:
            continue
        sources = [word for word in rest.split()[:-1] if not word.startswith("--")]
        for source in (name.replace("${RUNTIME}", runtime) for name in sources for runtime in ("cpu", "gpu")):
            assert (ROOT / source).exists(), source
            assert any(source == name or source.startswith(f"{name}/") for name in kept), source


def test_the_service_has_its_port_and_its_bundles_where_compose_expects_them() -> None:
    environment = [rest for keyword, rest in instructions(FILES[0]) if keyword == "ENV"][-1]
    settings = dict(item.split("=", 1) for item in shlex.split(environment))
    assert settings["UNROLL_PORT"] == last_stage(FILES[0])["EXPOSE"] == "8000"
    assert settings["UNROLL_MODELS_DIR"] == "/models"
    assert settings["ORT_DISABLE_TELEMETRY"] == "1"


def required_by(package: str) -> set[str]:
    """Return the packages that require `package`, according to the comments in the lock file."""
    lock = (ROOT / "deploy" / "locks" / "service-cpu.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{package}==.*\n(?:    --hash.*\n)*(?P<via>(?:    #.*\n)*)", lock, flags=re.MULTILINE)
    assert found is not None, f"{package} is in no lock file: it need not be taken out"
    return set(re.findall(r"#   ?(?:via )?([a-z][\w.-]+)$", found["via"], flags=re.MULTILINE))


@pytest.mark.parametrize("package", sorted({*trim.UNUSED_PACKAGES} - {"setuptools"}))
def test_nothing_else_needs_a_package_that_is_taken_out(package: str) -> None:
    """Removed packages are required only by each other, or by an unused download feature of `tokenizers`."""
    needed_by = required_by(package.replace("_", "-"))
    assert needed_by
    assert needed_by <= {name.replace("_", "-") for name in trim.UNUSED_PACKAGES} | {"tokenizers"}


def environment_folder(tmp_path: Path, *files: str) -> Path:
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("12345", encoding="utf-8")
    return tmp_path


def test_trimming_takes_out_what_is_listed_and_nothing_else(tmp_path: Path) -> None:
    packages = "lib/python3.12/site-packages"
    gone = [
        f"{packages}/hf_xet/__init__.py",
        f"{packages}/hf_xet-1.8.0.dist-info/METADATA",
        f"{packages}/numpy/_core/tests/test_x.py",
        f"{packages}/onnxruntime/capi/libonnxruntime.so.1.32.0",
        f"{packages}/uvloop/loop.pyx",
        "bin/pip",
        "bin/pygmentize",
        "bin/uvicorn",
    ]
    kept = [
        f"{packages}/numpy/_core/__init__.py",
        f"{packages}/onnxruntime/capi/libonnxruntime_providers_cuda.so",
        f"{packages}/uvloop/loop.so",
        "bin/python3.12",
        "bin/unroll",
    ]
    folder = environment_folder(tmp_path, *gone, *kept)
    num_bytes = trim.trim_environment(folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(kept)
    assert num_bytes == 5 * len(gone)


def test_trimming_the_base_leaves_the_interpreter_and_the_list_of_packages(tmp_path: Path) -> None:
    kept = ["usr/local/bin/python3.12", "usr/local/lib/python3.12/os.py", "var/lib/dpkg/status"]
    gone = ["usr/local/bin/pip3", "usr/local/lib/python3.12/ensurepip/x.whl", "usr/share/doc/bash/copyright"]
    root = environment_folder(tmp_path, *kept, *gone)
    trim.trim_base(root)
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == sorted(kept)


def test_hardening_leaves_no_package_manager_and_no_rights_of_others(tmp_path: Path) -> None:
    """The list of packages stays, which scanners read, and so do the rights of the owner."""
    gone = [
        "usr/bin/apt-get",
        "usr/bin/dpkg",
        "usr/lib/apt/methods/https",
        "usr/lib/x86_64-linux-gnu/libapt-pkg.so.7",
        "usr/local/bin/pip3.12",
        "usr/local/lib/python3.12/site-packages/pip/__init__.py",
        "var/lib/dpkg/info/bash.postinst",
        "etc/apt/sources.list",
    ]
    kept = ["usr/bin/su", "usr/bin/chage", "usr/bin/python3", "var/lib/dpkg/status"]
    root = environment_folder(tmp_path, *gone, *kept)
    (root / "usr/bin/su").chmod(0o4755)
    (root / "usr/bin/chage").chmod(0o2755)
    assert len(trim.files_with_other_rights(root)) == 2
    trim.harden(root)
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == sorted(kept)
    assert not trim.files_with_other_rights(root)
    assert (root / "usr/bin/su").stat().st_mode & 0o7777 == 0o755


def test_every_image_is_hardened(dockerfile: Path) -> None:
    """In the final stage, or in the stage whose whole file system the final one takes."""
    runs = [rest for keyword, rest in instructions(dockerfile) if keyword == "RUN"]
    copies_all = "--from=base / /" in [rest for keyword, rest in instructions(dockerfile) if keyword == "COPY"]
    assert (
        any("trim.py base /" in run for run in runs)
        if copies_all
        else "trim.py harden /" in last_stage(dockerfile)["RUN"]
    )


@contextmanager
def one_answer(content: bytes) -> Iterator[int]:
    """Listen on a port that sends these bytes to one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(content)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("content", "is_ready"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False), (b"", False)],
)
def test_the_health_check_believes_only_a_200(content: bytes, is_ready: bool) -> None:
    with one_answer(content) as port:
        assert healthcheck.is_ready(port) is is_ready


def test_the_health_check_takes_a_closed_port_for_ill() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert not healthcheck.is_ready(port)

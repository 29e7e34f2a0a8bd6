"""What `pip install .` installs: the wheel's content, and the command in an environment that lacks the extras."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from service.distribution import install_hint

ROOT = Path(__file__).parents[2]
SERVICE_FILES = (
    "service/**/*.py",
    "service/**/*.pyi",
    "service/**/*.proto",
    "service/**/py.typed",
    "service/playground/**/*.*",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built offline from a copy, so that no old build folder gets into it."""
    folder = tmp_path_factory.mktemp("build")
    for name in ("service", "training"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / "source" / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(folder / "source")]
    subprocess.run(command, check=True, timeout=600)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site-packages of a new environment with the wheel; dependencies come from the environment of the tests."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    paths = {"base": str(home), "platbase": str(home)}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    command = [sys.executable, "-m", "pip", "--python", str(home), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*command, str(wheel)], check=True, timeout=600)
    # As entries of the path only: the editable install of the checkout, a `.pth` file, stays out of sight.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return packages


def unroll(installed: Path, *arguments: str, missing: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run the installed command away from the checkout, as if `missing` modules were not installed."""
    home = next(parent for parent in installed.parents if (parent / "pyvenv.cfg").is_file())
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    hide = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    (installed / "hidden.pth").write_text("import hidden_modules\n", encoding="utf-8")
    (installed / "hidden_modules.py").write_text(hide, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [scripts / "unroll", *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    """What the service and training read is there; experiments, tests, bundles and deployment files are not."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"service", "training"}
    assert not [name for name in names if name.startswith("training/experiments")]
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in (*SERVICE_FILES, "training/**/*.py", "training/**/*.toml", "training/recipes/grammars/*.lark")
        for path in ROOT.glob(pattern)
        if "__pycache__" not in path.parts and "experiments" not in path.parts
    }
    assert names == expected


def test_the_wheel_is_named_so_that_no_other_project_is_meant(wheel: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert wheel.name == f"unroll_rnn-{version}-py3-none-any.whl"


def test_the_installed_command_says_its_version(installed: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert unroll(installed, "--version").stdout == f"unroll {version}\n"


def test_the_installed_command_answers_from_a_bundle(installed: Path, tiny_models: Path) -> None:
    done = unroll(installed, "predict", "--models", str(tiny_models), "-m", "tiny-classifier", "--json", "hello")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predictions"]


@pytest.mark.parametrize("command", [("serve",), ("predict", "-m", "tiny-classifier", "hello"), ("generate", "hello")])
def test_without_a_runtime_the_commands_name_the_extras(
    installed: Path, tiny_models: Path, command: tuple[str, ...]
) -> None:
    """One sentence, not a traceback."""
    done = unroll(installed, *command, "--models", str(tiny_models), missing=("onnxruntime",))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for extra in ("cpu", "gpu", "openvino"):
        assert f"pip install 'unroll-rnn[{extra}]'" in done.stderr


@pytest.mark.parametrize("command", [("train", "pos-en"), ("find-lr", "pos-en")])
def test_without_torch_the_training_commands_name_the_extra(installed: Path, command: tuple[str, ...]) -> None:
    done = unroll(installed, *command, missing=("torch", "onnx", "safetensors", "sklearn"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "pip install 'unroll-rnn[training]'" in done.stderr


def test_the_installed_package_says_where_the_experiments_are(installed: Path) -> None:
    done = unroll(installed, "experiment", "--list")
    assert done.returncode == 2
    assert "experiments are not part of the installed package" in " ".join(done.stderr.split())


def test_hints_fit_an_installed_package_and_a_checkout(tmp_path: Path) -> None:
    """By name where the package is installed; in a checkout a target of the Makefile, or an install in place."""
    assert install_hint("gpu", tmp_path) == "pip install 'unroll-rnn[gpu]'"
    assert install_hint("gpu", ROOT) == "make serve-env RUNTIME=gpu"
    assert install_hint("search", ROOT) == "pip install -e '.[search]'"


def test_every_extra_that_a_hint_names_exists() -> None:
    """Hints are strings: a renamed extra would be noticed by nobody else."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    paths = [path for package in ("service", "training") for path in (ROOT / package).rglob("*.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in paths)
    named = set(re.findall(r"install_hint\(['\"](\w+)", sources))
    assert {"gpu", "training"} <= named <= set(extras)

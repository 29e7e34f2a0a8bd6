"""Examples of jobs for clusters: fields are known, and their command lines are those of torchrun and `unroll`."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from torch.distributed.run import get_args_parser

from tests.deploy.kubernetes.manifests import assert_valid
from training.cli.commands import app
from training.config.recipe import find_recipe

FOLDER = Path(__file__).parents[3] / "deploy" / "training"
MANIFESTS = ("runtime.yaml", "train-job.yaml", "search-job.yaml")
SCRIPTS = ("train.sbatch", "search.sbatch")
#: What Slurm sets in a job of two nodes, and in one of an array.
SLURM = {
    "SLURM_JOB_ID": "123456",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_ARRAY_JOB_ID": "77",
}
#: Directives of sbatch in use, and the form of their values.
DIRECTIVES = {
    "job-name": r"[a-z-]+",
    "nodes": r"\d+",
    "ntasks": r"\d+",
    "ntasks-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "mem": r"\d+[KMGT]",
    "time": r"(\d+-)?\d+:\d\d:\d\d",
    "requeue": "",
    "signal": r"(B:)?TERM@\d+",
    "array": r"\d+-\d+(%\d+)?",
    "output": r"[%\w.-]+",
}


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return found


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """The subcommand and the options that `unroll` understands of a command line; fails where it does not."""
    group: Any = typer.main.get_command(app)
    context = group.commands[arguments[0]].make_context(arguments[0], list(arguments[1:]))
    return arguments[0], context.params


def pod_of(runtime: dict[str, Any]) -> dict[str, Any]:
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    template: dict[str, Any] = job["template"]
    return template


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_field_is_known(name: str) -> None:
    """Fields are those of Kubernetes and of Kubeflow Trainer, in the pods as well."""
    resource = read(name)
    assert_valid(resource)
    if resource["kind"] == "TrainingRuntime":
        job = pod_of(resource)
        assert job["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
        spec = {**job["spec"], "template": {"spec": {**job["spec"]["template"]["spec"], "restartPolicy": "Never"}}}
        assert_valid({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "node"}, "spec": spec})


def test_the_train_job_fits_its_runtime() -> None:
    """The job refers to the runtime beside it, whose container is the one that Trainer fills in."""
    runtime, job = read("runtime.yaml"), read("train-job.yaml")["spec"]
    assert job["runtimeRef"] == {
        "apiGroup": runtime["apiVersion"].partition("/")[0],
        "kind": runtime["kind"],
        "name": runtime["metadata"]["name"],
    }
    (container,) = pod_of(runtime)["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "node"


def test_the_train_job_is_a_command_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables that Trainer sets, torchrun reads nodes and rank, and `train` its options."""
    for key, value in {
        "NNODES": "2",
        "NODE_RANK": "1",
        "MASTER_ADDR": "pos-en-node-0-0",
        "NPROC_PER_NODE": "1",
    }.items():
        monkeypatch.setenv(f"PET_{key}", value)
    trainer = read("train-job.yaml")["spec"]["trainer"]
    program, *arguments = [*trainer["command"], *trainer["args"]]
    launch = get_args_parser().parse_args(arguments)
    assert (program, launch.nnodes, launch.node_rank, launch.nproc_per_node) == ("torchrun", "2", 1, "1")
    assert (launch.module, launch.training_script, launch.master_addr) == (True, "training", "pos-en-node-0-0")
    command, options = parsed(launch.training_script_args)
    assert (command, options["go_on"], options["export_after"]) == ("train", True, True)
    assert find_recipe(options["recipe"]).is_file()


def test_the_search_job_is_a_command_of_unroll() -> None:
    """All pods work on one study, which lies on the volume that they share."""
    (container,) = read("search-job.yaml")["spec"]["template"]["spec"]["containers"]
    command, options = parsed(container["args"])
    assert (container["command"], command, options["trials"], len(options["vary"])) == (["unroll"], "search", 40, 2)
    assert options["storage"].startswith("/unroll/runs/")
    assert "/unroll/runs" in {mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("name", SCRIPTS)
def test_directives_are_those_of_sbatch(name: str) -> None:
    """Directives stand before the first command, are known, and have values of their form."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    assert directives
    assert not [line for line in lines[first_command:] if line.startswith("#SBATCH")]
    for directive in directives:
        key, _, value = directive.partition("=")
        assert re.fullmatch(DIRECTIVES[key], value), directive


def run(name: str, tmp_path: Path, *arguments: str) -> list[list[str]]:
    """Run a script with stand-ins for Slurm; returns the arguments with which it starts torchrun or `unroll`."""
    stands_in = {
        "scontrol": 'printf "n1\\nn2\\n"',
        "srun": 'shift; for node in 0 1; do SLURM_NODEID=$node "$@"; done',
        "torchrun": 'printf "%s\\n" "$@" >>"$SAID"; echo END >>"$SAID"',
        "unroll": 'printf "%s\\n" "$@" >>"$SAID"; echo END >>"$SAID"',
    }
    for program, content in stands_in.items():
        (tmp_path / program).write_text(f"#!/bin/bash\n{content}\n", encoding="utf-8")
        (tmp_path / program).chmod(0o755)
    said = tmp_path / "said"
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, **SLURM, "PATH": path, "SAID": str(said)}
    subprocess.run(["bash", str(FOLDER / name), *arguments], env=environment, check=True)
    return [call.splitlines() for call in said.read_text(encoding="utf-8").split("END\n")[:-1]]


def test_slurm_starts_one_torchrun_a_node(tmp_path: Path) -> None:
    """Each node starts torchrun with its rank; the first keeps the rendezvous; options of the caller reach `train`."""
    calls = run("train.sbatch", tmp_path, "pos-en", "--set", "training.epochs=2 ")
    launches = [get_args_parser().parse_args(call) for call in calls]
    assert [(each.nnodes, each.node_rank) for each in launches] == [("2", 0), ("2", 1)]
    assert [each.rdzv_conf for each in launches] == [f"join_timeout=600,is_host={it}" for it in ("true", "false")]
    for launch in launches:
        assert (launch.rdzv_backend, launch.rdzv_endpoint, launch.rdzv_id) == ("c10d", "n1:23456", "123456")
        command, options = parsed(launch.training_script_args)
        assert (command, options["recipe"], options["go_on"]) == ("train", "pos-en", True)
        assert options["settings"] == ["training.epochs=2 "]


def test_slurm_shares_one_study_in_an_array(tmp_path: Path) -> None:
    """All jobs of an array search in one journal."""
    (call,) = run("search.sbatch", tmp_path, "pos-en", "--trials", "3", "--vary", "seed=1,2")
    command, options = parsed(call)
    assert (command, options["trials"], options["vary"]) == ("search", 3, ["seed=1,2"])
    assert options["storage"] == "runs/study-77.journal"

"""The examples of Ray Serve agree with each other, with the sources that they name and with the settings."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings, refuse_unknown_variables
from tests.deploy.kubernetes.manifests import RAY_SERVICE, read

RAY = RAY_SERVICE.parent
SERVE = read(RAY / "serve.yaml")
SPEC = read(RAY_SERVICE)["spec"]
CLUSTER = SPEC["rayClusterConfig"]


def application() -> dict[str, Any]:
    (only,) = SERVE["applications"]
    found: dict[str, Any] = only
    return found


def test_kuberay_serves_what_the_file_for_other_clusters_says() -> None:
    assert yaml.safe_load(SPEC["serveConfigV2"]) == SERVE


def test_the_configuration_names_what_the_module_has() -> None:
    """The deployment and the application are those of the module, which lies beside the file."""
    module, _, name = application()["import_path"].partition(":")
    tree = ast.parse((RAY / f"{module}.py").read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    names = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}  # type: ignore[attr-defined]
    assert name in names
    assert {deployment["name"] for deployment in application()["deployments"]} <= classes


def test_variables_of_replicas_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = application()["runtime_env"]["env_vars"]
    ours = {name: value for name, value in variables.items() if name.startswith("UNROLL_")}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    refuse_unknown_variables(ours)
    assert Settings().models_dir == Path(variables["UNROLL_MODELS_DIR"])


def test_replicas_fit_on_the_pods_that_kuberay_may_start() -> None:
    """CPUs of all replicas at most are those of all pods at most, and each pod mounts the bundles."""
    (deployment,) = application()["deployments"]
    (group,) = CLUSTER["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    offered = int(container["resources"]["limits"]["cpu"]) * group["maxReplicas"]
    wanted = deployment["ray_actor_options"]["num_cpus"] * deployment["autoscaling_config"]["max_replicas"]
    assert wanted == offered
    models = application()["runtime_env"]["env_vars"]["UNROLL_MODELS_DIR"]
    assert models in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_the_drain_of_ray_and_of_pods_is_longer_than_that_of_the_service() -> None:
    (deployment,) = application()["deployments"]
    (group,) = CLUSTER["workerGroupSpecs"]
    given = deployment["graceful_shutdown_timeout_s"]
    assert Settings().drain_timeout_s < given < group["template"]["spec"]["terminationGracePeriodSeconds"]

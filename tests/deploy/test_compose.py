"""The compose file: published ports, privileges, limits, and consistency with the files that it refers to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LONG_RUNNING = sorted(set(SERVICES) - {"train"})
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?P<rest>:[-?][^}]*)?\}")


def filled_in(text: str) -> str:
    """Return the text with the variables' defaults substituted."""
    return VARIABLE.sub(lambda found: (found["rest"] or "")[2:], text)


def example_environment() -> dict[str, str]:
    """Return names and values in `.env.example`."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def yaml_of(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"ms": 0.001, "s": 1.0, "m": 60.0}[unit]


def test_service_prometheus_alertmanager_and_grafana_run_by_default() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {
        "service",
        "prometheus",
        "alertmanager",
        "grafana",
    }


def test_each_profile_starts_its_own() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"service-gpu": ["gpu"], "redis": ["redis"], "train": ["train"]}


def test_only_the_service_and_grafana_are_published_beyond_this_machine() -> None:
    """Only the service and Grafana are published on all interfaces; other containers have no authentication."""
    published = {name: [filled_in(port) for port in service.get("ports", [])] for name, service in SERVICES.items()}
    beyond = {name for name, ports in published.items() if any(not port.startswith("127.0.0.1:") for port in ports)}
    assert beyond == {"service", "service-gpu", "grafana"}
    assert all(len(ports) <= 1 for ports in published.values())


def test_no_two_containers_want_the_same_port() -> None:
    ports = [filled_in(port).rsplit(":", 2)[-2] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_has_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_limits(name: str) -> None:
    """Every container has resource limits."""
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_every_container_that_stays_is_asked_whether_it_is_well(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_whoever_waits_waits_for_health() -> None:
    """Every dependency waits for `service_healthy`."""
    waits = [wait for service in SERVICES.values() for wait in service.get("depends_on", {}).values()]
    assert waits
    assert {wait["condition"] for wait in waits} == {"service_healthy"}


def test_prometheus_does_not_wait_for_the_service() -> None:
    """Prometheus does not depend on the service, so that it can alert when the service does not start."""
    assert "service" not in SERVICES["prometheus"]["depends_on"]


def test_every_setting_that_is_passed_on_exists() -> None:
    """Every `UNROLL_` variable passed to the service is a known setting; the service rejects unknown ones."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    passed = {
        name
        for service in ("service", "service-gpu")
        for name in SERVICES[service]["environment"]
        if name.startswith(ENV_PREFIX)
    }
    assert passed
    assert passed <= known


def test_the_service_starts_with_the_defaults_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's settings are valid with the default values of the compose file."""
    for name, value in SERVICES["service"]["environment"].items():
        monkeypatch.setenv(name, "k" * 32 if ":?" in str(value) else filled_in(str(value)))
    assert Settings().state_key_list == ["k" * 32]


def test_every_variable_is_explained_in_the_example() -> None:
    """Every variable of the compose file is in `.env.example`, and every variable there is used."""
    used = {found["name"] for found in VARIABLE.finditer(TEXT)}
    from_make = {"VERSION", "REVISION"}
    assert used - from_make == set(example_environment())


def test_defaults_and_example_agree() -> None:
    defaults = {found["name"]: found["rest"][2:] for found in VARIABLE.finditer(TEXT) if found["rest"][1] == "-"}
    example = example_environment()
    assert {name: example[name] for name in defaults.keys() & example.keys()} == {
        name: defaults[name] for name in defaults.keys() & example.keys()
    }


@pytest.mark.parametrize("name", ["UNROLL_STATE_KEYS", "GRAFANA_ADMIN_PASSWORD"])
def test_a_missing_secret_stops_the_start_with_a_sentence(name: str) -> None:
    """Without a value for a secret, compose stops with an error message; no secret has a default."""
    uses = [found["rest"] for found in VARIABLE.finditer(TEXT) if found["name"] == name]
    assert uses
    assert all(rest.startswith(":?") and len(rest.split()) > 5 for rest in uses)
    assert example_environment()[name] == ""


def test_make_fills_in_variables_that_the_example_has() -> None:
    """The variables that `make` fills in exist in `.env.example`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    filled = set(re.findall(r"s\|\^([A-Z_]+)=\.\*\|", makefile))
    assert {"UNROLL_STATE_KEYS", "GRAFANA_ADMIN_PASSWORD", "SERVICE_CPUS"} <= filled <= set(example_environment())


def test_the_file_with_the_secrets_stays_out_of_the_repository() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_every_mounted_file_is_there() -> None:
    """Every bind-mounted path exists; Docker would create an empty directory otherwise."""
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    paths = {filled_in(volume).split(":")[0] for volume in volumes if filled_in(volume).startswith("./")}
    assert len(paths) >= 5
    assert not [path for path in paths - {"./data", "./runs"} if not (ROOT / path).exists()]


def test_every_named_volume_is_declared_and_used() -> None:
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    used = {volume.split(":")[0] for volume in volumes if not volume.startswith((".", "$"))}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "image" in service])
def test_images_of_others_have_a_version_and_no_address(name: str) -> None:
    repository, _, tag = SERVICES[name]["image"].partition(":")
    assert re.match(r"v?\d", tag)
    assert "." not in repository.split("/")[0]


def test_docker_waits_longer_than_the_service_drains() -> None:
    """The stop grace period exceeds the drain timeout."""
    for name in ("service", "service-gpu"):
        settings = Settings()
        assert seconds(SERVICES[name]["stop_grace_period"]) > settings.stop_delay_s + settings.drain_timeout_s


def test_redis_cannot_be_reached_from_where_everyone_is() -> None:
    assert SERVICES["redis"]["networks"] == ["sessions"]
    assert COMPOSE["networks"]["sessions"]["internal"] is True
    assert [name for name, service in SERVICES.items() if "sessions" in service["networks"]] == [
        "service",
        "service-gpu",
        "redis",
    ]


def test_redis_starts_as_its_own_user() -> None:
    """Redis runs as its own user, because without capabilities its entrypoint cannot switch from root."""
    assert SERVICES["redis"]["user"] == "redis"


def test_prometheus_asks_containers_that_exist() -> None:
    config = yaml_of("deploy/prometheus/prometheus.yml")
    scrapes = config["scrape_configs"]
    targets = [target for job in scrapes for group in job["static_configs"] for target in group["targets"]]
    alertmanagers = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    names = {target.split(":")[0] for target in targets + alertmanagers} - {"127.0.0.1"}
    names |= {name for job in scrapes for group in job.get("dns_sd_configs", []) for name in group["names"]}
    assert names == {"service", "service-gpu", "alertmanager"}
    assert names <= set(SERVICES)


def test_prometheus_reads_the_rules_that_are_mounted() -> None:
    (pattern,) = yaml_of("deploy/prometheus/prometheus.yml")["rule_files"]
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"])
    assert mounts["./deploy/prometheus/rules"] == str(Path(pattern).parent)
    assert list((ROOT / "deploy/prometheus/rules").glob(Path(pattern).name))


def test_grafana_opens_with_a_dashboard_that_is_mounted() -> None:
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    mounts = {target: source for source, target, *_ in (v.split(":") for v in SERVICES["grafana"]["volumes"])}
    assert (ROOT / mounts[str(home.parent)] / home.name).is_file()


def test_every_route_of_alerts_ends_at_a_receiver() -> None:
    config = yaml_of("deploy/alertmanager/alertmanager.yml")
    routes = [config["route"], *config["route"]["routes"]]
    assert {route["receiver"] for route in routes} == {receiver["name"] for receiver in config["receivers"]}


def test_no_alert_leaves_the_machine_unasked() -> None:
    """Alertmanager's receivers have no integrations, so no alert is sent by default; a README explains that."""
    config = yaml_of("deploy/alertmanager/alertmanager.yml")
    assert all(set(receiver) == {"name"} for receiver in config["receivers"])
    assert (ROOT / "deploy/alertmanager/README.md").is_file()

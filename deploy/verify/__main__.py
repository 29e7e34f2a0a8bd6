"""Run all checks: `python -m deploy.verify`. Needs only Docker with compose, and Python."""

from __future__ import annotations

import signal
import sys

from deploy.verify import check_faults, check_monitoring, check_start
from deploy.verify.engine import EngineMissing, require_engine
from deploy.verify.stack import Stack
from deploy.verify.steps import Step, run_steps

STEPS = (
    Step("build the image of the service", check_start.build, is_vital=True),
    Step("start everything and wait until it is healthy", check_start.up, is_vital=True),
    Step("check the configuration of Prometheus and Alertmanager", check_start.configurations),
    Step("check that the service is hardened", check_start.hardening),
    Step("send requests to every model through the published port", check_start.every_task),
    Step("open every page", check_start.every_page),
    Step("check the health of Grafana", check_start.grafana),
    Step("check that every target is up in Prometheus", check_monitoring.target_up),
    Step("restart the service and measure the time to readiness", check_start.cold_start, is_vital=True),
    Step("reload the bundles", check_monitoring.reload),
    Step("run every query of every dashboard", check_monitoring.dashboards),
    Step("find the exemplar of a traced request", check_monitoring.exemplars),
    Step("check that every rule is evaluated", check_monitoring.rules_evaluate),
    Step("stop the service under load", check_faults.stop_under_load),
    Step("wait for the alert in Alertmanager", check_monitoring.alert_arrives),
    Step("start again with a damaged bundle", check_faults.bad_bundle),
)


def main() -> int:
    """Exit status 0: all checks passed. 1: one failed. 2: no Docker engine. 130: interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):  # clean up even if the shell ignores Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        print(require_engine(), flush=True)
        with Stack() as stack:
            if run_steps(STEPS, stack):
                return 0
            print(f"\nlast log lines of the containers:\n{stack.last_words()}", flush=True)
            return 1
    except EngineMissing as error:
        print(f"verify-deploy cannot run here: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started has been removed", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

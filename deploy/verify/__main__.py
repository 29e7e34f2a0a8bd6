"""`python -m deploy.verify`: needs Docker with compose, and Python; nothing else has to be installed."""

from __future__ import annotations

import signal
import sys

from deploy.verify import check_faults, check_monitoring, check_start
from deploy.verify.engine import EngineMissing, require_engine
from deploy.verify.stack import Stack
from deploy.verify.steps import Step, run_steps

STEPS = (
    Step("build the image of the service", check_start.build, is_vital=True),
    Step("bring everything up, healthy", check_start.up, is_vital=True),
    Step("check what Prometheus and Alertmanager are told", check_start.configurations),
    Step("look for rights and tools that the service does not need", check_start.hardening),
    Step("ask every model through the published port", check_start.every_task),
    Step("open every page", check_start.every_page),
    Step("ask Grafana whether it is well", check_start.grafana),
    Step("see every target up in Prometheus", check_monitoring.target_up),
    Step("restart the service and see when it is ready", check_start.cold_start, is_vital=True),
    Step("reload the bundles", check_monitoring.reload),
    Step("run every query of every dashboard", check_monitoring.dashboards),
    Step("find the trace of a request beside its latency", check_monitoring.exemplars),
    Step("see every rule evaluated", check_monitoring.rules_evaluate),
    Step("stop the service under load", check_faults.stop_under_load),
    Step("wait for the alert in Alertmanager", check_monitoring.alert_arrives),
    Step("start again with a damaged bundle", check_faults.bad_bundle),
)


def main() -> int:
    """0: all steps held. 1: one did not. 2: there is no engine to try it on. 130: interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):  # so that it cleans up, also where a shell has it ignore Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        print(require_engine(), flush=True)
        with Stack() as stack:
            if run_steps(STEPS, stack):
                return 0
            print(f"\nthe last that the containers wrote:\n{stack.last_words()}", flush=True)
            return 1
    except EngineMissing as error:
        print(f"verify-deploy cannot run here: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; everything that was started has been removed", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

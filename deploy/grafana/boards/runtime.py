"""Runtime board: CPU, memory, event loop, lanes, reloads, start-up and GPU."""

from __future__ import annotations

from grafana_foundation_sdk.models.common import BigValueTextMode

from deploy.grafana.boards.board import Board, Row
from deploy.grafana.boards.panels import GREEN, RED, YELLOW, Chart, Number, Panel, Step, Word
from deploy.grafana.boards.queries import INSTANCES, PROCESS, Query, quantile, quantiles, rate
from deploy.grafana.boards.tables import Table

LAG = "unroll_event_loop_lag_seconds"
MEMORY = f"process_resident_memory_bytes{{{PROCESS}}}"
MEMORY_LIMIT = f"unroll_memory_limit_bytes{{{INSTANCES}}}"

A_GPU = "a GPU"

ANSWERS: tuple[Panel, ...] = (
    Number(
        title="Memory, share of the limit",
        description="Memory of the fullest instance as a share of its limit. At 100 % it is killed; see the runbook "
        "memory-growth.",
        queries=(Query(f"max({MEMORY} / on (job, instance) {MEMORY_LIMIT})", "fullest"),),
        unit="percentunit",
        decimals=0,
        steps=(Step(None, GREEN), Step(0.75, YELLOW), Step(0.9, RED)),
    ),
    Number(
        title="Event loop lag, p99",
        description="99th percentile of the event loop lag, which delays every request. Above 100 ms see the runbook "
        "event-loop-lag.",
        queries=(Query(quantile(0.99, LAG, INSTANCES), "p99"),),
        unit="s",
        steps=(Step(None, GREEN), Step(0.025, YELLOW), Step(0.1, RED)),
    ),
    Number(
        title="Longest run now",
        description="Age of the oldest unfinished graph run. Runs usually take milliseconds; above 30 s see the "
        "runbook lane-stuck.",
        queries=(Query(f"max(unroll_lane_run_age_seconds{{{INSTANCES}}})", "longest"),),
        unit="s",
        steps=(Step(None, GREEN), Step(5, YELLOW), Step(30, RED)),
    ),
    Number(
        title="Last reload",
        description="Whether the last reload of the models folder succeeded. Failed: the models loaded before "
        "continue to serve; see the runbook reload-failing.",
        queries=(Query(f"min(unroll_last_reload_successful{{{INSTANCES}}})", "last reload"),),
        words={"0": Word("failed", RED), "1": Word("ok", GREEN)},
    ),
    Number(
        title="Uptime",
        description="Time since the latest start of an instance. Short without a deployment: it crashed or was killed; "
        "the container engine has the reason.",
        queries=(Query(f"time() - max(process_start_time_seconds{{{PROCESS}}})", "youngest"),),
        unit="s",
    ),
    Table(
        title="Versions",
        description="Versions of the service, of onnxruntime and of Python. More than one line outside a roll-out: "
        "the instances differ.",
        queries=(Query(f"count by (version, onnxruntime, python) (unroll_build_info{{{INSTANCES}}})"),),
        columns=("version", "onnxruntime", "python"),
        width=4,
        height=5,
    ),
)

PROCESSOR: tuple[Panel, ...] = (
    Chart(
        title="Cores used",
        description="CPU cores used, by instance, and (dashed) the number of lanes. Far above the lanes: HTTP handling "
        "takes much CPU time too. Far below with requests waiting: see throttling.",
        queries=(
            Query(rate("process_cpu_seconds_total", PROCESS), "{{instance}}"),
            Query(f"unroll_lanes{{{INSTANCES}}}", "{{instance}} lanes"),
        ),
        faint=".* lanes",
    ),
    Chart(
        title="Lanes busy by instance",
        description="Share of time in which the lanes run graphs. Near 100 %: the instance is saturated.",
        queries=(
            Query(f"{rate('unroll_lane_busy_seconds_total', INSTANCES)} / unroll_lanes{{{INSTANCES}}}", "{{instance}}"),
        ),
        unit="percentunit",
        maximum=1,
    ),
    Chart(
        title="CPU throttling",
        description="Seconds per second in which the container was throttled by its CPU quota. Above zero for long: "
        "raise the quota, or lower UNROLL_LANES.",
        queries=(
            Query(
                rate("unroll_cpu_throttled_seconds_total", INSTANCES),
                "{{instance}}",
                needs="a container with a quota",
            ),
        ),
        unit="s",
        at_least=1,
    ),
)

MEMORY_PANELS: tuple[Panel, ...] = (
    Chart(
        title="Memory",
        description="Resident memory by instance. Flat after the start is normal; rising for hours without more "
        "traffic: see the runbook memory-growth.",
        queries=(Query(MEMORY, "{{instance}}"),),
        unit="bytes",
    ),
    Chart(
        title="Garbage collections",
        description="Collections per second by generation. Generation 2 scans all objects and should be rare.",
        queries=(
            Query(f"sum by (generation) ({rate('python_gc_collections_total', PROCESS)})", "generation {{generation}}"),
        ),
        unit="ops",
    ),
    Chart(
        title="Open files",
        description="Open files and connections by instance. Rising for hours: clients or the service leak "
        "connections.",
        queries=(Query(f"process_open_fds{{{PROCESS}}}", "{{instance}}"),),
    ),
)

LOOP: tuple[Panel, ...] = (
    Chart(
        title="Event loop lag",
        description="Delay of timers in the event loop, measured ten times a second. High: something blocks the loop, "
        "or other programs use the CPU.",
        queries=quantiles(LAG, INSTANCES),
        unit="s",
        limit=0.1,
    ),
    Chart(
        title="Longest run",
        description="Age of the oldest unfinished graph run, by instance. A line that keeps climbing is a stuck lane.",
        queries=(Query(f"unroll_lane_run_age_seconds{{{INSTANCES}}}", "{{instance}}"),),
        unit="s",
    ),
    Chart(
        title="Reloads",
        description="Reloads of the models folder per minute, by outcome. failed: the log names the bundle and the "
        "reason.",
        queries=(
            Query(
                f"60 * sum by (outcome) (rate(unroll_reloads_total{{{INSTANCES}}}[5m]))",
                "{{outcome}}",
                needs="a reload",
            ),
        ),
        unit="cpm",
        at_least=1,
    ),
    Chart(
        title="Log lines dropped",
        description="Log lines per second that were dropped, by instance. Above zero: nobody reads standard error, or "
        "its disk is full; requests are answered all the same.",
        queries=(Query(rate("unroll_log_lines_dropped_total", INSTANCES), "{{instance}}"),),
        unit="ops",
        at_least=1,
        width=12,
    ),
    Chart(
        title="Background tasks failed",
        description="Failures of background tasks per minute, by task. Each is restarted, after a pause of up to a "
        "minute; the log has the error.",
        queries=(Query(f"60 * sum by (task) (rate(unroll_background_failures_total{{{INSTANCES}}}[5m]))", "{{task}}"),),
        unit="cpm",
        at_least=1,
        width=12,
    ),
)

START: tuple[Panel, ...] = (
    Chart(
        title="Workers ready",
        description="Worker processes that are ready, by instance, and (dashed) how many there should be. Below that "
        "for long: see the runbook workers-failing.",
        queries=(
            Query(f"unroll_workers{{{INSTANCES}}}", "{{instance}}"),
            Query(f"unroll_max_workers{{{INSTANCES}}}", "{{instance}} wanted"),
        ),
        faint=".* wanted",
        width=12,
    ),
    Chart(
        title="Workers replaced",
        description="Workers per minute that ended and were replaced, by instance. Each took its requests with it; the "
        "log says how it ended.",
        queries=(Query(f"60 * {rate('unroll_worker_restarts_total', INSTANCES)}", "{{instance}}"),),
        unit="cpm",
        at_least=1,
        width=12,
    ),
    Number(
        title="Time to start",
        description="From the start of the process until it was ready, by instance. Above 2 s on a CPU: many or large "
        "bundles, or a slow disk.",
        queries=(Query(f"unroll_start_seconds{{{INSTANCES}}}", "{{instance}}"),),
        unit="s",
        steps=(Step(None, GREEN), Step(2, YELLOW), Step(10, RED)),
        width=8,
    ),
    Number(
        title="Last change of models",
        description="Time of the last change of the loaded bundles, by instance. Instances that differ by more than "
        "the duration of a roll-out may serve different versions.",
        queries=(Query(f"1000 * unroll_last_reload_timestamp_seconds{{{INSTANCES}}}", "{{instance}}"),),
        unit="dateTimeAsIso",
        width=8,
    ),
    Number(
        title="Providers",
        description="Execution providers with their number of bundles. The CPU provider on a machine with a GPU: see "
        "the runbook fell-back-to-cpu.",
        queries=(
            Query(
                f"count by (provider, precision) (unroll_execution_provider_info{{{INSTANCES}}})",
                "{{provider}} {{precision}}",
            ),
        ),
        text=BigValueTextMode.VALUE_AND_NAME,
        width=8,
    ),
)

GPU: tuple[Panel, ...] = (
    Chart(
        title="GPU busy",
        description="Share of time in which the GPU is busy. Low with requests waiting: the batches are too small to "
        "fill it.",
        queries=(Query(f"unroll_gpu_utilization_ratio{{{INSTANCES}}}", "{{instance}} GPU {{gpu}}", needs=A_GPU),),
        unit="percentunit",
        maximum=1,
        width=12,
    ),
    Chart(
        title="GPU memory",
        description="GPU memory in use by all programs, and (dashed) its size. Near the limit, loading another bundle "
        "will fail.",
        queries=(
            Query(f"unroll_gpu_memory_used_bytes{{{INSTANCES}}}", "{{instance}} GPU {{gpu}}", needs=A_GPU),
            Query(f"unroll_gpu_memory_bytes{{{INSTANCES}}}", "{{instance}} GPU {{gpu}} limit", needs=A_GPU),
        ),
        unit="bytes",
        width=12,
        faint=".* limit",
    ),
)

BOARD = Board(
    "runtime",
    "Process health: CPU, memory, event loop, reloads, and the GPU if there is one.",
    (
        Row("", ANSWERS),
        Row("CPU", PROCESSOR),
        Row("Memory and files", MEMORY_PANELS),
        Row("Event loop, lanes and reloads", LOOP),
        Row("Start and providers", START),
        Row("GPU", GPU, folded=True),
    ),
)

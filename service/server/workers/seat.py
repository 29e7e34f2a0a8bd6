"""A worker's seat: what ties its server to the supervisor and to the other workers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from service.api.call import Services
from service.api.protocols.open_inference.management import statistics_of_worker
from service.api.routes.playground_data import traffic_of
from service.inference.engines.registry import COMMANDS
from service.observability.metrics import Metrics
from service.observability.scrape.exposition import Exposition
from service.server.open_connections import OpenConnections
from service.server.workers.connection_spread import ConnectionSpread, MakeProtocol
from service.server.workers.control import ControlServer, Handler
from service.server.workers.published_metrics import MetricsFile, read_all
from service.server.workers.stop_requests import StopRequests
from service.server.workers.worker_peers import WorkerPeers
from service.server.workers.worker_table import WorkerState, WorkerTable
from service.worker_group import WorkerGroup

#: What the supervisor writes to a worker.
ORDERS = {b"T"[0]: signal.SIGTERM, b"I"[0]: signal.SIGINT}
_STARTED = b"+"
_PUBLISH_EVERY_S = 5.0
#: About a second.
_EVEN_OUT_TICKS = 10


class Seated(Protocol):
    """The application of a worker."""

    open_connections: OpenConnections
    services: Services
    metrics: Metrics
    state: Any


class Seat:
    """The place of one worker process. Made by the supervisor's fork; `open` ties a running server to it."""

    def __init__(
        self, group: WorkerGroup, table: WorkerTable, listening: socket.socket, orders: int, status: int
    ) -> None:
        """`orders` is a pipe from the supervisor, which ends with it; `status` one to it."""
        self.group = group
        self.listening = listening
        self.stops = StopRequests()
        self._table = table
        self._orders = orders
        self._status = status
        self._spread: ConnectionSpread | None = None
        self._control: ControlServer | None = None
        self._metrics_file: MetricsFile | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._num_ticks = 0
        self._move_on: Callable[[int], None] = lambda _: None
        self._is_stuck: Callable[[], bool] = lambda: False
        self._is_ready: Callable[[], bool] = lambda: False
        table.enter(group.index, WorkerState.STARTING)

    def tell(self, failure: str) -> None:
        """Tell the supervisor why this worker cannot start."""
        os.write(self._status, failure.encode("utf-8", "replace")[:4000])

    async def open(
        self, application: Seated, make_protocol: MakeProtocol, ssl: Any, stop: Callable[[int], None]
    ) -> None:
        """Accept connections and take orders. `stop` is called with the signal that an order stands for."""
        registry, settings = application.services.registry, application.services.settings
        self._is_stuck = lambda: bool(registry.standstill(settings.max_run_s))
        self._is_ready = lambda: not registry.own_reasons()
        self._table.set_state(self.group.index, WorkerState.LOADING)
        connections = application.open_connections
        self._spread = ConnectionSpread(
            self.group, self._table, self.listening, make_protocol, lambda: len(connections), ssl
        )
        connections.on_change = self._spread.publish
        self._move_on = connections.move_on
        await self._open_channel(application)
        self._spread.start()
        asyncio.get_running_loop().add_reader(self._orders, self._take_order, stop)
        os.write(self._status, _STARTED)

    def tick(self) -> None:
        """Give a sign of life, and say whether this worker is ready; called several times a second."""
        self._num_ticks += 1
        if self._num_ticks % _EVEN_OUT_TICKS == 0 and self._spread is not None:
            self._move_on(self._spread.num_too_many())
        self._table.beat(self.group.index, self._is_stuck())
        state = self._table.state(self.group.index)
        if state in (WorkerState.LOADING, WorkerState.READY):
            self._table.set_state(self.group.index, WorkerState.READY if self._is_ready() else WorkerState.LOADING)

    async def close(self) -> None:
        """The server has stopped: say the last of its counts."""
        if self._publishing is not None:
            self._publishing.cancel()
        if self._metrics_file is not None:
            await asyncio.to_thread(self._metrics_file.publish)

    def stop_accepting(self) -> None:
        """Leave new connections to others."""
        self._table.set_state(self.group.index, WorkerState.STOPPING)
        if self._spread is not None:
            self._spread.stop()
        if self._control is not None:
            self._control.close()

    async def _open_channel(self, application: Seated) -> None:
        """Answer the other workers, and answer for them."""
        registry, metrics, group = application.services.registry, application.metrics, self.group
        metrics.workers.watch(group.count, lambda: group.count - len(registry.missing_workers()))
        file = self._metrics_file = MetricsFile(group.folder, group.index, metrics.registry)
        self._publishing = asyncio.create_task(_publish_on(file))
        peers, exposition = WorkerPeers(group), Exposition()

        async def publish(_: Mapping[str, Any]) -> bool:
            await asyncio.to_thread(file.publish)
            return True

        async def scrape(accept: str) -> tuple[bytes, str]:
            await asyncio.gather(publish({}), peers.ask("publish", {}))
            return await asyncio.to_thread(lambda: exposition.write(read_all(group.folder, group.index), accept))

        application.state.scrape = scrape

        async def statistics(_: Mapping[str, Any]) -> dict[str, Any]:
            return statistics_of_worker(registry)

        async def traffic(_: Mapping[str, Any]) -> dict[str, Any]:
            return traffic_of(metrics)

        commands: dict[str, Handler] = {name: partial(registry.carry_out, name) for name in COMMANDS}
        handlers = {**commands, "publish": publish, "statistics": statistics, "traffic": traffic}
        self._control = ControlServer(group.folder, group.index, handlers)
        await self._control.start()

    def _take_order(self, stop: Callable[[int], None]) -> None:
        try:
            orders = os.read(self._orders, 16)
        except BlockingIOError:
            return
        if not orders:  # the supervisor is gone, and nobody would replace or stop this worker
            asyncio.get_running_loop().remove_reader(self._orders)
            orders = b"T"
        for order in orders:
            if order in ORDERS and self.stops.is_new(ORDERS[order], "order"):
                stop(ORDERS[order])


async def _publish_on(file: MetricsFile) -> None:
    """Publish metrics from time to time, so that little is lost when the worker is killed."""
    while True:
        await asyncio.sleep(_PUBLISH_EVERY_S)
        await asyncio.to_thread(file.publish, weighs=False)

"""Run the application under uvicorn, with graceful shutdown."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import logging
import math
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from prometheus_client import disable_created_metrics

from service.hub.at_start import pulls_of
from service.inference.engines.bundle_entry import WatchedFolder
from service.inference.engines.lifecycle.inherited import NONE_INHERITED, InheritedBundles, open_before_fork
from service.observability.json_logs import configure_logging, flush_logs, printing_logged
from service.server.app import Application, create_app
from service.server.burst_acceptor import BurstAcceptor, accepts_singly
from service.server.edge.tls import Tls
from service.server.edge.tls_gate import TlsGate
from service.server.grpc_port import GrpcPort, require_grpc
from service.server.idle_collector import IdleCollector, settle_memory
from service.server.workers.division import number_of_workers, part_of
from service.server.workers.seat import Seat
from service.server.workers.supervisor import run_workers
from service.server.workers.supervisor_log import LogTurn
from service.settings import Settings, SettingsError

logger = logging.getLogger(__name__)

#: Files that are open besides connections: bundles while they are loaded, logs, Redis.
_OTHER_OPEN_FILES = 256
_COLLECTION_THRESHOLDS = (1_000, 500, 1_000)
#: How often a stopping server looks for connections that were opened late.
_LATE_CHECK_S = 0.02


def run_server(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then give requests in flight `drain_timeout_s` to finish.

    With `stop_delay_s`, SIGTERM makes the service unready at once and stops it after that delay.

    Raises:
        OSError: cannot listen on the address; the message says which and why.
        SettingsError: a setting does not fit what it names, such as the files of a certificate.
    """
    pulls_of(settings)  # so that a wrong address ends it before any process is started
    count = number_of_workers(settings)
    if count > 1:
        _serve_with_workers(settings, count)
        return
    configure_logging(settings.log_level, settings.log_texts)
    _prepare_process()
    tls = Tls.of(settings)
    listening = open_socket(settings.host, settings.port)
    if settings.grpc_port is not None:
        require_grpc()
    allow_open_files(settings.max_connections + _OTHER_OPEN_FILES)
    _serve(settings, create_app(settings), tls, [listening])


def _serve_with_workers(settings: Settings, count: int) -> None:
    """Have several processes serve. Raises SettingsError, OSError."""
    with suppress(AttributeError):  # of Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # it waits for the supervisor, and ends nothing now
    _import_what_workers_use()
    Tls.of(settings)  # so that a wrong file ends it before any process is started
    listening = open_socket(settings.host, settings.port)
    reserved = None
    if settings.grpc_port is not None:
        reserved = reserve_shared_port(settings.host, settings.grpc_port)
        settings = settings.model_copy(update={"grpc_port": reserved.getsockname()[1]})
    inherited = _open_for_workers(settings)

    def serve(seat: Seat) -> None:
        turn = LogTurn(seat.group.folder)
        configure_logging(settings.log_level, settings.log_texts, {"worker": seat.group.index}, turn)
        _prepare_process()
        own = part_of(settings, seat.group.index, count)
        if own.grpc_port is not None:
            require_grpc()
        allow_open_files(own.max_connections + _OTHER_OPEN_FILES)
        _serve(own, create_app(own, seat.group, inherited), Tls.of(own), [], seat)

    run_workers(settings, count, listening, serve)


def _open_for_workers(settings: Settings) -> InheritedBundles:
    """Open the bundles that all workers will share, as the last act before they are forked; see `open_before_fork`.

    Where the memory of open models is limited, bundles are opened for their first request, and so none here.
    """
    folder = WatchedFolder(settings.models_dir, settings.link_root_list)
    is_limited = settings.model_memory_bytes > 0
    inherited = NONE_INHERITED if is_limited else open_before_fork(folder, settings.device, settings.precision)
    settle_memory()
    return inherited


def _prepare_process() -> None:
    # Requests create no reference cycles and permanent objects are frozen, so frequent, short collections of young
    # objects are enough; `IdleCollector` finds the rest.
    gc.set_threshold(*_COLLECTION_THRESHOLDS)
    # The library adds a creation time to every series, which doubles the size of a scrape.
    disable_created_metrics()  # type: ignore[no-untyped-call]


def _import_what_workers_use() -> None:
    """Import before forking what a server imports when it starts, so that workers share it."""
    with suppress(ImportError):
        import httptools  # noqa: F401
        import uvloop  # noqa: F401

        import service.server.fast_path  # noqa: F401


def _serve(
    settings: Settings,
    application: Application,
    tls: Tls | None,
    sockets: list[socket.socket],
    seat: Seat | None = None,
) -> None:
    """Serve on the sockets, or as a worker in its seat, until a signal."""
    protocol = http_protocol(application, tls)
    if seat is None or seat.group.index == 0:
        warn_if_open(settings, application)
    config = uvicorn.Config(
        application,
        http=protocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        # Our protocol hands WebSockets over itself, and ignores every other upgrade.
        ws="websockets-sansio" if protocol == "auto" else "none",
        ws_max_size=settings.max_stream_message_bytes,
        ws_per_message_deflate=False,
        timeout_keep_alive=math.ceil(settings.keep_alive_s),  # where the fast path is off
        timeout_graceful_shutdown=round(settings.drain_timeout_s),
    )
    if tls is not None and config.http == "auto":
        config.load()
        config.ssl = tls.context
    announce: Callable[[], None] = application.state.registry.announce_stop
    ticks = [IdleCollector(lambda: not application.num_open).tick, *([tls.tick] if tls else [])]
    is_shared = seat is not None
    grpc_port = None if settings.grpc_port is None else GrpcPort(settings, application, tls, is_shared=is_shared)
    scheme = "https" if tls else "http"
    server = GracefulServer(config, announce, settings.stop_delay_s, ticks, scheme, grpc_port)
    if seat is not None:
        server.take_seat(seat, application)
    with printing_logged():
        server.run(sockets=sockets)


def warn_if_open(settings: Settings, application: Application) -> None:
    """Say it in the log, and to a person at a terminal in plain words, if whoever reaches the address may use it.

    Elsewhere standard error is the log, and has nothing but lines of JSON.
    """
    if application.state.services.access.is_on or _is_loopback(settings.host):
        return
    logger.warning("no API keys: whoever reaches this address can use the service", extra={"host": settings.host})
    if sys.stderr.isatty():
        print(
            f"unroll: WARNING: listening on {settings.host} without API keys: whoever reaches this address can use the "
            "service. Make keys with `unroll keys add` and set UNROLL_API_KEYS_FILE, or listen on 127.0.0.1.",
            file=sys.stderr,
            flush=True,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class GracefulServer(uvicorn.Server):
    """Announces the stop on SIGTERM, and keeps serving for a delay. A second signal, or SIGINT, stops it at once."""

    def __init__(
        self,
        config: uvicorn.Config,
        announce: Callable[[], None],
        delay_s: float,
        ticks: Sequence[Callable[[], None]] = (),
        scheme: str = "http",
        grpc_port: GrpcPort | None = None,
    ) -> None:
        """Each of `ticks` is called several times a second. `grpc_port` is opened and closed beside."""
        super().__init__(config)
        self._ticks = ticks
        self._scheme = scheme
        self._grpc_port = grpc_port
        self._announce = announce
        self._delay_s = delay_s
        self._stop_at_s: float | None = None
        self._seat: Seat | None = None
        self._application: Application | None = None

    def take_seat(self, seat: Seat, application: Application) -> None:
        """Serve as one of several workers: connections and orders to stop come from there."""
        self._seat, self._application = seat, application
        self._ticks = [*self._ticks, seat.tick]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and log the address, which uvicorn does not for sockets that it was given. Raises OSError."""
        await super().startup(sockets)
        if self._grpc_port is not None and self.started:
            await self._grpc_port.start()
        if sockets and self.config.ssl is None and accepts_singly(asyncio.get_running_loop()):
            for listening in sockets:
                listening.setblocking(False)
            acceptor = BurstAcceptor(self.config.http_protocol_class, sockets)
            self.config.http_protocol_class = acceptor  # type: ignore[assignment]  # uvicorn only calls it
        if self._seat is not None and self._application is not None and self.started:
            await self._seat.open(self._application, self._protocol, self.config.ssl, self._handle_stop)
        for listening in (sockets or ()) if self.started else ():
            host, port = listening.getsockname()[:2]
            logger.info("listening on %s://%s:%d", self._scheme, f"[{host}]" if ":" in host else host, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse what is new on both ports, let what is in flight finish, and stop."""
        if self._seat is not None:
            self._seat.stop_accepting()
        ending = asyncio.create_task(self._end_late_connections(set(self.server_state.connections)))
        try:
            await self._stop_ports(sockets)
        finally:
            ending.cancel()
        if self._seat is not None:
            await self._seat.close()

    async def _stop_ports(self, sockets: list[socket.socket] | None) -> None:
        if self._grpc_port is None:
            await super().shutdown(sockets)
            return
        grace_s = self.config.timeout_graceful_shutdown or 0
        stopping = asyncio.create_task(self._grpc_port.stop(0 if self.force_exit else grace_s))
        await super().shutdown(sockets)
        await stopping

    async def _end_late_connections(self, told: set[Any]) -> None:
        """Tell connections that were accepted before the stop and opened after it.

        uvicorn tells those that it finds open. Any other would go on asking until the drain timeout has passed, and
        then be refused.
        """
        while True:
            await asyncio.sleep(_LATE_CHECK_S)
            late = self.server_state.connections - told
            told |= late
            for connection in late:
                connection.shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Write the last log lines before uvicorn repeats the signal that stopped it, which ends the process."""
        with super().capture_signals():
            try:
                yield
            finally:
                flush_logs()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal: announce the stop, or stop."""
        if self._seat is None or self._seat.stops.is_new(sig, "signal"):
            self._handle_stop(sig)

    def _handle_stop(self, sig: int) -> None:
        if sig != signal.SIGTERM or not self._delay_s or self._stop_at_s is not None:
            super().handle_exit(sig, None)
        else:
            self._announce()
            self._stop_at_s = time.monotonic() + self._delay_s

    def _protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection, as uvicorn makes it."""
        arguments = {"config": self.config, "server_state": self.server_state, "app_state": self.lifespan.state}
        made: asyncio.Protocol = self.config.http_protocol_class(**arguments)
        return made

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop; uvicorn asks several times a second."""
        for tick in self._ticks:
            tick()
        if self._stop_at_s is not None and time.monotonic() >= self._stop_at_s and not self.should_exit:
            super().handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)


def http_protocol(application: Application, tls: Tls | None = None) -> Any:
    """Our protocol class for uvicorn, or its own choice where the fast path cannot work.

    Raises SettingsError if hosts are to be checked there.
    """
    try:
        from service.server.fast_path import fast_path_protocol, missing_pieces
    except ImportError as error:  # httptools is not available on Windows
        missing = [str(error)]
    else:
        missing = missing_pieces()
        if not missing:
            protocol = fast_path_protocol(application)
            return protocol if tls is None else partial(TlsGate, tls.context, application.open_connections, protocol)
    if application.host_check is not None:
        raise SettingsError(f"UNROLL_ALLOWED_HOSTS cannot be checked here, for want of {', '.join(missing)}")
    logger.warning(
        "Fast path is off: requests go through ASGI, without the limits on connections", extra={"missing": missing}
    )
    return "auto"


def allow_open_files(num_files: int) -> None:
    """Raise the limit on open files of this process, as each connection is one; warn if the system allows fewer."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if (resource.RLIM_INFINITY in (soft, hard) and soft == resource.RLIM_INFINITY) or soft >= num_files:
        return
    allowed = num_files if hard == resource.RLIM_INFINITY else min(num_files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < num_files:
        logger.warning(
            "Too few files may be open for UNROLL_MAX_CONNECTIONS: raise ulimit -n, or lower the setting",
            extra={"open_files": allowed, "needed": num_files},
        )


def reserve_shared_port(host: str, port: int) -> socket.socket:
    """A socket that keeps a port for the workers, which listen on it beside it. Raises OSError with a plain message."""
    if port:
        open_socket(host, port).close()  # a port that somebody else shares would not be refused below
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((host, port))
    return reserved


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Called before anything slow. Raises OSError with a plain message."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port") from error
    return listening

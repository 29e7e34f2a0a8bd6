"""Spread connections evenly over the workers that share a listening socket.

Whichever worker the kernel wakes accepts what waits and hands each connection to the worker that has the fewest, as a
file descriptor over a Unix socket. So a few connections that stay open are even, which neither a shared socket (the one
who wakes first has all of a burst) nor one socket for each worker (by a hash of addresses and ports) would make them,
and no connection waits for a worker that is gone: what nobody has accepted, any other accepts.
"""

from __future__ import annotations

import array
import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from service.server.workers.worker_table import WorkerState, WorkerTable
from service.worker_group import WorkerGroup

#: Connections that are accepted in one turn of the event loop; each takes about 0.1 ms.
_MAX_ACCEPTED_IN_TURN = 64
#: Descriptors in one message; the kernel allows 253.
_MAX_HANDED = 64
#: Connections of one worker by those of the mean, beyond which some are sent away; as after another was replaced.
_UNEVEN = 1.1
#: A worker that has given no sign of life for so long is handed nothing.
_SILENT_S = 3.0
#: Pause after the system had no descriptor or memory for a connection.
_PAUSE_S = 1.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

MakeProtocol = Callable[[], asyncio.Protocol]


class ConnectionSpread:
    """One worker's part. Use it in its event loop.

    Call `publish` whenever the number of open connections has changed.
    """

    def __init__(
        self,
        group: WorkerGroup,
        table: WorkerTable,
        listening: socket.socket,
        make_protocol: MakeProtocol,
        num_open: Callable[[], int],
        ssl: Any = None,
    ) -> None:
        """`ssl` is a context for connections whose protocol does not speak TLS by itself."""
        self._num_open = num_open
        self._group = group
        self._table = table
        self._listening = listening
        self._make_protocol = make_protocol
        self._ssl = ssl
        self._loop = asyncio.get_running_loop()
        self._handed = [(0, 0)] * group.count  # process and number of connections for each worker
        self._opening: set[asyncio.Task[None]] = set()
        self._inbox = _open_inbox(_inbox_path(group.folder, group.index))
        self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._outbox.setblocking(False)

    def start(self) -> None:
        """Accept from now on."""
        self._listening.setblocking(False)
        self._listening.listen(socket.SOMAXCONN)
        self._loop.add_reader(self._listening, self._accept)
        self._loop.add_reader(self._inbox, self._take_over)

    def stop(self) -> None:
        """Accept no more; what others have handed over until now is taken."""
        self._loop.remove_reader(self._listening)
        self._listening.close()
        self._loop.remove_reader(self._inbox)
        self._take_over()
        for used in (self._inbox, self._outbox):
            used.close()

    def publish(self) -> None:
        """Show the others how many connections this worker has."""
        self._table.set_connections(self._group.index, self._num_open() + len(self._opening))

    def num_too_many(self) -> int:
        """How many connections others should have instead: more than a tenth above the mean of those who are ready.

        All of them, where others are ready and this worker is not.
        """
        loads = self._loads()
        own = loads.get(self._group.index)
        if own is None:
            return self._num_open()
        mean = sum(loads.values()) / len(loads)
        return int(own - mean) if own > _UNEVEN * mean + 1 else 0

    def _accept(self) -> None:
        chosen: dict[int, list[socket.socket]] = {}
        loads = self._loads()
        for _ in range(_MAX_ACCEPTED_IN_TURN):
            try:
                accepted, _ = self._listening.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause()
                break  # else the client has left already
            target = min(loads, key=lambda index: (loads[index], index != self._group.index))
            loads[target] += 1
            chosen.setdefault(target, []).append(accepted)
        for target, connections in chosen.items():
            if target == self._group.index:
                self._open(connections)
            else:
                self._hand_over(target, connections)

    def _loads(self) -> dict[int, int]:
        """The connections of those who may get new ones: of those who are ready, if any is."""
        table, own = self._table, self._group.index
        there = [own] if table.state(own) in (WorkerState.LOADING, WorkerState.READY) else []
        for index in range(self._group.count):
            is_open = table.state(index) in (WorkerState.LOADING, WorkerState.READY)
            if index != own and is_open and table.silent_s(index) < _SILENT_S:
                there.append(index)
        ready = [index for index in there if table.state(index) is WorkerState.READY]
        return {index: table.connections(index) + self._on_their_way(index) for index in ready or there or [own]}

    def _on_their_way(self, target: int) -> int:
        """Connections that were handed to a worker and that it has not taken yet."""
        process, handed = self._handed[target]
        return handed - self._table.received(target, self._group.index) if process == self._table.pid(target) else 0

    def _hand_over(self, target: int, connections: Sequence[socket.socket]) -> None:
        """Send them to another worker; those that it cannot take are our own."""
        for start in range(0, len(connections), _MAX_HANDED):
            part = connections[start : start + _MAX_HANDED]
            descriptors = array.array("i", [one.fileno() for one in part])
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            inbox = str(_inbox_path(self._group.folder, target))
            try:
                self._outbox.sendmsg([b"%d %d" % (self._group.index, len(part))], rights, 0, inbox)
            except OSError:  # it is gone, or its queue is full
                self._open(part)
                continue
            self._note_handed(target, len(part))
            for one in part:
                one.close()

    def _note_handed(self, target: int, num_connections: int) -> None:
        process, handed = self._handed[target]
        if process != self._table.pid(target):
            process, handed = self._table.pid(target), self._table.received(target, self._group.index)
        self._handed[target] = process, handed + num_connections

    def _take_over(self) -> None:
        """Open the connections that others have handed over."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._inbox, 16, _MAX_HANDED, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                return
            sender, num_handed = map(int, data.split())  # where descriptors run out, some are lost
            # In this order: who sees them as open must not take them for being on their way as well.
            self._table.add_received(self._group.index, sender, num_handed)
            self._open([socket.socket(fileno=descriptor) for descriptor in descriptors])

    def _open(self, connections: Sequence[socket.socket]) -> None:
        """Begin to serve accepted connections; they count at once."""
        for connection in connections:
            connection.setblocking(False)
            opening = self._loop.create_task(self._serve(connection))
            self._opening.add(opening)
            opening.add_done_callback(self._opened)
        self.publish()

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        self.publish()

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection, ssl=self._ssl)
        except OSError:  # it has left already
            connection.close()

    def _pause(self) -> None:
        """Give the system time to have descriptors again; other workers may accept meanwhile."""
        self._loop.remove_reader(self._listening)
        self._loop.call_later(_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening, self._accept)


def _inbox_path(folder: Path, index: int) -> Path:
    return folder / f"connections-{index}"


def _open_inbox(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of the process that was here before
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(str(path))
    inbox.setblocking(False)
    return inbox

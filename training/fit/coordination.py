"""Coordination of the processes of `torchrun` through its key-value store: answers, faults and signs of life.

Collectives fit what takes milliseconds. What takes minutes on one process, such as scoring dev, is awaited here: the
others look for its answer, and for as long as it computes it counts up a key, so that a dead one is told from a slow
one.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from service.errors import UnrollError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Seconds between two signs of life.
BEAT_EVERY_S: Final = 2.0
_LONGEST_PAUSE_S: Final = 0.25
#: The request of Linux for the address of an interface.
_SIOCGIFADDR: Final = 0x8915
_DONE: Final = b"done"
#: Before the status with which a process ended the command in good order.
_ENDED: Final = b"ended with "

T = TypeVar("T")


class Store(Protocol):
    """A key-value store that all processes reach: `torch.distributed.Store`. A lost connection is a RuntimeError."""

    def set(self, key: str, value: str) -> None:
        """Set a key."""

    def get(self, key: str) -> bytes:
        """The value of a key."""

    def add(self, key: str, amount: int) -> int:
        """Add to a number, 0 at first; returns it."""

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are set."""


class WorkersLost(UnrollError):
    """Another process of the group has died, or cannot be reached any more."""


class StoppedTogether(UnrollError):
    """A process of the group has failed, and all stop. `told` is whether this one prints the reason."""

    def __init__(self, message: str, told: bool = True) -> None:
        super().__init__(message)
        self.told = told


@dataclass(frozen=True)
class Place:
    """Where a process runs: its node as torchrun counts them, its number there, address and name of the machine."""

    node: int
    local_rank: int
    address: str
    host: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Place:
        """The place of this process, from the variables that torchrun sets."""
        node, local = environment.get("GROUP_RANK", "0"), environment.get("LOCAL_RANK", "0")
        return cls(int(node), int(local), own_address(environment) or "-", socket.gethostname())

    @classmethod
    def parse(cls, text: str) -> Place:
        """The place that `text` writes."""
        node, local, address, host = text.split(" ", 3)
        return cls(int(node), int(local), address, host)

    @property
    def text(self) -> str:
        """One line, for the other processes."""
        return f"{self.node} {self.local_rank} {self.address} {self.host}"

    @property
    def speaks(self) -> bool:
        """Whether this process prints what stops all: the first one of each node."""
        return self.local_rank == 0

    def __str__(self) -> str:
        return f"node {self.node} ({self.host}, {self.address})"


@dataclass
class Coordination:
    """The store as one process sees it. All processes make the same calls in the same order."""

    store: Store
    rank: int
    count: int
    place: Place
    timeout_s: float
    _calls: int = field(default=0, init=False)

    def places(self) -> list[Place]:
        """The places of all processes, in order of rank. Raises WorkersLost where one does not tell its own in time."""
        return [Place.parse(text) for text in self.exchange(self.place.text)]

    def exchange(self, mine: str) -> list[str]:
        """The texts of all processes, in order of rank."""
        key = self._next()
        self.store.set(f"{key}/{self.rank}", mine)
        return [self._awaited(f"{key}/{rank}", rank).decode() for rank in range(self.count)]

    def by_first(self, compute: Callable[[], T]) -> T | None:
        """What the first process computes, None on the others, which wait for it.

        Raises:
            StoppedTogether: on the others, if the first one failed.
            SystemExit: on the others, if the first one ended the command, with its status.
            WorkersLost: on the others, if the first one is silent.
        """
        key = self._next()
        if self.rank == 0:
            return self._told(f"{key}/0", compute)
        end = self._awaited(f"{key}/0", 0)
        if end.startswith(_ENDED):
            raise SystemExit(int(end.removeprefix(_ENDED)))
        if end != _DONE:
            raise StoppedTogether(f"node 0 has stopped: {end.decode()}", self.place.speaks and self.place.node > 0)
        return None

    def by_all(self, compute: Callable[[], T]) -> T:
        """What each process computes for itself, once all have succeeded.

        Raises:
            StoppedTogether: on all, if one failed; names the nodes that did.
        """
        key, found = self._next(), list[T]()
        try:
            found.append(self._told(f"{key}/{self.rank}", compute))
        except UnrollError:
            pass  # told below, with those of the others
        ends = [self._awaited(f"{key}/{rank}", rank).decode() for rank in range(self.count)]
        faults = [end for end in ends if end != _DONE.decode()]
        if faults:
            alike = dict.fromkeys(faults)
            same = len(alike) == 1 and len(faults) == self.count
            places = self.places()
            where = dict.fromkeys(f"{places[rank]}: {end}" for rank, end in enumerate(ends) if end in alike)
            raise StoppedTogether("; ".join(alike if same else where), self.place.speaks)
        return found[0]

    def _next(self) -> str:
        self._calls += 1
        return f"unroll/{self._calls}"

    def _told(self, key: str, compute: Callable[[], T]) -> T:
        """Compute, with signs of life, and tell the others the outcome."""
        try:
            with self._alive(key):
                found = compute()
        except BaseException as error:
            self.store.set(key, _in_words(error))
            raise
        self.store.set(key, _DONE.decode())
        return found

    @contextmanager
    def _alive(self, key: str) -> Iterator[None]:
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_EVERY_S):
                try:
                    self.store.add(f"{key}/beat", 1)
                except RuntimeError:  # the store is gone, which the main thread finds too
                    return

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()

    def _awaited(self, key: str, rank: int) -> bytes:
        """The value of a key that the process `rank` sets. Raises WorkersLost where it is silent for the timeout."""
        pause_s, beats, since = 0.002, -1, time.monotonic()
        try:
            while not self.store.check([key]):
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                now = self.store.add(f"{key}/beat", 0)
                if now != beats:
                    beats, since = now, time.monotonic()
                elif time.monotonic() - since > self.timeout_s:
                    raise WorkersLost(f"process {rank} of {self.count} gave no sign of life for {self.timeout_s:g} s")
            return bytes(self.store.get(key))
        except RuntimeError as error:
            raise WorkersLost(f"node 0, which keeps the store, cannot be reached: {first_line(error)}") from error


def agree_on_round(store: Store, rank: int, count: int, timeout_s: float) -> str:
    """A name that the processes of this round alone share, for what they keep in the store.

    torchrun keeps one store over its restarts (`--max-restarts`), with all keys of the processes that died: addresses
    of gloo that nobody listens at any more, for example. Each process says hello with a number of its own, and the
    first one answers to that number, until all have answered back.

    Raises:
        WorkersLost: a process does not come in time.
    """
    mine, started, pause_s = secrets.token_hex(8), time.monotonic(), 0.002
    others = range(1, count)
    if rank:
        store.set(f"hello/{rank}", mine)
    while True:
        if rank:
            name, _, number = _get(store, f"answer/{rank}").partition(" ")
            if number == mine:
                store.set(f"{name}/ready/{rank}", "1")
                if store.check([f"{name}/go"]):
                    return name
        else:
            for other in others:
                store.set(f"answer/{other}", f"{mine} {_get(store, f'hello/{other}')}")
            missing = [other for other in others if not store.check([f"{mine}/ready/{other}"])]
            if not missing:
                store.set(f"{mine}/go", "1")
                return mine
        if time.monotonic() - started > timeout_s:
            who = "process 0" if rank else f"of {count} processes, {', '.join(map(str, missing))}"
            raise WorkersLost(f"{who} did not come within {timeout_s:g} s")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _get(store: Store, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def _in_words(error: BaseException) -> str:
    """An exception as the other processes are told it: a sentence of ours as it is, a bug with its name."""
    status = getattr(error, "exit_code", None)  # of typer.Exit
    if status is not None:
        return f"{_ENDED.decode()}{status}"
    named = "" if isinstance(error, UnrollError | OSError) else f"{type(error).__name__}: "
    return f"{named}{error}" or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of an exception of PyTorch, without the stack of C++ that follows it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def own_address(environment: Mapping[str, str]) -> str:
    """The IPv4 address of this machine that leads to the first node; "" where it is unknown."""
    host, port = environment.get("MASTER_ADDR", ""), environment.get("MASTER_PORT", "")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, int(port)))  # sends nothing
            return str(probe.getsockname()[0])
    except (OSError, ValueError):
        return ""


def choose_interface(environment: MutableMapping[str, str]) -> None:
    """Make gloo use the network interface that leads to the first node, unless the user has chosen one.

    By itself it takes the address that the name of this machine resolves to, on many machines a loopback address that
    no other node can reach.
    """
    address = own_address(environment)
    if address and not address.startswith("127.") and (name := _interface_of(address)):
        environment.setdefault("GLOO_SOCKET_IFNAME", name)


def _interface_of(address: str) -> str:
    """The name of the network interface with an IPv4 address; "" where there is none."""
    if fcntl is not None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for _, name in socket.if_nameindex():
                try:
                    found = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()))
                except OSError:  # this interface has no address
                    continue
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return ""


def num_restarts(environment: Mapping[str, str]) -> int:
    """How often torchrun has restarted the processes (`--max-restarts`)."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launch_id(environment: Mapping[str, str]) -> str:
    """What tells one launch of torchrun from another, over its restarts: `--rdzv-id`, or else its process."""
    given = environment.get("TORCHELASTIC_RUN_ID", "none")
    return given if given != "none" else f"process {os.getppid()} of {socket.gethostname()}"

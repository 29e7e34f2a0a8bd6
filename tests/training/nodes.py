"""Two nodes as network namespaces of this machine, joined by a cable (veth): each has an address and no other way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.allowed_skips import NO_NAMESPACES, NOT_ROOT

ROOT = Path(__file__).parents[2]
PROGRAM = "tests.training.node_program"
ADDRESSES = ("10.77.0.1", "10.77.0.2")
#: `ip netns exec` shows what is in here to the programs of a namespace in /etc.
_ETC = Path("/etc/netns")
_PORT = 29500  # each namespace has its own ports
#: Seconds and attempts of torchrun's rendezvous, so that a node on a busy machine is not taken for a dead one.
_PATIENT = "join_timeout=300,read_timeout=300,keep_alive_max_attempt=60"


@dataclass(frozen=True)
class Nodes:
    """Names of the namespaces, in the order of `ADDRESSES`."""

    names: tuple[str, str]

    def torchrun(self, node: int, folder: Path, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start the launcher of one node in `folder`, which gets `said.txt`; node 0 keeps the rendezvous."""
        is_host = "true" if node == 0 else "false"
        rendezvous = [
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={ADDRESSES[0]}:{_PORT}",
            f"--rdzv-conf=is_host={is_host},{_PATIENT}",
            "--rdzv-id=test",
            f"--local-addr={ADDRESSES[node]}",
        ]
        restarts = ["--max-restarts=5", "--monitor-interval=0.1"]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", *restarts, *rendezvous]
        with (folder / "said.txt").open("w", encoding="utf-8") as said:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.names[node], *launcher, "-m", PROGRAM, *command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )


@contextmanager
def two_nodes() -> Iterator[Nodes]:
    """Create the namespaces, and remove them; skips the test where the machine does not allow it."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip(NOT_ROOT)
    if shutil.which("ip") is None:
        pytest.skip(f"{NO_NAMESPACES}: iproute2 is not installed")
    names = (f"unroll-{os.getpid()}-a", f"unroll-{os.getpid()}-b")
    _write_names(names)
    try:
        _ip(*(f"netns add {name}" for name in names))
        _ip(f"link add v0 netns {names[0]} type veth peer name v0 netns {names[1]}")
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip(f"-n {name} addr add {address}/24 dev v0", f"-n {name} link set v0 up", f"-n {name} link set lo up")
    except subprocess.CalledProcessError as error:
        _remove(names)
        pytest.skip(f"{NO_NAMESPACES}: {error.stderr.strip()}")
    try:
        yield Nodes(names)
    finally:
        _remove(names)


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True)


def _write_names(names: Sequence[str]) -> None:
    """Names of the nodes for the programs inside; without them each look-up waits for a name server out of reach."""
    hosts = "127.0.0.1 localhost\n" + "".join(
        f"{address} {name}\n" for address, name in zip(ADDRESSES, names, strict=True)
    )
    for name in names:
        folder = _ETC / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(hosts, encoding="utf-8")
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", encoding="utf-8")


def _remove(names: Sequence[str]) -> None:
    for name in names:
        shutil.rmtree(_ETC / name, ignore_errors=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

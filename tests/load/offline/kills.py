"""Kill `unroll score` at random instants, and check that no row is lost, doubled or out of order.

    python -m tests.load.offline.kills --model intent-en --rows 20000 --kills 50

Every run is ended by `kill -9` after a random time up to that of a whole run, its workers with it, and continued by the
next; when one comes to its end, its output is compared with that of a run that nobody disturbed, and the next begins
anew. Prints how far the runs had come.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer


def main(
    model: str = "intent-en",
    models: Path = Path("models"),
    rows: int = 20_000,
    kills: int = 50,
    part_rows: int = 500,
    form: Annotated[str, typer.Option(help="Of the output: parquet, csv or jsonl.")] = "parquet",
    seed: int = 0,
) -> None:
    """Kill runs, and compare what they leave with the output of an undisturbed one."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    draw = random.Random(seed)
    source = _write_rows(folder / "in.csv", rows, draw)
    out, wanted = folder / f"out.{form}", folder / f"wanted.{form}"
    command = [sys.executable, "-m", "service", "score", model, str(source), "--models", str(models)]
    options = ["--workers", "2", "--part-rows", str(part_rows)]
    started_s = time.monotonic()
    subprocess.run([*command, str(wanted), *options], check=True, stderr=subprocess.DEVNULL)
    whole_s = time.monotonic() - started_s
    num_killed, num_finished, places = 0, 0, Counter[str]()
    while num_killed < kills:
        process = subprocess.Popen([*command, str(out), *options], stderr=subprocess.DEVNULL)
        try:
            process.wait(draw.uniform(0, whole_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            num_killed += 1
            places[_place(out, rows // part_rows)] += 1
            if out.exists() and not out.with_name(f"{out.name}.parts").exists():
                _compare(out, wanted)  # killed when all was done
                num_finished += 1
            continue
        assert process.returncode == 0, f"a run failed with {process.returncode}: see {folder}"
        _compare(out, wanted)
        num_finished += 1
    subprocess.run([*command, str(out), *options], check=True, stderr=subprocess.DEVNULL)
    _compare(out, wanted)
    told = ", ".join(f"{number} {place}" for place, number in places.most_common())
    print(f"{num_killed} kills ({told}), {num_finished + 1} outputs compared: all equal, {rows:,} rows each")
    shutil.rmtree(folder)


def _write_rows(path: Path, num_rows: int, draw: random.Random) -> Path:
    words = ("play some jazz", "what is the weather", "in london", "book", "a table for two", "set an alarm")
    lines = [f"{number},{' '.join(draw.choices(words, k=draw.randint(1, 12)))}" for number in range(num_rows)]
    path.write_text("\n".join(["id,text", *lines]) + "\n", encoding="utf-8")
    return path


def _place(out: Path, num_parts: int) -> str:
    """How far a killed run had come."""
    parts = out.with_name(f"{out.name}.parts")
    if out.exists():
        return "with the output in place"
    if list(parts.glob("joined*")):
        return "while the parts were joined"
    written = len(list(parts.glob(f"part-*{out.suffix}")))
    return "before the first part" if not written else f"in quarter {1 + 4 * written // (num_parts + 1)} of the parts"


def _compare(out: Path, wanted: Path) -> None:
    """The bytes are the same: ids in order, labels, scores, and the file as a whole. Removes the output."""
    assert out.read_bytes() == wanted.read_bytes(), f"{out} differs from {wanted}"
    assert not out.with_name(f"{out.name}.parts").exists(), "the parts were not removed"
    out.unlink()


if __name__ == "__main__":
    typer.run(main)

"""Memory of processes is read from the kernel's own account of their pages."""

from __future__ import annotations

from pathlib import Path

from tests.load.memory.proportional import parts_of, proportional_bytes

_SMAPS = """\
7f00-7f10 r-xp 00000000 fe:00 3294208                    /usr/lib/libexample.so
Pss:                  40 kB
Private_Dirty:        99 kB
7f10-7f20 rw-p 00000000 fe:00 3294208                    /usr/lib/libexample.so
Pss:                   2 kB
7f20-7f30 rw-p 00000000 00:00 0
Pss:                 100 kB
7f30-7f40 rw-p 00000000 00:00 0                          [heap]
Pss:                   7 kB
"""


def test_parts_of_a_process_are_added_up_by_file(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "smaps").write_text(_SMAPS, encoding="ascii")
    assert parts_of(7, tmp_path) == {"libexample.so": 42 * 1024, "anonymous": 100 * 1024, "[heap]": 7 * 1024}


def test_processes_that_have_ended_take_no_memory(tmp_path: Path) -> None:
    for pid in (7, 8):
        (tmp_path / str(pid)).mkdir()
        rolled_up = "00400000-7ffe ---p 00000000 00:00 0 [rollup]\nRss: 500 kB\nPss: 30 kB\n"
        (tmp_path / str(pid) / "smaps_rollup").write_text(rolled_up, encoding="ascii")
    assert proportional_bytes([7, 8, 9], tmp_path) == 2 * 30 * 1024

"""Write dashboards and the metrics table: `python -m deploy.grafana.boards`; with `--check`, only list stale files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.grafana.boards import metrics_table, model, overview, runbooks, runtime, streams
from deploy.grafana.boards.board import as_json

DEPLOY = Path(__file__).parents[2]
BOARDS = (overview.BOARD, model.BOARD, streams.BOARD, runtime.BOARD)


def generated_files() -> dict[Path, str]:
    """Generated files with their content."""
    files = {DEPLOY / "grafana" / "dashboards" / f"{board.name}.json": as_json(board) for board in BOARDS}
    for runbook in sorted(set((DEPLOY / "runbooks").glob("*.md")) - {DEPLOY / "runbooks" / "README.md"}):
        files[DEPLOY / "grafana" / "dashboards" / "runbooks" / f"{runbook.stem}.json"] = runbooks.as_json(runbook)
    table = DEPLOY / "metrics.md"
    rules = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    return files | {table: metrics_table.filled_in(table.read_text("utf-8"), BOARDS, rules)}


def main(arguments: Sequence[str]) -> int:
    """Write or check the files. Returns the exit status: with `--check`, 1 if a file is stale."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana.boards", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; list the files that differ")
    options = parser.parse_args(arguments)
    files = generated_files()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(DEPLOY.parent)} {'differs from the boards' if options.check else 'written'}")
        if not options.check:
            path.write_text(files[path], "utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

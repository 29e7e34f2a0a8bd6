"""`python -m training`: the training commands without the service's; what `torchrun` starts."""

from __future__ import annotations

import os

from training.cli.commands import app


def main() -> None:
    """Run the command that was given. Never returns; where there are several workers, see `leave`."""
    try:
        app()
    except SystemExit as end:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        from training.fit.distributed import leave

        leave(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    main()

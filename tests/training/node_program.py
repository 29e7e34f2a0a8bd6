"""The program of each worker in test_nodes.py: the training commands, with a death in the middle of the run.

Before the first restart the worker of node 1 kills itself at the second update of the second epoch. The first update of
that epoch needs gradients of node 0, which by then has written the checkpoint of the first epoch.
"""

from __future__ import annotations

import os
import signal

from training.__main__ import main
from training.fit import run_folder
from training.fit.gradient import Gradient
from training.fit.trainer import Trainer
from training.preprocessing.batching import Order

DEATH_AT = (1, 1)
_update = Trainer._update


def _update_or_die(trainer: Trainer, order: Order, total_steps: int) -> tuple[Gradient, float]:
    if (trainer.progress.epoch, trainer.progress.batch) == DEATH_AT:
        os.kill(os.getpid(), signal.SIGKILL)
    return _update(trainer, order, total_steps)


if __name__ == "__main__":
    run_folder.draw_curves = lambda *_: None
    if (os.environ["GROUP_RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == ("1", "0"):
        Trainer._update = _update_or_die  # type: ignore[method-assign]
    main()

"""Trainings in tests draw no curves: a picture takes several times as long as a tiny epoch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from training.fit import run_folder


@pytest.fixture(scope="module", autouse=True)
def curves() -> Iterator[None]:
    """Disable curves.png; a file whose tests are about the picture overrides this fixture by one that does nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "draw_curves", lambda *_: None)
        yield

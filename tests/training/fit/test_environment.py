"""Process-wide settings are restored after a run."""

from __future__ import annotations

import torch

from training.fit.environment import hardware, library_versions, torch_settings


def test_settings_hold_for_a_run_and_no_longer() -> None:
    """Thread count and deterministic kernels are restored, also when the run fails."""
    before = torch.get_num_threads()
    try:
        with torch_settings(threads=before + 1, deterministic=True):
            assert torch.get_num_threads() == before + 1
            assert torch.are_deterministic_algorithms_enabled()
            raise RuntimeError("a run that fails")
    except RuntimeError:
        pass
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()
    with torch_settings(threads=0, deterministic=False):
        assert torch.get_num_threads() == before


def test_the_environment_in_words() -> None:
    """The description has the recipe's threads and the versions of the compute libraries."""
    assert "3 threads" in hardware(3) or torch.cuda.is_available()
    assert library_versions()["torch"] == torch.__version__
    assert "python" in library_versions()

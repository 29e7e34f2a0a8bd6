"""Augmentation of raw sound: rooms, noise, telephone lines, volume and clipping."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from training.config.signals import AugmentConfig
from training.networks.inputs import sound_augmentation
from training.networks.inputs.signal_augmentation import SignalAugmentation

RATE_HZ = 8000
LENGTHS = torch.tensor([16000, 9000, 12345])
ALL = {"reverberation": 1.0, "sound_noise": 1.0, "babble": 0.5, "telephone": 1.0, "volume_db": 20.0, "clipping": 1.0}


def tone(hz: float = 1000.0, rows: int = 3) -> Tensor:
    """Rows of a tone, zero beyond their lengths."""
    time = torch.arange(int(LENGTHS.max())) / RATE_HZ
    rows_of_tone = 0.2 * torch.sin(2 * torch.pi * hz * time).expand(rows, -1)
    return rows_of_tone * (torch.arange(rows_of_tone.shape[1]) < LENGTHS[:rows, None])


def heard(values: Tensor, **options: Any) -> Tensor:
    """The same draw in every call."""
    torch.manual_seed(3)
    return SignalAugmentation(AugmentConfig(**options)).distort_samples(values, LENGTHS[: len(values)], RATE_HZ)


def level_db(values: Tensor) -> Tensor:
    return 10 * torch.log10(values.square().sum(dim=1) / LENGTHS[: len(values)])


def test_nothing_is_drawn_unless_asked_for() -> None:
    """A recipe without these keys draws the same random numbers as before there were any."""
    values, before = tone(), torch.get_rng_state()
    kept = SignalAugmentation(AugmentConfig(noise=0.1)).distort_samples(values, LENGTHS, RATE_HZ)
    assert kept is values
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("babble", [0.0, 1.0])
def test_noise_has_the_ratio_asked_for(babble: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power of what is added is the chosen number of decibels below that of the row, coloured or babble."""
    monkeypatch.setattr(sound_augmentation, "_ENDS_EARLY", 0.0)
    values = tone()
    noise = heard(values, sound_noise=1.0, babble=babble, lowest_snr_db=20.0, highest_snr_db=20.0) - values
    assert level_db(values) - level_db(noise) == pytest.approx(torch.full((3,), 20.0), abs=2.5)


def test_a_room_echoes_after_the_sound_and_never_before() -> None:
    """The direct sound comes when it came, and is followed by echoes that fade."""
    click = torch.zeros(3, 16000)
    click[:, 4000] = 0.5
    inside = heard(click, reverberation=1.0, longest_reverberation_s=0.3)
    assert float(inside[:, :4000].abs().max()) < 1e-5
    assert inside[:, 4000] == pytest.approx(torch.full((3,), 0.5), abs=1e-4)
    early, late = inside[:, 4016:4400].square().sum(dim=1), inside[:, 5600:6000].square().sum(dim=1)
    assert bool((early > 100 * late).all())
    assert bool((early > 1e-4).all())


def test_a_telephone_lets_the_middle_through() -> None:
    """A hum of 50 Hz is gone, a tone of 1 kHz is not."""
    assert bool((level_db(heard(tone(50.0), telephone=1.0)) < level_db(tone(50.0)) - 20).all())
    assert level_db(heard(tone(1000.0), telephone=1.0)) == pytest.approx(level_db(tone(1000.0)), abs=0.3)


def test_clipping_cuts_peaks_and_volume_stays_in_range() -> None:
    """Clipped rows are flat at less than their peak; no gain leaves the range of samples."""
    clipped = heard(tone(), clipping=1.0)
    assert bool((clipped.abs().amax(dim=1) < 0.9 * tone().abs().amax(dim=1)).all())
    assert float(heard(10 * tone(), volume_db=60.0).abs().max()) <= 1.0


@pytest.mark.parametrize("rows", [1, 3])
def test_all_together_is_finite_repeatable_and_keeps_to_lengths(rows: int) -> None:
    """One row has nobody else to babble; silence stays silence; the same seed gives the same sound."""
    values = tone(rows=rows)
    values[-1] = 0.0
    once = heard(values, **ALL)
    assert torch.equal(once, heard(values, **ALL))
    assert bool(torch.isfinite(once).all())
    assert float(once[-1].abs().max()) < 1e-4 if rows == 1 else bool(once[0].abs().max() > 0)
    assert all(not bool(row[length:].any()) for row, length in zip(once, LENGTHS, strict=False))


def test_a_range_of_noise_the_wrong_way_round_is_refused() -> None:
    """The message names both keys."""
    with pytest.raises(ValidationError, match="lowest_snr_db must be no more than highest_snr_db"):
        AugmentConfig(lowest_snr_db=30, highest_snr_db=10)

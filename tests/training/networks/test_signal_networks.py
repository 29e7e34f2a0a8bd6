"""The front end of networks with numeric input: features, lengths, and bounded augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny_signals import CONFIGS, LABELS, motions, scale_of, signal_network, sounds
from training.config.signals import AugmentConfig, SignalConfig
from training.networks.inputs.front_end import FrontEnd
from training.networks.inputs.signal_augmentation import SignalAugmentation, warped
from training.preprocessing.spectrogram import POWER_FLOOR, Spectrogram, mel_filters
from training.tasks.signals import SignalSet

SOUND = SignalConfig(kind="waveform", mel_bands=12)


def test_the_spectrogram_is_that_of_a_fourier_transform() -> None:
    """The convolutional spectrogram equals numpy's Fourier transform of each window, summed into the same bands."""
    samples = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    found, steps = Spectrogram(SOUND)(torch.from_numpy(samples)[None], torch.tensor([1000]))
    window, step = SOUND.samples_per_window, SOUND.samples_per_step
    padded = np.pad(samples, (window // 2, window))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(window) + 0.5) / window)
    for index in range(int(steps)):
        power = np.abs(np.fft.rfft(padded[index * step : index * step + window] * hann, 256)) ** 2
        expected = np.log(power @ mel_filters(SOUND) + POWER_FLOOR)
        np.testing.assert_allclose(found[0, index].numpy(), expected, atol=1e-4)


def test_a_tone_is_loudest_in_its_band() -> None:
    """A tone is loudest in its band, and a higher tone in a higher one."""
    time_s = np.arange(4000) / 8000
    loudest = []
    for hertz in (200, 800, 2500):
        tone = torch.from_numpy(np.sin(2 * np.pi * hertz * time_s).astype(np.float32))[None]
        bands, _ = Spectrogram(SOUND)(tone, torch.tensor([4000]))
        loudest.append(int(bands[0].mean(dim=0).argmax()))
    assert loudest == sorted(set(loudest))


@pytest.mark.parametrize(("num_samples", "steps"), [(1, 1), (80, 1), (81, 2), (160, 2), (1000, 13)])
def test_steps_are_counted_to_the_sample(num_samples: int, steps: int) -> None:
    """The number of steps equals the service's count: samples divided by the step, rounded up."""
    bands, counted = Spectrogram(SOUND)(torch.zeros(1, num_samples), torch.tensor([num_samples]))
    assert (bands.shape[1], int(counted)) == (steps, steps)


@pytest.mark.parametrize("kind", ["frames", "waveform"])
def test_padding_changes_nothing(kind: str) -> None:
    """Each row's logits are those it has alone, whatever its padding contains."""
    config = CONFIGS[kind]  # type: ignore[index]
    network = signal_network(config).eval()
    records = sounds() if kind == "waveform" else motions()
    lengths = torch.tensor([len(record.values) for record in records])
    longest, shape = int(lengths.max()), records[0].values.shape[1:]
    values = torch.full((len(records), longest, *shape), 123.0)
    for row, record in enumerate(records):
        values[row, : len(record.values)] = torch.from_numpy(record.values)
    with torch.no_grad():
        together = network.logits(values, lengths)
        for row, record in enumerate(records):
            alone = network.logits(torch.from_numpy(record.values)[None], lengths[row : row + 1])
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_features_are_scaled_as_train_is() -> None:
    """Over the records the scale was fitted on, each feature has mean 0 and standard deviation 1."""
    config = SignalConfig(kind="frames")
    front_end = FrontEnd(config, AugmentConfig(), scale_of(config), dropout=0.0).eval()
    rows = [front_end(torch.from_numpy(r.values)[None], torch.tensor([len(r.values)]))[0][0] for r in motions()]
    scaled = torch.cat(rows)
    torch.testing.assert_close(scaled.mean(dim=0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(dim=0, unbiased=False), torch.ones(3), atol=1e-4, rtol=0)


EVERYTHING = AugmentConfig(
    speed=0.3,
    crop=0.2,
    warp=0.2,
    gain=0.1,
    offset=0.2,
    noise=0.1,
    rotation_degrees=20.0,
    time_masks=2,
    feature_masks=1,
    feature_mask_size=2,
)


def test_augmentation_is_for_training_alone() -> None:
    """Two runs differ in training mode, and are equal in evaluation mode."""
    network = signal_network(CONFIGS["frames"])
    network.front_end.augmentation = SignalAugmentation(EVERYTHING)
    batch = SignalSet(motions(), LABELS, limit=50, batch_size=6, seed=1).batch(np.arange(6))
    losses = [network.train().loss(batch)[0].item() for _ in range(2)]
    assert losses[0] != losses[1]
    scores = [network.eval().loss(batch)[0].item() for _ in range(2)]
    assert scores[0] == scores[1]


def test_augmentation_repeats_with_torchs_seed() -> None:
    """Augmentation draws from torch's generator, whose state checkpoints hold, so resumed runs repeat it."""
    augmentation, values, lengths = SignalAugmentation(EVERYTHING), torch.randn(4, 20, 3), torch.tensor([20, 3, 1, 11])
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        resampled, new = augmentation.resample(values, lengths)
        drawn.append(augmentation.distort(resampled, new))
    torch.testing.assert_close(drawn[0], drawn[1], atol=0, rtol=0)


def test_a_warp_moves_bands_by_the_part_it_says() -> None:
    """A peak at band 20 moves by at most a tenth, equally at all steps, by a random amount."""
    features = torch.zeros(40, 5, 40)
    features[:, :, 20] = 1.0
    torch.manual_seed(0)
    places = warped(features, 0.1).argmax(dim=2)
    assert (places == places[:, :1]).all()
    assert places.min() >= 18
    assert places.max() <= 22
    assert len(places[:, 0].unique()) >= 3
    assert torch.equal(warped(features, 0.0), features)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_resampling_stays_within_what_was_said(shape: tuple[int, ...]) -> None:
    """With speeds of 0.7 to 1.3 and at most a fifth cropped, the new lengths stay within the implied bounds."""
    augmentation = SignalAugmentation(AugmentConfig(speed=0.3, crop=0.2))
    lengths = torch.tensor([100, 40, 1])
    values = torch.arange(100.0).view(1, 100, *[1] * len(shape)).expand(3, 100, *shape).contiguous()
    for _ in range(20):
        resampled, new = augmentation.resample(values, lengths)
        assert bool((new >= (lengths * 0.8 / 1.3 - 1).clamp(min=1).floor()).all())
        assert bool((new <= lengths / 0.7 + 1).all())
        assert float(resampled[1].max()) <= 39.0


def test_rotation_keeps_lengths() -> None:
    """Rotation preserves the norm of each reading."""
    points = torch.randn(5, 8, 6)
    turned = SignalAugmentation(AugmentConfig(rotation_degrees=90.0)).distort(points, torch.full((5,), 8))
    assert not torch.allclose(points, turned)
    torch.testing.assert_close(points.view(5, 8, 2, 3).norm(dim=3), turned.view(5, 8, 2, 3).norm(dim=3))

"""Device selection: a working GPU, the CPU with a fallback reason, or an error with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.inference.runtime.device import CPU_PROVIDER, CUDA_PROVIDER, DeviceUnavailable, choose_device

BOTH, CPU = [CUDA_PROVIDER, CPU_PROVIDER], [CPU_PROVIDER]


def there(_library: str) -> None:
    """Pretend that cuDNN can be loaded."""


def missing(library: str) -> None:
    raise OSError(f"{library}: cannot open shared object file")


@pytest.mark.parametrize(
    ("wanted", "available", "provider", "options"),
    [
        ("auto", BOTH, CUDA_PROVIDER, {"device_id": "0"}),
        ("cuda", BOTH, CUDA_PROVIDER, {"device_id": "0"}),
        ("cuda:3", BOTH, CUDA_PROVIDER, {"device_id": "3"}),
        ("auto", CPU, CPU_PROVIDER, {}),
        ("cpu", BOTH, CPU_PROVIDER, {}),
    ],
)
def test_auto_takes_a_usable_gpu(wanted: str, available: list[str], provider: str, options: dict[str, str]) -> None:
    device = choose_device(wanted, available, there, Path("/nowhere"))
    assert (device.provider, device.options, device.fallback_reason) == (provider, options, "")


def test_cuda_by_name_is_refused_if_unavailable() -> None:
    """Requesting CUDA without a GPU raises an error that says what is missing and what to install."""
    with pytest.raises(DeviceUnavailable, match="built without CUDA: make serve-env RUNTIME=gpu"):
        choose_device("cuda", CPU, there)
    with pytest.raises(DeviceUnavailable, match=r"cuda:1 was asked for, but cuDNN cannot be loaded \(libcudnn"):
        choose_device("cuda:1", BOTH, missing)


def test_auto_gives_the_reason_why_not_the_gpu(tmp_path: Path) -> None:
    """`auto` reports a fallback reason only on a machine with an NVIDIA driver."""
    driver = tmp_path / "version"
    driver.write_text("NVRM")
    assert "cuDNN cannot be loaded" in choose_device("auto", BOTH, missing, driver).fallback_reason
    assert "built without CUDA" in choose_device("auto", CPU, there, driver).fallback_reason
    assert choose_device("auto", CPU, there, tmp_path / "none").fallback_reason == ""


@pytest.mark.parametrize("wanted", ["gpu", "cuda:", "cuda:x", "CPU", "cpu:1", ""])
def test_other_names_are_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="the device must be auto, cpu, cuda or cuda:N"):
        choose_device(wanted, BOTH, there)

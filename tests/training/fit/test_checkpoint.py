"""Checkpoints: no pickle, atomic writes, and a clear error for every file that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.training.exportable import classifier, language_model, translator
from training.config.recipe import TrainingConfig
from training.fit.checkpoint import (
    Progress,
    RunState,
    load_checkpoint,
    load_weights,
    previous_of,
    read_progress,
    recover_checkpoint,
    save_checkpoint,
    save_weights,
)
from training.fit.schedule import start_averages
from training.fit.trainer import averaged_weights, build_optimizer
from training.networks.network import Network
from training.preprocessing import tensor_file
from training.preprocessing.tensor_file import CheckpointDamaged, CheckpointFault, read_tensors, write_tensors

AVERAGING = TrainingConfig(ema_decay=0.9)


def state_of(network: Network, optimizer: str = "adamw", carried: tuple[Tensor, ...] = ()) -> RunState:
    """The state of a run after one update with artificial gradients."""
    made = build_optimizer(network, TrainingConfig.model_validate({"optimizer": optimizer}))
    for number, parameter in enumerate(network.parameters()):
        parameter.grad = torch.full_like(parameter, 0.1 * (number + 1))
    made.step()
    progress = Progress(epoch=2, batch=3, step=13, best_score=0.5, rate_factor=0.25, seconds=1.5)
    return RunState(
        network=network, optimizer=made, averages=start_averages(network, AVERAGING), carried=carried, progress=progress
    )


def fresh_state(network: Network, optimizer: str = "adamw") -> RunState:
    made = build_optimizer(network, TrainingConfig.model_validate({"optimizer": optimizer}))
    return RunState(network=network, optimizer=made, averages={}, carried=(), progress=Progress())


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_everything_comes_back(optimizer: str, tmp_path: Path) -> None:
    """Weights, averages, carried state, optimizer, random state and progress are restored bit for bit."""
    carried = (torch.randn(2, 3, 4), torch.randn(2, 3, 4))
    saved = state_of(language_model(), optimizer, carried)
    save_checkpoint(tmp_path / "a", saved)
    drawn = torch.rand(5)
    loaded = load_checkpoint(tmp_path / "a", fresh_state(language_model(), optimizer))
    assert torch.equal(torch.rand(5), drawn)
    assert loaded.progress == saved.progress == read_progress(tmp_path / "a")
    assert all(torch.equal(a, b) for a, b in zip(loaded.carried, carried, strict=True))
    save_checkpoint(tmp_path / "b", loaded)
    (first, _), (second, _) = read_tensors(tmp_path / "a"), read_tensors(tmp_path / "b")
    del first["random.cpu"], second["random.cpu"]
    assert first.keys() == second.keys()
    assert any(name.startswith("optimizer.") for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_is_plain_tensors_and_json(tmp_path: Path) -> None:
    """The safetensors library reads the whole file, with progress as JSON in its header, so nothing is unpickled."""
    save_checkpoint(tmp_path / "a", state_of(classifier()))
    content = (tmp_path / "a").read_bytes()
    header_size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_size])
    assert json.loads(header["__metadata__"]["progress"])["step"] == 13
    assert safetensors.torch.load(content).keys() == header.keys() - {"__metadata__"}


def test_no_file_is_a_clear_error(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(CheckpointFault, match=r"last\.safetensors: there is no such checkpoint"):
        load_checkpoint(tmp_path / "last.safetensors", fresh_state(classifier()))


@pytest.mark.parametrize("damage", ["half", "empty", "text", "header"])
def test_a_damaged_file_is_a_clear_error(damage: str, tmp_path: Path) -> None:
    """A truncated, empty, foreign or corrupt file is reported as damaged, with its path."""
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, state_of(classifier()))
    content = path.read_bytes()
    spoilt = {"half": content[: len(content) // 2], "empty": b"", "text": b"hello", "header": b"\xff" * 9 + content}
    path.write_bytes(spoilt[damage])
    with pytest.raises(CheckpointFault, match=r"last\.safetensors: damaged"):
        load_checkpoint(path, fresh_state(classifier()))
    with pytest.raises(CheckpointFault, match=r"last\.safetensors: damaged"):
        load_weights(path, classifier())


def test_the_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    """Different names or shapes are reported as not fitting the network."""
    save_checkpoint(tmp_path / "a", state_of(classifier("lstm")))
    for other in (classifier("gru"), classifier("lstm", bidirectional=False), language_model()):
        with pytest.raises(CheckpointFault, match="does not fit this run"):
            load_checkpoint(tmp_path / "a", fresh_state(other))


def test_weights_alone_are_no_checkpoint(tmp_path: Path) -> None:
    """The file of the best weights cannot be resumed from, and the error says so."""
    save_weights(tmp_path / "best", classifier())
    with pytest.raises(CheckpointFault, match="not a checkpoint of a run"):
        load_checkpoint(tmp_path / "best", fresh_state(classifier()))


def test_a_checkpoint_of_a_later_version_is_refused(tmp_path: Path) -> None:
    """A checkpoint of a newer format version is refused."""
    save_checkpoint(tmp_path / "a", state_of(classifier()))
    tensors, metadata = read_tensors(tmp_path / "a")
    later = metadata["progress"].replace('"version":1', '"version":2')
    write_tensors(tmp_path / "a", tensors, {"progress": later})
    with pytest.raises(CheckpointFault, match="version"):
        load_checkpoint(tmp_path / "a", fresh_state(classifier()))


def test_a_checkpoint_without_random_numbers_is_refused(tmp_path: Path) -> None:
    """A checkpoint without random state is refused, as resuming would give a different run."""
    save_checkpoint(tmp_path / "a", state_of(classifier()))
    tensors, metadata = read_tensors(tmp_path / "a")
    del tensors["random.cpu"]
    write_tensors(tmp_path / "a", tensors, metadata)
    with pytest.raises(CheckpointFault, match=r"does not fit this run: 'random\.cpu'"):
        load_checkpoint(tmp_path / "a", fresh_state(classifier()))


@pytest.mark.parametrize("failing", ["save", "rename"])
def test_an_interrupted_write_leaves_the_old_file(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed write or rename leaves the old checkpoint intact, no temporary files, and a clear error."""
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, state_of(classifier()))
    before = path.read_bytes()

    def half_written(_tensors: dict[str, Tensor], target: Path, _metadata: dict[str, str]) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def not_renamed(_source: Path, _target: Path) -> Path:
        raise OSError(5, "Input/output error")

    if failing == "save":
        monkeypatch.setattr(tensor_file, "save_file", half_written)
    else:
        monkeypatch.setattr(Path, "replace", not_renamed)
    with pytest.raises(CheckpointFault, match=r"last\.safetensors: cannot be written"):
        save_checkpoint(path, state_of(classifier("gru")))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_averages_are_what_is_scored_and_exported(tmp_path: Path) -> None:
    """Saved weights are the averages, including tied ones, so a loaded network is the one that was scored."""
    network, other = translator(), translator()
    assert network.config.tie_embeddings
    averages = {name: value + 1 for name, value in start_averages(network, AVERAGING).items()}
    with averaged_weights(network, averages):
        save_weights(tmp_path / "best", network)
        scored = {name: value.clone() for name, value in network.state_dict().items()}
    load_weights(tmp_path / "best", other)
    loaded = other.state_dict()
    assert all(torch.equal(loaded[name], scored[name]) for name in scored)
    assert torch.equal(loaded["output.weight"], averages["target_embedding.weight"])
    assert not torch.equal(network.state_dict()["output.weight"], loaded["output.weight"])


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    """Tied weights are stored under the name used by the averages; a second name in a file is ignored."""
    network, other = translator(), translator()
    averages = {name: value + 1 for name, value in start_averages(network, AVERAGING).items()}
    with averaged_weights(network, averages):
        save_weights(tmp_path / "best", network)
    tensors, _ = read_tensors(tmp_path / "best")
    assert tensors.keys() == averages.keys()
    assert "output.weight" not in tensors
    twice = {**tensors, "output.weight": torch.zeros_like(tensors["target_embedding.weight"])}
    write_tensors(tmp_path / "best", twice, {})
    load_weights(tmp_path / "best", other)
    assert torch.equal(other.get_parameter("output.weight"), averages["target_embedding.weight"])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """Missing weights, unexpected weights and wrong shapes are all reported as not fitting."""
    save_weights(tmp_path / "best", classifier(bidirectional=True))
    for other in (classifier(bidirectional=False), language_model(), classifier("gru")):
        with pytest.raises(CheckpointFault, match="does not fit this network"):
            load_weights(tmp_path / "best", other)


def test_no_flipped_bit_is_resumed_from(tmp_path: Path) -> None:
    """Whichever bit of the file is flipped, in the header, in the checksum or in a value: it is called damaged."""
    path = tmp_path / "small"
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.tensor([True]),
        "c": torch.ones((), dtype=torch.bfloat16),
    }
    write_tensors(path, tensors, {"progress": "{}"})
    whole = path.read_bytes()
    read_tensors(path)
    for position in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(CheckpointDamaged, match="damaged"):
            read_tensors(path)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_cut_file_is_damaged(part: float, tmp_path: Path) -> None:
    """A file that was cut, also to nothing, is damaged."""
    path = tmp_path / "small"
    write_tensors(path, {"a": torch.arange(60.0)}, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CheckpointDamaged):
        read_tensors(path)


def test_files_of_older_versions_are_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file without a checksum is read, and the log says that nothing is known about its content."""
    save_file({"a": torch.ones(2)}, tmp_path / "old", {"progress": "{}"})
    tensors, metadata = read_tensors(tmp_path / "old")
    assert torch.equal(tensors["a"], torch.ones(2))
    assert metadata == {"progress": "{}"}
    assert "without a checksum" in caplog.text


def test_the_previous_checkpoint_takes_the_place_of_a_damaged_one(tmp_path: Path) -> None:
    """A damaged or missing checkpoint is replaced by the one before it, and a sentence says so; without it it fails."""
    path = tmp_path / "last.safetensors"
    state = state_of(classifier())
    for step in (1, 2):
        state.progress.step = step
        save_checkpoint(path, state)
    assert recover_checkpoint(path) == ""
    assert read_progress(previous_of(path)).step == 1
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "the previous checkpoint is used (epoch 3, update 1)" in recover_checkpoint(path)
    assert read_progress(path).step == 1
    path.unlink()
    with pytest.raises(CheckpointFault, match="no such checkpoint"):
        recover_checkpoint(path)

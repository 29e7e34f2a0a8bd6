"""Recipes: unknown keys are named, shipped recipes are valid, and written recipes read back equal."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from training.config.recipe import RECIPES, ConfigFault, Recipe, find_recipe, load_recipe, parse_recipe
from training.data.public.catalogue import NAMED_DATASETS
from training.preprocessing.load_records import may_ship

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.toml"))


def smallest(**values: Any) -> dict[str, Any]:
    return {"name": "mine", "task": "tagging", "data": {"train": "a.conllu"}, **values}


def fault_of(values: dict[str, Any], overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigFault) as caught:
        parse_recipe(values, "mine.toml", overrides)
    return str(caught.value)


def test_a_name_a_task_and_data_are_enough() -> None:
    """Everything else has a default, and the kind of network follows from the task."""
    recipe = parse_recipe(smallest(), "mine.toml")
    assert recipe.network.task == "tagging"
    assert recipe.training.epochs > 0


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("colour", "picture.colour"),
        ("trainin", "training"),
        ("training.epoch", "epochs"),
        ("network.hiden_size", "hidden_size"),
        ("network.label_smoothign", ""),
        ("data.read.text_colum", "text_column"),
        ("tokenizer.cutt", "cut"),
        ("limits.colour", "picture.colour"),
        ("epochs", "training.epochs"),
        ("limits.flavour", ""),
    ],
)
def test_an_unknown_key_is_named(key: str, meant: str) -> None:
    """At any depth, the message has the file, the key as written there, and the closest known key."""
    hint = f"; did you mean {meant}?" if meant else ""
    assert fault_of(smallest(), {key: 1}) == f"mine.toml: {key}: there is no such key{hint}"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (
            "network.cell",
            "transformer",
            "network.cell is 'transformer', but must be one of 'lstm', 'gru'",
        ),
        ("network.dropout", 1.0, "network.dropout is 1.0, but must be less than 1"),
        ("training.learning_rate", 0, "training.learning_rate is 0, but must be more than 0"),
        ("training.learning_rate", float("inf"), "training.learning_rate is inf, but must be a finite number"),
        ("training.schedule", "step", "training.schedule is 'step', but must be one of 'constant', 'cosine'"),
        ("name", "My Model", "name: lower-case letters, digits"),
        ("data.dataset", "sms_spam", "data: name either a `dataset` or a `train` file"),
        ("network.task", "generation", "the network is for generation, the task is tagging"),
        ("name.first", 1, "name is a value, not a table"),
        ("seed", -1, "seed is -1, but must be at least 0"),
        ("seed", 2**64 - 1, "seed is 18446744073709551615, but must be at most 9223372036854775807"),
        ("seed", 2**64, "but must be at most 9223372036854775807"),
        ("seed", 1.5, "seed is 1.5, but must be a whole number"),
        ("seed", "abc", "seed is 'abc', but must be a whole number"),
        ("training.batch_size", 10**30, "training.batch_size must be between"),
        ("limits.max_input_tokens", 2**40, "limits.max_input_tokens must be between"),
        ("network.layers", 10**6, "network.layers is 1000000, but must be at most 64"),
        ("network.max_word_characters", 300, "must be at most 256"),
        ("training.clip_norm", float("nan"), "training.clip_norm is nan, but must be"),
        ("training.deterministic", "perhaps", "must be true or false"),
        ("training.schedule", "Cosine", "did you mean 'cosine'?"),
        ("training", 3, "training is 3, but must be a table"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: Any, reason: str) -> None:
    """Each fault gives one sentence with the key and its allowed values."""
    assert reason in fault_of(smallest(), {key: value})


def test_every_fault_is_told_at_once() -> None:
    """Two wrong keys are reported in one message."""
    message = fault_of(smallest(), {"training.epochs": 0, "network.layers": 0})
    assert "training.epochs" in message
    assert "network.layers" in message


def test_a_look_back_is_of_whole_segments() -> None:
    """A constraint between two keys is validated: the look-back must be a whole number of segments."""
    values = smallest(task="forecasting", network={"look_back": 100, "segment": 24})
    assert fault_of(values) == "mine.toml: network: look_back (100) must be a multiple of segment (24)"


def test_dotted_keys_change_single_values() -> None:
    """Missing tables are created, other values are kept, and a number may be a version."""
    overrides = {"training.epochs": 3, "tokenizer.lowercase": False, "seed": 7, "version": 12}
    recipe = parse_recipe(smallest(training={"patience": 2}), "mine.toml", overrides)
    assert (recipe.training.epochs, recipe.training.patience) == (3, 2)
    assert (recipe.tokenizer.lowercase, recipe.seed, recipe.version) == (False, 7, "12")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_are_sound(name: str) -> None:
    """Each shipped recipe is valid, is named after its file, has a comment, and uses a data set of its task.

    Or it uses files that a command in its comment makes.
    """
    path = find_recipe(name)
    recipe = load_recipe(path)
    assert recipe.name == name
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert recipe.description
    assert recipe.licence
    reads_text = recipe.task not in ("forecasting", "captioning", "video") and recipe.signal.kind == "none"
    assert len(recipe.examples) >= 2 or not reads_text
    if recipe.data.dataset:
        assert recipe.task in NAMED_DATASETS[recipe.data.dataset].tasks
    else:
        assert "unroll synthesize" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_come_with_a_recipe_only_where_its_data_allows_it(name: str) -> None:
    """A recipe whose data forbids redistribution has no published bundle, and every recipe states a licence."""
    recipe = load_recipe(find_recipe(name))
    assert recipe.licence
    assert may_ship(recipe) or not (RECIPES.parents[1] / "models" / name).exists()


def test_a_data_set_of_unclear_licence_is_not_for_shipping() -> None:
    """At least one named data set forbids redistribution, and the user's own files are unrestricted."""
    unclear = next(entry for entry in NAMED_DATASETS.values() if not entry.may_ship)
    assert not may_ship(parse_recipe(smallest(task=unclear.tasks[0], data={"dataset": unclear.name}), "mine.toml"))
    assert may_ship(parse_recipe(smallest(), "mine.toml"))


def test_a_near_name_is_suggested() -> None:
    """A misspelt name gets a suggestion and the list of all recipes."""
    with pytest.raises(ConfigFault, match=r"no recipe 'pos-em'; did you mean pos-en\?") as caught:
        find_recipe("pos-em")
    assert all(name in str(caught.value) for name in SHIPPED)


def test_a_far_name_gets_the_list() -> None:
    """A name without a close match, or a missing file, gets the list of recipes and no suggestion."""
    for name in ("quantum", "nowhere.toml"):
        with pytest.raises(ConfigFault, match=rf"no recipe '{name}'\. For your own files give a task"):
            find_recipe(name)


def test_a_recipe_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    """A path that ends in .toml is read as a recipe file; invalid TOML is refused with the file's name."""
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(smallest()), encoding="utf-8")
    assert load_recipe(find_recipe(str(path))).name == "mine"
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(ConfigFault, match=r"mine\.toml: not TOML"):
        load_recipe(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_written_reads_back_equal(name: str) -> None:
    """The effective recipe written as TOML reads back equal."""
    recipe = load_recipe(find_recipe(name), {"training.learning_rate": 1e-5, "examples": ['a\nb\t"c"', "é\u2028👍"]})
    text = tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))
    again: Recipe = parse_recipe(tomllib.loads(text), "again")
    assert again == recipe

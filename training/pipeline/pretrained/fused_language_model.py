"""The language model of a speech recogniser: from the run folder of a generation run into the recogniser's bundle.

A copy of what is needed of it is kept in the recogniser's run folder, so that the run can be exported and verified
wherever the folder goes.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from service.bundle.manifest import DataSource
from service.bundle.task_options import TranscriptionOptions
from service.bundle.tokenizer import EOS, TextTokenizer
from training.config.networks import LanguageModelConfig, TranscriberConfig
from training.config.recipe import ConfigFault, Recipe
from training.fit.run_folder import LANGUAGE_MODEL_FOLDER, RunFolder
from training.networks.fused_recogniser import LANGUAGE_MODEL, FusedRecogniser
from training.networks.language_model import LanguageModel
from training.networks.network import Network
from training.onnx_graph.manifest_draft import BundleDraft

_COPIED = ("config.toml", "data.json", "labels.json", "tokenizer-text.json", "best.safetensors")
#: The least share of the recogniser's tokens that the language model must know.
_LEAST_KNOWN = 0.8


def adopt_language_model(run: RunFolder, language_model: Path) -> None:
    """Copy a trained language model into the folder of a recogniser, in place of one that is there.

    Raises:
        ConfigFault: it is no language model, reads backward, or has other tokens than the recogniser.
        RunFolderFault: a folder is no run.
    """
    theirs = RunFolder(language_model)
    _check(run.recipe(), run.vocabulary().tokenizers["text"], theirs)
    into = run.path / LANGUAGE_MODEL_FOLDER
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir()
    for name in _COPIED:
        shutil.copyfile(language_model / name, into / name)


def language_model_of(run: RunFolder) -> RunFolder | None:
    """The language model that a run is published with; None if there is none."""
    path = run.path / LANGUAGE_MODEL_FOLDER
    return RunFolder(path) if path.is_dir() else None


def fused(network: Network, language_model: Network) -> FusedRecogniser:
    """Both as one network."""
    if not isinstance(language_model, LanguageModel):
        raise ConfigFault(f"a {type(language_model).__name__} is no language model")
    return FusedRecogniser(network, language_model)


def fused_draft(draft: BundleDraft, language_model: RunFolder) -> BundleDraft:
    """The description of a bundle with a language model."""
    if not isinstance(draft.options, TranscriptionOptions):
        raise ConfigFault(f"{draft.name} is for {draft.options.task}: only speech recognisers take a language model")
    tokenizers = {**draft.tokenizers, LANGUAGE_MODEL: language_model.vocabulary().tokenizers["text"]}
    return replace(draft, options=draft.options.model_copy(update={"language_model": True}), tokenizers=tokenizers)


def sources_of_language_model(run: RunFolder) -> tuple[DataSource, ...]:
    """The data that the language model of a run was trained on."""
    found = language_model_of(run)
    return (found.source(),) if found else ()


def _check(recipe: Recipe, tokenizer: TextTokenizer, language_model: RunFolder) -> None:
    theirs = language_model.recipe()
    where = f"network.language_model: {language_model.path}"
    if not isinstance(recipe.network, TranscriberConfig):
        raise ConfigFault(f"{recipe.name} is for {recipe.task}: only speech recognisers take a language model")
    if not isinstance(theirs.network, LanguageModelConfig):
        raise ConfigFault(f"{where} is for {theirs.task}; name the run of a language model (task generation)")
    if theirs.data.reverse:
        raise ConfigFault(f"{where} reads backward (data.reverse); speech is recognised forward")
    if not language_model.best_weights.is_file():
        raise ConfigFault(f"{where} has no trained weights yet: train it first")
    if theirs.tokenizer.unit != recipe.tokenizer.unit:
        units = f"{theirs.tokenizer.unit}s, the recogniser {recipe.tokenizer.unit}s"
        raise ConfigFault(f"{where} has {units}: both must have the same tokenizer.unit")
    own = language_model.vocabulary().tokenizers["text"]
    tokens = [tokenizer.token(number) for number in range(EOS + 1, tokenizer.vocabulary_size)]
    missing = [token for token in tokens if own.token_id(token) is None]
    if len(missing) > (1 - _LEAST_KNOWN) * len(tokens):
        named = ", ".join(map(repr, missing[:10]))
        message = f"{where} does not know {len(missing)} of the recogniser's {len(tokens)} tokens, such as {named}"
        raise ConfigFault(f"{message}: train it on texts in the same spelling")

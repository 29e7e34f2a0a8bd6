"""Pretrained word vectors: published ones, or the embeddings of an earlier run."""

from __future__ import annotations

from pathlib import Path

from service.bundle.load import file_digest
from service.bundle.manifest import DataSource
from service.bundle.tokenizer import SPECIAL_TOKENS
from training.config.recipe import ConfigFault
from training.fit.run_folder import RunFolder
from training.preprocessing.tensor_file import read_tensors
from training.preprocessing.word_vectors import WordVectors, load_vectors, vectors_source
from training.tasks.catalogue import training_task


def starting_vectors(name_or_folder: str) -> WordVectors:
    """Vectors by name, from a folder of vectors, or from the run folder of a tagger, classifier or language model.

    Those of a run are in the order of its vocabulary: words of its own text first, by frequency.

    Raises:
        ConfigFault: there are none, they cannot be read, or the run reads something other than words.
        RunFolderFault, CheckpointFault: the run has not been trained, or its folder is damaged.
    """
    run = _run(name_or_folder)
    return _learnt(run) if run else load_vectors(name_or_folder)


def sources_of_vectors(name_or_folder: str) -> tuple[DataSource, ...]:
    """Data sources of the vectors: the data of the run that they come from, and of the vectors it started from."""
    run = _run(name_or_folder)
    if run is None:
        return (vectors_source(name_or_folder),) if name_or_folder else ()
    weights = {run.best_weights.name: file_digest(run.best_weights)}
    learnt_from = run.source().model_copy(update={"splits": {**run.source().splits, **weights}})
    return (learnt_from, *sources_of_vectors(run.recipe().tokenizer.vectors))


def _run(name_or_folder: str) -> RunFolder | None:
    path = Path(name_or_folder)
    return RunFolder(path, writes=False) if name_or_folder and (path / "config.toml").is_file() else None


def _learnt(run: RunFolder) -> WordVectors:
    recipe = run.recipe()
    embedding = training_task(recipe).word_embedding
    if embedding is None or recipe.tokenizer.unit != "word":
        raise ConfigFault(
            f"tokenizer.vectors: {run.path} has learnt no vectors of words; it must be a run of a tagger, a "
            'classifier or a language model with tokenizer.unit = "word"'
        )
    tensors, _ = read_tensors(run.best_weights)
    tokenizer = run.vocabulary().tokenizers[embedding.role]
    words = tuple(tokenizer.token(number) for number in range(len(SPECIAL_TOKENS), tokenizer.vocabulary_size))
    return WordVectors(words, tensors[f"{embedding.module}.weight"][len(SPECIAL_TOKENS) :].float().numpy())

"""Captioning: the task object, its training set and its vocabulary."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from service.bundle.load import Bundle
from service.bundle.padding import pad_ids
from service.bundle.task_options import CaptioningOptions
from service.bundle.tokenizer import BOS, EOS
from service.tasks.core.task import Runner
from service.tasks.inputs.png import PictureSize, read_png
from training.config.networks import CaptionerConfig
from training.config.pictures import PictureConfig
from training.config.recipe import Recipe, TokenizerConfig
from training.data.records import CaptionedPicture
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.captioning import CaptioningEvaluation
from training.networks.network import Network
from training.networks.visual.captioner import Captioner
from training.preprocessing.batches import CaptioningBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor
from training.preprocessing.vocabulary import Vocabulary, fit_subwords
from training.preprocessing.word_vectors import WordVectors
from training.tasks.examples import beside, example_questions, sample_lines


class CaptioningTask(CaptioningEvaluation, TrainingTask[CaptionedPicture]):
    """A picture in, a caption out."""

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[CaptionedPicture], vectors: WordVectors | None = None
    ) -> Vocabulary:
        return captioning_vocabulary(recipe.tokenizer, records)

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[CaptionedPicture], *, is_dev: bool = False
    ) -> CaptioningSet:
        config, most = recipe.network_as(CaptionerConfig), recipe.limits.max_new_tokens
        size = recipe.training.batch_size
        return CaptioningSet(records, vocabulary, config, recipe.picture, most, size, recipe.seed)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        return Captioner(recipe.network_as(CaptionerConfig), recipe.picture, vocabulary.size("target"))

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> CaptioningOptions:
        config = recipe.network_as(CaptionerConfig)
        return CaptioningOptions(
            image_rows=config.image_rows,
            image_columns=config.image_columns,
            grid_rows=config.grid_rows,
            grid_columns=config.grid_columns,
            num_beams=config.num_beams,
            length_penalty=config.length_penalty,
        )

    def samples(
        self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[CaptionedPicture]
    ) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, lambda record: record.value, _line)

    def questions(self, recipe: Recipe, records: Sequence[CaptionedPicture]) -> list[Question]:
        return example_questions(recipe, records, lambda r: {"png": base64.b64encode(r.png).decode("ascii")})

    def defaults(self, records: Sequence[CaptionedPicture]) -> dict[str, Any]:
        return {
            "tokenizer": {"unit": "subword", "vocabulary_size": 2000},
            "network": {"channels": [32, 64, 128], "embedding_size": 128, "hidden_size": 256},
            "picture": {
                "shift": 0.08,
                "scale": 0.12,
                "rotation_degrees": 10,
                "brightness": 0.1,
                "colour": 0.15,
                "erase": 0.3,
            },
            "training": {"epochs": 30, "patience": 6, "batch_size": 64, "ema_decay": 0.995, "warmup_steps": 100},
            "limits": {"max_input_tokens": 1024, "max_new_tokens": 40},
        }


#: Captions up to this length are batched at random, which batch normalisation needs; the few longer ones are bucketed
#: together, so that not every batch takes as many steps as they do.
SHORT_CAPTION_TOKENS = 6


class CaptioningSet(Bucketed):
    """Pictures with captions; a caption is cut at the limit."""

    def __init__(
        self,
        records: Sequence[CaptionedPicture],
        vocabulary: Vocabulary,
        network: CaptionerConfig,
        augment: PictureConfig,
        limit: int,
        batch_size: int,
        seed: int,
    ) -> None:
        size = PictureSize(network.image_rows, network.image_columns)
        self._pixels = np.stack([read_png(record.png, size) for record in records])
        encode = vocabulary.tokenizers["target"].encode
        self._captions = [encode(record.caption)[: limit - 1] for record in records]
        super().__init__([max(len(ids), SHORT_CAPTION_TOKENS) for ids in self._captions], batch_size, seed)
        unless = set(augment.mirror_unless)
        self._may_mirror = np.array([unless.isdisjoint(words_of_caption(record.caption)) for record in records])

    def batch(self, indices: Order) -> CaptioningBatch:
        captions = [self._captions[i] for i in indices]
        return CaptioningBatch(
            pixels=torch.from_numpy(self._pixels[indices]),
            may_mirror=torch.from_numpy(self._may_mirror[indices]),
            target_inputs=ids_tensor(pad_ids([[BOS, *ids] for ids in captions])),
            target_outputs=ids_tensor(pad_ids([[*ids, EOS] for ids in captions])),
        )


def captioning_vocabulary(config: TokenizerConfig, records: Sequence[CaptionedPicture]) -> Vocabulary:
    """Subwords of the captions."""
    return Vocabulary({"target": fit_subwords([record.caption for record in records], config)})


def words_of_caption(caption: str) -> list[str]:
    """Its words in lower case, without punctuation."""
    return re.findall(r"\w+", caption.lower())


def _line(record: CaptionedPicture, found: Mapping[str, Any]) -> str:
    return f"{record.group or 'picture'}: {beside(found['text'], record.caption)}"

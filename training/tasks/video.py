"""Video: the task object, its training set and its vocabulary."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from service.bundle.load import Bundle
from service.bundle.padding import pad_ids
from service.bundle.task_options import VideoOptions
from service.bundle.tokenizer import BOS, EOS
from service.tasks.core.task import Runner
from service.tasks.inputs.clips.clip_file import resized_frames
from service.tasks.inputs.clips.facts import evenly
from service.tasks.inputs.png import PictureSize
from training.config.pictures import PictureConfig
from training.config.recipe import Recipe
from training.config.video import VideoConfig
from training.data.records import CaptionedClip
from training.evaluation.task import Question, TrainingTask
from training.evaluation.tasks.video import VideoEvaluation
from training.networks.network import Network
from training.networks.visual.video_captioner import VideoCaptioner
from training.preprocessing.batches import NO_LABEL, VideoBatch
from training.preprocessing.batching import Bucketed, Order, ids_tensor
from training.preprocessing.vocabulary import Vocabulary, fit_subwords
from training.preprocessing.word_vectors import WordVectors
from training.tasks.captioning import words_of_caption
from training.tasks.examples import beside, example_questions, sample_lines


class VideoTask(VideoEvaluation, TrainingTask[CaptionedClip]):
    """A clip in; a caption, an action and the next action out."""

    def fit_vocabulary(
        self, recipe: Recipe, records: Sequence[CaptionedClip], vectors: WordVectors | None = None
    ) -> Vocabulary:
        """Subwords of the captions, and the actions of either column."""
        captions = fit_subwords([record.caption for record in records], recipe.tokenizer)
        actions = {action for record in records for action in (record.action, record.next_action)}
        return Vocabulary({"target": captions}, labels=tuple(sorted(actions)))

    def training_set(
        self, recipe: Recipe, vocabulary: Vocabulary, records: Sequence[CaptionedClip], *, is_dev: bool = False
    ) -> VideoSet:
        config, most = recipe.network_as(VideoConfig), recipe.limits.max_new_tokens
        return VideoSet(records, vocabulary, config, recipe.picture, most, recipe.training.batch_size, recipe.seed)

    def network(self, recipe: Recipe, vocabulary: Vocabulary) -> Network:
        config = recipe.network_as(VideoConfig)
        return VideoCaptioner(config, recipe.picture, vocabulary.size("target"), len(vocabulary.labels))

    def options(self, recipe: Recipe, vocabulary: Vocabulary) -> VideoOptions:
        config = recipe.network_as(VideoConfig)
        return VideoOptions(
            image_rows=config.image_rows,
            image_columns=config.image_columns,
            grid_rows=config.grid_rows,
            grid_columns=config.grid_columns,
            max_frames=config.max_frames,
            num_beams=config.num_beams,
            length_penalty=config.length_penalty,
        )

    def samples(
        self, bundle: Bundle, runner: Runner, recipe: Recipe, records: Sequence[CaptionedClip]
    ) -> tuple[str, ...]:
        return sample_lines(bundle, runner, records, lambda record: record.value, _line)

    def questions(self, recipe: Recipe, records: Sequence[CaptionedClip]) -> list[Question]:
        return example_questions(recipe, records, lambda record: {"clip": as_gif(record.frames)})

    def defaults(self, records: Sequence[CaptionedClip]) -> dict[str, Any]:
        return {
            "tokenizer": {"unit": "subword", "vocabulary_size": 2000},
            "network": {"channels": [24, 32, 48, 96], "embedding_size": 128, "hidden_size": 192},
            "picture": {"shift": 0.05, "scale": 0.1, "rotation_degrees": 8, "brightness": 0.1, "colour": 0.15},
            "training": {"epochs": 30, "patience": 6, "batch_size": 32, "ema_decay": 0.99, "warmup_steps": 100},
            "limits": {"max_input_tokens": 1024, "max_new_tokens": 40},
        }


class VideoSet(Bucketed):
    """Clips with captions and actions; a caption is cut at the limit, and a long clip to frames spread evenly."""

    def __init__(
        self,
        records: Sequence[CaptionedClip],
        vocabulary: Vocabulary,
        network: VideoConfig,
        augment: PictureConfig,
        limit: int,
        batch_size: int,
        seed: int,
    ) -> None:
        size = PictureSize(network.image_rows, network.image_columns)
        self._frames = [
            resized_frames(record.frames[list(evenly(len(record.frames), network.max_frames))], size)
            for record in records
        ]
        encode = vocabulary.tokenizers["target"].encode
        self._captions = [encode(record.caption)[: limit - 1] for record in records]
        numbers = {label: number for number, label in enumerate(vocabulary.labels)}
        # Dev may have an action that train has not: it is no label, and the loss leaves it out.
        self._actions = np.array([numbers.get(record.action, NO_LABEL) for record in records])
        self._next_actions = np.array([numbers.get(record.next_action, NO_LABEL) for record in records])
        unless = set(augment.mirror_unless)
        self._may_mirror = np.array([unless.isdisjoint(words_of_caption(record.caption)) for record in records])
        # Clips whose captions are equally long do alike things: batch normalisation would learn from such batches what
        # it cannot see in use.
        super().__init__([0] * len(records), batch_size, seed)

    def batch(self, indices: Order) -> VideoBatch:
        captions = [self._captions[i] for i in indices]
        clips = [self._frames[i] for i in indices]
        longest = max(map(len, clips))
        frames = np.zeros((len(clips), longest, *clips[0].shape[1:]), dtype=np.uint8)
        for row, clip in enumerate(clips):
            frames[row, : len(clip)] = clip
        return VideoBatch(
            frames=torch.from_numpy(frames),
            lengths=torch.tensor([len(clip) for clip in clips]),
            may_mirror=torch.from_numpy(self._may_mirror[indices]),
            actions=torch.from_numpy(self._actions[indices]),
            next_actions=torch.from_numpy(self._next_actions[indices]),
            target_inputs=ids_tensor(pad_ids([[BOS, *ids] for ids in captions])),
            target_outputs=ids_tensor(pad_ids([[*ids, EOS] for ids in captions])),
        )


def as_gif(frames: Any) -> str:
    """Frames uint8 `[time, rows, columns, 3]` as an animated GIF file in base64: without loss up to 256 colours."""
    pictures = [Image.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=100, loop=0, optimize=False)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _line(record: CaptionedClip, found: Mapping[str, Any]) -> str:
    then = beside(found["next_action"]["label"], record.next_action)
    return f"{beside(found['text'], record.caption)}; {beside(found['action']['label'], record.action)}, then {then}"

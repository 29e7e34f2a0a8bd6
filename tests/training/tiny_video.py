"""A video captioner with few random weights, and a bundle of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from service.bundle.manifest import Limits
from service.bundle.task_options import VideoOptions
from tests.tasks.inputs.clips.tiny_clips import STEPS, as_json, gif_of, square_clip, square_clips
from tests.training.exportable import lively, words_tokenizer
from tests.training.tiny_captioner import with_statistics
from training.config.pictures import PictureConfig
from training.config.video import VideoConfig
from training.evaluation.task import Question
from training.networks.visual.video_captioner import VideoCaptioner
from training.onnx_graph.manifest_draft import BundleDraft
from training.publish.export import Exported, export_bundle

LIMITS = Limits(max_input_tokens=40, max_new_tokens=6)
LABELS = tuple(STEPS)


def video_captioner(augment: PictureConfig | None = None, **changes: Any) -> VideoCaptioner:
    """A video captioner with non-default normalisation statistics, so that omitting them is detected."""
    sizes = {"image_rows": 16, "image_columns": 24, "channels": [5, 4, 6], "convolutions": 1, "max_frames": 5}
    sizes |= {"embedding_size": 7, "hidden_size": 9, "attention_size": 8, "recurrent_size": 5}
    config = VideoConfig.model_validate({**sizes, **changes})
    torch.manual_seed(11)
    network = VideoCaptioner(config, augment or PictureConfig(), words_tokenizer().vocabulary_size, len(LABELS))
    return with_statistics(lively(network))


def publish_video(network: VideoCaptioner, models: Path, half: bool = True) -> Exported:
    """Publish a video captioner with two recorded clips, one of them with its attention and moments."""
    config = network.config
    options = VideoOptions(
        image_rows=config.image_rows,
        image_columns=config.image_columns,
        grid_rows=config.grid_rows,
        grid_columns=config.grid_columns,
        max_frames=config.max_frames,
        num_beams=2,
    )
    draft = BundleDraft("tiny-video", options, {"target": words_tokenizer()}, labels=LABELS, limits=LIMITS)
    first, second = as_json(gif_of(square_clips(1)[0].frames)), as_json(gif_of(square_clip("red", ("stays",) * 2, 3)))
    questions = [
        Question(first),
        Question(second, {"return_attention": True, "return_moments": True, "num_beams": 1}),
    ]
    return export_bundle(network, draft, questions, models, half=half)

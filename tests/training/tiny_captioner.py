"""A captioner with few random weights, and a bundle of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from service.bundle.manifest import Limits
from service.bundle.task_options import CaptioningOptions
from tests.tiny_pictures import as_json, shape_pictures
from tests.training.exportable import lively, words_tokenizer
from training.config.networks import CaptionerConfig
from training.config.pictures import PictureConfig
from training.evaluation.task import Question
from training.networks.visual.captioner import Captioner
from training.onnx_graph.manifest_draft import BundleDraft
from training.publish.export import Exported, export_bundle

NetworkT = TypeVar("NetworkT", bound=nn.Module)

LIMITS = Limits(max_input_tokens=40, max_new_tokens=6)


def captioner(augment: PictureConfig | None = None, **changes: Any) -> Captioner:
    """A captioner with non-default normalisation statistics, so that omitting them is detected."""
    sizes = {"image_rows": 16, "image_columns": 24, "channels": [5, 6], "convolutions": 2}
    sizes |= {"embedding_size": 7, "hidden_size": 9, "attention_size": 8}
    config = CaptionerConfig.model_validate({**sizes, **changes})
    torch.manual_seed(11)
    return with_statistics(lively(Captioner(config, augment or PictureConfig(), words_tokenizer().vocabulary_size)))


def with_statistics(network: NetworkT) -> NetworkT:
    """The network with running statistics of normalisation as training would leave them, ready for evaluation."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.track_running_stats:
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(0.2 + torch.rand(module.num_features, generator=generator))
    return network.eval()


def publish_captioner(network: Captioner, models: Path, half: bool = True) -> Exported:
    """Publish a captioner with two recorded pictures, one of them with its attention."""
    config = network.config
    options = CaptioningOptions(
        image_rows=config.image_rows,
        image_columns=config.image_columns,
        grid_rows=config.grid_rows,
        grid_columns=config.grid_columns,
        num_beams=2,
    )
    draft = BundleDraft("tiny-captioner", options, {"target": words_tokenizer()}, limits=LIMITS)
    first, second = (as_json(record.png) for record in shape_pictures(2))
    questions = [Question(first), Question(second, {"return_attention": True, "num_beams": 1})]
    return export_bundle(network, draft, questions, models, half=half)

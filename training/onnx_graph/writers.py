"""Which function writes the graphs of which network."""

from __future__ import annotations

from torch import nn

from training.networks.captioner import Captioner
from training.networks.classifier import Classifier
from training.networks.forecaster import Forecaster
from training.networks.language_model import LanguageModel
from training.networks.signal_classifier import SignalClassifier
from training.networks.tagger import Tagger
from training.networks.translator import Translator
from training.onnx_graph.captioner import captioner_graphs
from training.onnx_graph.classifier import classifier_graphs
from training.onnx_graph.forecaster import forecaster_graphs
from training.onnx_graph.language_model import language_model_graphs
from training.onnx_graph.parts.builder import Graphs
from training.onnx_graph.signal_classifier import signal_classifier_graphs
from training.onnx_graph.tagger import tagger_graphs
from training.onnx_graph.translator import translator_graphs


def network_graphs(network: nn.Module, half: bool = False) -> Graphs:
    """Every graph of a network by name, under the tensor names that the service's tasks use.

    Raises:
        ValueError: nothing is known about this kind of network, or a weight does not fit half precision.
    """
    match network:
        case Tagger():
            return tagger_graphs(network, half)
        case SignalClassifier():
            return signal_classifier_graphs(network, half)
        case Classifier():
            return classifier_graphs(network, half)
        case Translator():
            return translator_graphs(network, half)
        case Forecaster():
            return forecaster_graphs(network, half)
        case Captioner():
            return captioner_graphs(network, half)
        case LanguageModel():
            return language_model_graphs(network, half)
        case _:
            raise ValueError(f"there is no graph writer for a {type(network).__name__}")

"""The registry of graph writers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from training.networks.classifier import Classifier
from training.networks.forecaster import Forecaster
from training.networks.fused_recogniser import LANGUAGE_MODEL, FusedRecogniser
from training.networks.language_model import LanguageModel
from training.networks.network import Network
from training.networks.parsing.parser import Parser
from training.networks.parsing.segmenter import SEGMENTER, Segmenter
from training.networks.signal_classifier import SignalClassifier
from training.networks.tagger import Tagger
from training.networks.transcriber import Transcriber
from training.networks.transducer import Transducer
from training.networks.translator import Translator
from training.networks.visual.captioner import Captioner
from training.networks.visual.video_captioner import VideoCaptioner
from training.onnx_graph.classifier import write_classifier
from training.onnx_graph.forecaster import write_forecaster
from training.onnx_graph.language_model import write_prompt, write_step
from training.onnx_graph.parser import write_parser, write_relations
from training.onnx_graph.parts.builder import GraphBuilder, Graphs
from training.onnx_graph.segmenter import write_segmenter
from training.onnx_graph.signal_classifier import write_signal_classifier
from training.onnx_graph.tagger import write_tagger
from training.onnx_graph.transcriber import write_transcriber
from training.onnx_graph.transducer import write_joint, write_predictor, write_transducer_encoder
from training.onnx_graph.translator import write_translator_encoder, write_translator_step
from training.onnx_graph.visual.captioner import write_captioner_encoder, write_captioner_step
from training.onnx_graph.visual.video_captioner import write_video_encoder, write_video_step

#: For each network the writers of its graphs.
WRITERS: dict[type[Network], Mapping[str, Callable[[GraphBuilder, Any], None]]] = {
    Tagger: {"tagger": write_tagger},
    Classifier: {"classifier": write_classifier},
    SignalClassifier: {"classifier": write_signal_classifier},
    Translator: {"encoder": write_translator_encoder, "decoder_step": write_translator_step},
    Captioner: {"encoder": write_captioner_encoder, "decoder_step": write_captioner_step},
    VideoCaptioner: {"encoder": write_video_encoder, "decoder_step": write_video_step},
    Forecaster: {"forecaster": write_forecaster},
    Transcriber: {"encoder": write_transcriber},
    Transducer: {"encoder": write_transducer_encoder, "predictor": write_predictor, "joint": write_joint},
    Parser: {"parser": write_parser, "relations": write_relations},
    Segmenter: {SEGMENTER: write_segmenter},
    LanguageModel: {"prompt": write_prompt, "step": write_step},
}


def network_graphs(network: Network, half: bool = False, builder: type[GraphBuilder] = GraphBuilder) -> Graphs:
    """Every graph of a network by name, with the inputs and outputs that the network declares.

    Raises:
        ValueError: there is no writer for this kind of network, or a weight does not fit half precision.
    """
    if isinstance(network, FusedRecogniser):
        step = network.graphs()[LANGUAGE_MODEL]
        graph = builder(LANGUAGE_MODEL, step.inputs, step.outputs, half)
        write_step(graph, network.language_model)
        return {**network_graphs(network.recogniser, half, builder), LANGUAGE_MODEL: graph}
    if type(network) not in WRITERS:
        raise ValueError(f"there is no graph writer for a {type(network).__name__}")
    writers = WRITERS[type(network)]
    graphs = {}
    for name, declared in network.graphs().items():
        graphs[name] = builder(name, declared.inputs, declared.outputs, half)
        writers[name](graphs[name], network)
    return graphs

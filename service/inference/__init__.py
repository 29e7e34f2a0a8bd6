"""Inference: engines, dynamic and continuous batching, the onnxruntime runner, and recurrent state of clients."""

"""The Open Inference Protocol over gRPC: the service `inference.GRPCInferenceService`, health, and reflection.

`handlers` has the methods, `calls` what is around each of them, `codec` the tensors and `infer_stream` the method in
both directions. `open_inference_pb2` is generated from `open_inference.proto`.
"""

"""The Open Inference Protocol, version 2: models as functions of named, typed tensors, as Triton and KServe speak it.

`inference` answers requests of `messages`, whatever carried them; `http_codec` reads and writes them as JSON with
binary tensors, and `routes` has the paths.
"""

"""The contract between training and serving: the bundle format, tokenizers and padding.

Both sides import this package, so each rule about tokens, padding or files is written once. It needs numpy, pydantic
and tokenizers, and imports neither torch nor onnxruntime.
"""

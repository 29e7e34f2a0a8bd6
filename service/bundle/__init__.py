"""The contract between training and serving: what a bundle holds and how text becomes numbers.

Both sides import this package, so a rule about tokens, padding or files is written once. It needs numpy, pydantic
and tokenizers, and imports neither torch nor onnxruntime.
"""

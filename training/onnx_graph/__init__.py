"""Writes ONNX graphs directly from the weights of torch modules.

`builder` collects nodes and constants, `recurrence` and `layers` write the parts that networks are made of, and one
module per task puts them together under the tensor names that the service knows.
"""

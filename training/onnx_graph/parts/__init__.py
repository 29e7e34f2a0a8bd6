"""Parts of ONNX graphs that the writers of several networks share."""

"""One run of one graph: onnxruntime sessions, devices, precision, and checks of graphs and inputs."""

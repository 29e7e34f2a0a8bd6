"""ONNX graphs written directly from the weights of torch modules.

`parts` has the graph builder and the layers that several networks share; each network has a module with the writers of
its graphs.
"""

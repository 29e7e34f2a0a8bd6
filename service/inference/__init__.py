"""Runs bundles: the onnxruntime runner, the self-check, batching and stepping. Importing it imports nothing else."""

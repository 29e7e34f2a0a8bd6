"""The tasks: pure functions between what a caller sends and the tensors of a bundle's graphs."""

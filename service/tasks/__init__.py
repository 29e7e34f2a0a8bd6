"""The four tasks: pure functions between what a caller writes and the tensors of a bundle's graphs."""

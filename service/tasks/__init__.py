"""Tasks: pure functions between the values of a request and the tensors of a bundle's graphs."""

"""Tensors: what they are, their data as bytes and as JSON, and what the tasks read from them and write to them."""

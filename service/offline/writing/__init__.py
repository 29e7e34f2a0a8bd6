"""Parts of the output, each written whole or not at all, and all of them joined in the order of the input."""

"""What a model gets wrong: confusion matrices, errors by kind, attention; tables, pictures, and a page with them."""

"""Commands for models that were trained elsewhere."""

"""Error analysis: confusion matrices, errors by kind and attention, as tables, pictures and a page."""

"""Recipes: every option of a run, with its type and default."""

"""Serves recurrent sequence models from bundles. Importing this package imports nothing else."""

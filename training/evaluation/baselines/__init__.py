"""Baselines: cheap methods that a network has to beat."""

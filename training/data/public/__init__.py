"""Public data sets by name: catalogue, download and cache."""

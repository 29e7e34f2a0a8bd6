"""Public data sets by name: the catalogue, and where their files are."""

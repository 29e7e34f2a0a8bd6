"""Readers of labelled data, one file per kind of record."""

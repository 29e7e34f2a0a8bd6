"""Labelled data: records, file formats, readers, public data sets and splits."""

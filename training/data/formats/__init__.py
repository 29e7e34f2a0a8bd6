"""File formats of labelled data, and faults in files."""

"""Cells of a table as numbers and as times: the forms in which people write them, and what is doubtful."""

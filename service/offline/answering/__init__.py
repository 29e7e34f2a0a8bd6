"""Rows to answers: checked and encoded one by one, run in batches of similar length, answered in their order."""

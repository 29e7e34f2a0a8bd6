"""Sentences with dependency trees, from the treebanks of Universal Dependencies."""

"""Dependency parsers: a recurrent encoder with scorers of arcs and relations."""

"""Recurrent state between requests: sealed tokens, session stores and the prefix cache."""

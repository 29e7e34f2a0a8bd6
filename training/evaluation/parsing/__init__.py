"""Measures of dependency parsing, and its errors by relation and distance."""

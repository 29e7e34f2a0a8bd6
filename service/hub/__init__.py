"""Bundles at addresses: pull and push them, with digest and signature checked before anything is opened."""

"""Manifests for Kubernetes, and what writes one of them."""

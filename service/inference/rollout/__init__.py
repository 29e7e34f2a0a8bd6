"""Rolling out versions: aliases, weighted traffic, shadow traffic and its comparison."""

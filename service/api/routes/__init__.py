"""HTTP protocols and operational routes, one file each."""

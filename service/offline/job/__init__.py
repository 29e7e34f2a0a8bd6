"""`unroll score`: a file scored in parts by several processes, continued where it was stopped, joined at the end."""

"""Load test of a running service: closed and open loop, latency percentiles, comparison of two servers."""

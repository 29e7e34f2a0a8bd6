"""Pages and probes that are no protocol: FastAPI serves them."""

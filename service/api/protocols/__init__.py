"""The HTTP protocols: one file, or one folder, each. See `service.api.protocol`."""

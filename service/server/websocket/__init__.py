"""WebSocket connections: the opening handshake, and frames to and from an ASGI application."""

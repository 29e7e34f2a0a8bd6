"""The ASGI application, uvicorn, and the fast path for plain requests."""

"""`/stream`: input that arrives in pieces over a WebSocket, and answers that leave in pieces."""

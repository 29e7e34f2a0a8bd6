"""Answers that come piece by piece: server-sent events of a text, and the WebSocket `/stream`."""

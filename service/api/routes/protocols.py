"""The HTTP protocols that this service speaks. A new one is a file beside this, and a line here."""

from __future__ import annotations

from service.api.routes import (
    predict,
    text_generation_inference,
)

PROTOCOLS = (predict.PROTOCOL, text_generation_inference.PROTOCOL)

"""The protocol of text-generation-inference (TGI): what its clients, and those of Hugging Face endpoints, send."""

from service.api.protocols.text_generation_inference.routes import PROTOCOL

__all__ = ["PROTOCOL"]

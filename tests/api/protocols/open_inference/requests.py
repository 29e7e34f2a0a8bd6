"""Requests of the protocol: inputs in JSON, and bodies with binary tensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from fastapi.testclient import TestClient

HEADER = "Inference-Header-Content-Length"


def tensor(name: str, data: Any, shape: Sequence[int], datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    """An input in JSON."""
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": data, **more}


def text(*values: str, name: str = "text") -> dict[str, Any]:
    """An input of texts."""
    return tensor(name, list(values), [len(values)])


def raw_texts(*elements: bytes) -> bytes:
    """Elements of BYTES as they stand in a binary tensor."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def binary(head: dict[str, Any], *parts: bytes) -> tuple[bytes, dict[str, str]]:
    """A body with raw tensors, and its header."""
    written = json.dumps(head).encode()
    return b"".join([written, *parts]), {HEADER: str(len(written))}


def raw_input(raw: bytes, name: str = "text", shape: Sequence[int] = (1,), datatype: str = "BYTES") -> dict[str, Any]:
    """An input whose data follow as raw bytes."""
    size = {"binary_data_size": len(raw)}
    return {"name": name, "shape": list(shape), "datatype": datatype, "parameters": size}


def infer(client: TestClient, model: str, *inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The outputs by name, each as it stands in the answer, which must be one."""
    response = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs, **more})
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def data_of(client: TestClient, model: str, *inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The elements of the outputs by name."""
    return {name: output["data"] for name, output in infer(client, model, *inputs, **more).items()}

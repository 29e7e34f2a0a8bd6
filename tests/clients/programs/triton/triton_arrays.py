"""Named arrays with Triton's clients, over HTTP and over gRPC: arrays of NumPy in and out, rows, sequences."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

MODEL, ARRAY = "tiny-lstm", "x"


def tensor(client: ModuleType, name: str, array: Any) -> Any:
    """An input in binary."""
    given = client.InferInput(name, array.shape, {"float32": "FP32", "int64": "INT64"}[str(array.dtype)])
    given.set_data_from_numpy(array)
    return given


def report(client: ModuleType, address: str, rows: Any, lengths: Any) -> dict[str, Any]:
    """The outputs of a batch, and the last output of two halves of its second row in one sequence."""
    server = client.InferenceServerClient(address)
    wanted = [client.InferRequestedOutput(name) for name in ("z", "last")]
    both = [tensor(client, ARRAY, rows), tensor(client, "lengths", lengths)]
    found = server.infer(MODEL, both, outputs=wanted)
    half = rows.shape[1] // 2
    parts = [rows[1:, :half], rows[1:, half:]]
    options = [{"sequence_start": True}, {"sequence_end": True}]
    chunks = [
        server.infer(MODEL, [tensor(client, ARRAY, part)], sequence_id=5, **option).as_numpy("last").tolist()
        for part, option in zip(parts, options, strict=True)
    ]
    return {"z": found.as_numpy("z").tolist(), "last": found.as_numpy("last").tolist(), "chunked": chunks[-1]}


def main() -> None:
    """Print what each client gets for the rows and lengths among the arguments."""
    rows, lengths = np.float32(json.loads(sys.argv[3])), np.array(json.loads(sys.argv[4]))
    clients = {"http": (tritonclient.http, sys.argv[1]), "grpc": (tritonclient.grpc, sys.argv[2])}
    print(json.dumps({name: report(client, address, rows, lengths) for name, (client, address) in clients.items()}))


if __name__ == "__main__":
    main()

"""Triton's client unloads and loads a model. Argument: host and port. Prints what it saw as JSON."""

from __future__ import annotations

import json
import sys

import tritonclient.http as triton

MODEL = "tiny-classifier"


def state(client: triton.InferenceServerClient) -> str:
    index = client.get_model_repository_index()
    return next(str(entry["state"]) for entry in index if entry["name"] == MODEL)


client = triton.InferenceServerClient(sys.argv[1])
report = [[state(client), client.is_model_ready(MODEL)]]
client.unload_model(MODEL, unload_dependents=True)
report.append([state(client), client.is_model_ready(MODEL)])
client.load_model(MODEL)
report.append([state(client), client.is_model_ready(MODEL)])
print(json.dumps(report))
client.close()

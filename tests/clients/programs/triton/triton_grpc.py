"""Triton's clients over gRPC, synchronous and for asyncio. Argument: host and port. Prints what they got as JSON."""

from __future__ import annotations

import asyncio
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

TEXTS = ["hello world", "one two one"]


def tensor(name: str, values: object, datatype: str) -> triton.InferInput:
    array = np.array(values, dtype={"BYTES": object, "INT64": np.int64, "FP32": np.float32}[datatype])
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def plain(result: triton.InferResult, *names: str) -> dict[str, object]:
    found = {name: result.as_numpy(name).tolist() for name in names}
    decoded: dict[str, object] = json.loads(json.dumps(found, default=lambda value: value.decode()))
    return decoded


def refusal(call: object, *arguments: object, **options: object) -> list[str]:
    try:
        call(*arguments, **options)  # type: ignore[operator]
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return ["", "accepted"]


client = triton.InferenceServerClient(sys.argv[1])
report: dict[str, object] = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": [client.is_model_ready(name) for name in ("tiny-tagger", "absent")],
    "server": client.get_server_metadata(as_json=True),
    "metadata": client.get_model_metadata("tiny-classifier", as_json=True),
    "config": client.get_model_config("tiny-tagger", as_json=True)["config"],
    "index": client.get_model_repository_index(as_json=True)["models"],
    "trace": client.get_trace_settings(as_json=True)["settings"],
    "logging": client.get_log_settings(as_json=True)["settings"],
    "shared_memory": [
        client.get_system_shared_memory_status(as_json=True),
        client.get_cuda_shared_memory_status(as_json=True),
    ],
}
refused = {
    "unknown_model": refusal(client.get_model_metadata, "absent"),
    "trace": refusal(client.update_trace_settings, settings={"trace_level": ["TIMESTAMPS"]}),
    "logging": refusal(client.update_log_settings, {"log_verbose_level": 1}),
    "register": refusal(client.register_system_shared_memory, "region", "/region", 64),
    "file": refusal(client.load_model, "tiny-tagger", config="{}", files={"file:1/model.onnx": b"abc"}),
}
client.unregister_system_shared_memory()

# Each kind of task; compressed both ways of gRPC.
text = tensor("text", TEXTS, "BYTES")
report["classified"] = plain(client.infer("tiny-classifier", [text]), "label", "score", "scores")
for algorithm in ("gzip", "deflate"):
    many = [tensor("text", TEXTS * 60, "BYTES")]
    found = client.infer("tiny-classifier", many, compression_algorithm=algorithm)
    report[algorithm] = plain(found, "label")["label"]
ranked = [triton.InferRequestedOutput("scores", class_count=2)]
report["classes"] = plain(client.infer("tiny-classifier", [text], outputs=ranked), "scores")["scores"]
named = client.infer(
    "tiny-classifier", [text], "1", request_id="r1", priority=1, timeout=20_000_000, headers={"x-a": "b"},
    parameters={"top_k": 2},
)  # fmt: skip
report["named"] = [named.get_response().id, plain(named, "top_labels")["top_labels"]]
tagged = client.infer("tiny-tagger", [tensor("text", ["The cat sat", "hello"], "BYTES")])
report["tags"] = plain(tagged, "tokens", "tags", "offsets", "lengths")
translated = client.infer("tiny-translator", [tensor("text", ["the cat sat"], "BYTES")], parameters={"num_beams": 1})
report["translated"] = plain(translated, "text_output")["text_output"]
ids = [tensor("tokens", [[4, 5, 6], [7, 8, 0]], "INT64"), tensor("lengths", [3, 2], "INT64")]
report["graph"] = plain(client.infer("tiny-classifier.classifier", ids), "logits")["logits"]
pending: queue.Queue[object] = queue.Queue()
for _ in range(4):
    client.async_infer("tiny-classifier", [text], lambda result, error: pending.put(error or plain(result, "label")))
report["asynchronous"] = [pending.get(timeout=30) for _ in range(4)]


def continued(prompt: str, max_new_tokens: int, **sequence: object) -> str:
    result = client.infer(
        "tiny-generator",
        [tensor("text_input", [prompt], "BYTES")],
        parameters={"max_new_tokens": max_new_tokens},
        **sequence,  # type: ignore[arg-type]
    )
    return str(result.as_numpy("text_output")[0].decode())


report["whole"] = continued("Hello ", 8)
report["pieces"] = [
    continued("Hello ", 3, sequence_id=7, sequence_start=True),
    continued("", 3, sequence_id=7),
    continued("", 2, sequence_id=7, sequence_end=True),
]
refused["ended"] = refusal(continued, "", 2, sequence_id=7)
refused["blank"] = refusal(client.infer, "tiny-classifier", [tensor("text", [" "], "BYTES")])
refused["datatype"] = refusal(client.infer, "tiny-classifier", [tensor("text", [1], "INT64")])
report["refused"] = refused
report["statistics"] = client.get_inference_statistics("tiny-classifier", "1", as_json=True)

# One stream: a language model token by token, a sequence in order, a classifier, and an error between them.
answers: queue.Queue[object] = queue.Queue()
client.start_stream(lambda result, error: answers.put(error.message() if error else result))
prompt, sampled = [tensor("text_input", ["Hello "], "BYTES")], {"max_new_tokens": 6, "seed": 3}
client.async_stream_infer(
    "tiny-generator", prompt, request_id="t", parameters=sampled, enable_empty_final_response=True
)
for number, (piece, options) in enumerate(
    [("Hello ", {"sequence_start": True}), ("", {}), ("", {"sequence_end": True})]
):
    client.async_stream_infer(
        "tiny-generator", [tensor("text_input", [piece], "BYTES")], request_id=f"q{number}", sequence_id=9,
        parameters={"max_new_tokens": (3, 3, 2)[number]}, **options,
    )  # fmt: skip
client.async_stream_infer("tiny-classifier", [tensor("text", [" "], "BYTES")], request_id="e")
client.async_stream_infer("tiny-classifier", [text], request_id="c")
client.stop_stream()
streamed: list[list[object]] = []
while not answers.empty():
    answer = answers.get()
    if isinstance(answer, str):
        streamed.append(["error", answer])
        continue
    response = answer.get_response()  # type: ignore[attr-defined]
    outputs = [output.name for output in response.outputs]
    is_final = response.parameters["triton_final_response"].bool_param
    streamed.append([response.id, plain(answer, outputs[0])[outputs[0]], outputs, is_final])  # type: ignore[arg-type]
report["streamed"] = streamed
report["generated"] = plain(client.infer("tiny-generator", prompt, parameters=sampled), "text_output")["text_output"]
client.close()


async def side_by_side() -> dict[str, object]:
    async with triton_aio.InferenceServerClient(sys.argv[1]) as other:
        found = await asyncio.gather(*(other.infer("tiny-classifier", [text]) for _ in range(4)))

        async def requests() -> object:
            yield {"model_name": "tiny-classifier", "inputs": [text], "request_id": "a1"}

        streamed = [result.get_response().id async for result, _ in other.stream_infer(requests())]
        metadata = await other.get_model_metadata("tiny-tagger", as_json=True)
        return {"labels": [plain(one, "label")["label"] for one in found], "streamed": streamed, "of": metadata["name"]}


report["asyncio"] = asyncio.run(side_by_side())
print(json.dumps(report))

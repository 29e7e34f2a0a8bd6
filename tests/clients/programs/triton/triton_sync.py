"""Triton's synchronous client calls everything that it can. Argument: host and port. Prints what it got as JSON."""

from __future__ import annotations

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

TEXTS = ["hello world", "one two one"]


def tensor(name: str, values: object, datatype: str, *, binary: bool = True) -> triton.InferInput:
    array = np.array(values, dtype={"BYTES": object, "INT64": np.int64, "FP32": np.float32}[datatype])
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def plain(result: triton.InferResult, *names: str) -> dict[str, object]:
    found = {}
    for name in names:
        array = result.as_numpy(name)
        values = array.tolist()
        found[name] = json.loads(json.dumps(values, default=lambda value: value.decode()))
    return found


def refusal(call: object, *arguments: object, **options: object) -> list[str]:
    try:
        call(*arguments, **options)  # type: ignore[operator]
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return ["", "accepted"]


client = triton.InferenceServerClient(sys.argv[1], concurrency=2)
report: dict[str, object] = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": [
        client.is_model_ready("tiny-tagger"),
        client.is_model_ready("tiny-tagger", "1"),
        client.is_model_ready("absent"),
    ],
    "server": client.get_server_metadata(),
    "metadata": client.get_model_metadata("tiny-classifier"),
    "graph_metadata": client.get_model_metadata("tiny-classifier.classifier", "1"),
    "config": client.get_model_config("tiny-tagger"),
    "index": client.get_model_repository_index(),
    "trace": client.get_trace_settings(),
    "logging": client.get_log_settings(),
    "shared_memory": [client.get_system_shared_memory_status(), client.get_cuda_shared_memory_status()],
    "refused": {
        "unknown_model": refusal(client.get_model_metadata, "absent"),
        "trace": refusal(client.update_trace_settings, settings={"trace_level": ["TIMESTAMPS"]}),
        "logging": refusal(client.update_log_settings, {"log_verbose_level": 1}),
        "register": refusal(client.register_system_shared_memory, "region", "/region", 64),
        "file": refusal(client.load_model, "tiny-tagger", config="{}", files={"file:1/model.onnx": b"abc"}),
    },
}
client.unregister_system_shared_memory()

# Texts: as raw bytes and as JSON, whole and by named outputs, compressed both ways.
text, as_json = tensor("text", TEXTS, "BYTES"), tensor("text", TEXTS, "BYTES", binary=False)
names = ("label", "score", "scores")
report["binary"] = plain(client.infer("tiny-classifier", [text]), *names)
wanted = [triton.InferRequestedOutput(name, binary_data=False) for name in names]
report["json"] = plain(client.infer("tiny-classifier", [as_json], outputs=wanted), *names)
for algorithm in ("gzip", "deflate"):
    report[algorithm] = plain(
        client.infer(
            "tiny-classifier",
            [tensor("text", TEXTS * 60, "BYTES")],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        ),
        "label",
    )["label"][:2]
ranked = [triton.InferRequestedOutput("scores", class_count=2)]
report["classes"] = plain(client.infer("tiny-classifier", [text], outputs=ranked), "scores")
answered = client.infer(
    "tiny-classifier",
    [text],
    model_version="1",
    request_id="r1",
    priority=1,
    timeout=20_000_000,
    headers={"X-A": "b"},
    query_params={"q": 1},
    parameters={"top_k": 2},
)
report["named"] = [answered.get_response()["id"], plain(answered, "top_labels")["top_labels"]]
column = tensor("text", [[text] for text in TEXTS], "BYTES")
report["column"] = plain(client.infer("tiny-classifier", [column]), "label")
tagged = client.infer("tiny-tagger", [tensor("text", ["The cat sat", "hello"], "BYTES")])
report["tags"] = plain(tagged, "tokens", "tags", "offsets", "lengths", "span_labels", "span_offsets")
translated = client.infer("tiny-translator", [tensor("text", ["the cat sat"], "BYTES")], parameters={"num_beams": 1})
report["translated"] = plain(translated, "text_output", "score")

# A language model: several prompts, and a sequence.
sampling = {"max_new_tokens": 6, "seed": 3, "do_sample": True}
prompts = tensor("text_input", ["Hello ", "a"], "BYTES")
report["generated"] = plain(
    client.infer("tiny-generator", [prompts], parameters=sampling), "text_output", "finish_reason", "generated_tokens"
)


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
report["refused"]["ended"] = refusal(continued, "", 2, sequence_id=7)  # type: ignore[index]

# A graph's own tensors.
ids = [tensor("tokens", [[4, 5, 6], [7, 8, 0]], "INT64"), tensor("lengths", [3, 2], "INT64")]
report["graph"] = plain(client.infer("tiny-classifier.classifier", ids), "logits")
report["same_graph"] = plain(client.infer("tiny-classifier", ids), "logits")
short = [tensor("tokens", [[4, 5, 6]], "INT64"), tensor("lengths", [3], "INT64")]
report["short_graph"] = plain(client.infer("tiny-classifier.classifier", short), "logits")
pending = [client.async_infer("tiny-classifier", [text]) for _ in range(8)]
report["asynchronous"] = [plain(one.get_result(), "label")["label"] for one in pending]
report["statistics"] = client.get_inference_statistics("tiny-classifier", "1")
report["all_statistics"] = sorted(one["name"] for one in client.get_inference_statistics()["model_stats"])

# What is wrong is refused with a sentence.
refused = report["refused"]
assert isinstance(refused, dict)
refused["blank"] = refusal(client.infer, "tiny-classifier", [tensor("text", [" "], "BYTES")])
refused["negative"] = refusal(
    client.infer,
    "tiny-classifier.classifier",
    [tensor("tokens", [[4, -1]], "INT64"), tensor("lengths", [2], "INT64")],
)
refused["datatype"] = refusal(client.infer, "tiny-classifier", [tensor("text", [1], "INT64")])
refused["output"] = refusal(client.infer, "tiny-classifier", [text], outputs=[triton.InferRequestedOutput("nothing")])
refused["sequence"] = refusal(client.infer, "tiny-classifier", [text], sequence_id=1, sequence_start=True)
print(json.dumps(report))
client.close()

"""Make a client of an OpenAPI document, and call a service with it. Arguments: document, folder for it, base URL."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCUMENT, FOLDER, BASE_URL = sys.argv[1:]


def generate() -> str:
    """Run the generator, which formats with the ruff beside it; return all that it says."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", DOCUMENT, "--fail-on-warning"]
    done = subprocess.run(
        [*command, "--output-path", FOLDER], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}")
    return (done.stdout + done.stderr).replace(FOLDER, "FOLDER").strip()


report: dict[str, Any] = {"said": generate()}
sys.path.insert(0, FOLDER)
from unroll_client import AuthenticatedClient, Client  # noqa: E402
from unroll_client import models as m  # noqa: E402

client = Client(base_url=BASE_URL, raise_on_unexpected_status=True)


def operation(tag: str, name: str) -> Any:
    return importlib.import_module(f"unroll_client.api.{tag}.{name}")


def typed(answer: Any) -> list[Any]:
    """The type that the generated client gave an answer, and its values."""
    return [type(answer).__name__, answer.to_dict()]


predict, generation = operation("inference", "predict"), operation("inference", "generate")


def predicted(model: str, inputs: Any, **more: Any) -> list[Any]:
    answer = predict.sync(client=client, body=m.PredictRequest(model=model, inputs=inputs, **more))
    return [type(answer).__name__, [typed(one) for one in answer.predictions]]


report["tagged"] = predicted("tiny-tagger", ["the cat sat", ["a", "dog"]])
report["classified"] = predicted(
    "tiny-classifier", "hello", parameters=m.PredictRequestClassificationParameters(top_k=2)
)
report["translated"] = predicted("tiny-translator", "the cat")
report["generated"] = typed(
    generation.sync(
        client=client,
        body=m.GenerateRequest(
            model="tiny-generator",
            inputs="a",
            parameters=m.GenerationParameters(max_new_tokens=3, seed=7, details=True),
        ),
    )
)
report["streamed"] = operation("inference", "generate_stream").sync(
    client=client, body=m.GenerateRequest(inputs="a", parameters=m.GenerationParameters(max_new_tokens=2))
)
report["completed"] = typed(
    operation("open_ai", "openai_create_completion").sync(
        client=client, body=m.CompletionRequest(prompt="a", max_tokens=2)
    )
)
report["inferred"] = typed(
    operation("open_inference_protocol", "v2_model_infer").sync(
        "tiny-classifier",
        client=client,
        body=m.InferForm(inputs=[m.TensorForm(name="text", shape=[1], datatype="BYTES", data=["hello"])]),
    )
)
report["models"] = typed(operation("models", "list_models").sync(client=client))
report["model"] = typed(operation("models", "get_model").sync("tiny-tagger", client=client))
report["rollout"] = typed(operation("models", "get_rollout").sync("tiny-tagger", client=client))
report["live"] = typed(operation("operations", "check_live").sync(client=client))
report["ready"] = typed(operation("operations", "check_ready").sync(client=client))
report["health"] = operation("operations", "check_health").sync_detailed(client=client).status_code
report["metrics"] = operation("operations", "get_metrics").sync(client=client).splitlines()[0]

absent = predict.sync_detailed(client=client, body=m.PredictRequest(model="absent", inputs="a"))
report["absent"] = [absent.status_code, *typed(absent.parsed)]
invalid = predict.sync_detailed(client=client, body=m.PredictRequest(model="tiny-tagger", inputs=["a", " "]))
report["invalid"] = [invalid.status_code, *typed(invalid.parsed)]
report["openai_absent"] = typed(operation("open_ai", "openai_retrieve_model").sync("absent", client=client))
report["v2_absent"] = typed(operation("open_inference_protocol", "v2_model_ready").sync("absent", client=client))


async def at_once() -> list[Any]:
    async with AuthenticatedClient(base_url=BASE_URL, token="a caller of its own") as authenticated:
        bodies = [m.PredictRequest(model="tiny-classifier", inputs=text) for text in ("a", "b", "c")]
        answers = await asyncio.gather(*(predict.asyncio(client=authenticated, body=body) for body in bodies))
    return [type(answer).__name__ for answer in answers]


report["at_once"] = asyncio.run(at_once())
print(json.dumps(report))

"""LangChain's `OpenAI`: invoke, stream, batch and ainvoke. Argument: the base URL, which ends with /v1."""

import asyncio
import json
import sys

from langchain_openai import OpenAI

model = OpenAI(base_url=sys.argv[1], api_key="sk-none", model="tiny-generator", max_tokens=8, temperature=0)
result = model.generate(["Romeo, "], stop=["\n"])
report = {
    "invoke": model.invoke("Romeo, "),
    "ainvoke": asyncio.run(model.ainvoke("Romeo, ")),
    "stream": list(model.stream("Romeo, ")),
    "batch": model.batch(["Romeo, ", "Juliet, "]),
    "generate": [len(result.generations), result.llm_output["token_usage"], result.llm_output["model_name"]],
    "best of": OpenAI(
        base_url=sys.argv[1], api_key="sk-none", model="tiny-generator", max_tokens=4, n=2, best_of=3, seed=1
    )
    .generate(["Romeo, "])
    .generations[0]
    .__len__(),
}
print(json.dumps(report))

"""`HuggingFaceEndpoint` of langchain-huggingface: invoke, stream, batch and their async forms."""

import asyncio
import json
import sys

from langchain_huggingface import HuggingFaceEndpoint

PROMPT = "Hello "


async def asynchronous(model):
    whole = await model.ainvoke(PROMPT)
    return {"invoke": whole, "stream": "".join([piece async for piece in model.astream(PROMPT)])}


def main(base):
    model = HuggingFaceEndpoint(endpoint_url=base, max_new_tokens=6, seed=3)
    return {
        "invoke": model.invoke(PROMPT),
        "stream": "".join(model.stream(PROMPT)),
        "batch": model.batch([PROMPT, "the cat "]),
        "stopped": model.invoke(PROMPT, stop=["zzz"]),
        "async": asyncio.run(asynchronous(model)),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))

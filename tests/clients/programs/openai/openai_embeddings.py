"""Embeddings by OpenAI's client and by LangChain on top of it. Argument: the base URL, which ends with /v1."""

import json
import sys

import openai
from langchain_openai import OpenAIEmbeddings

URL, MODEL = sys.argv[1], "tiny-classifier"
TEXTS = ["hello world", "one two one"]
client = openai.OpenAI(base_url=URL, api_key="sk-none", max_retries=0)


def refused(**wishes):
    try:
        client.embeddings.create(**{"model": MODEL, "input": TEXTS} | wishes)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.param, error.code]
    return "answered"


one = client.embeddings.create(model=MODEL, input=TEXTS)
chain = OpenAIEmbeddings(base_url=URL, api_key="sk-none", model=MODEL, check_embedding_ctx_length=False, max_retries=0)
report = {
    "base64": [item.embedding for item in one.data],
    "floats": [
        item.embedding for item in client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float").data
    ],
    "single": client.embeddings.create(model=MODEL, input=TEXTS[1]).data[0].embedding,
    "ids": client.embeddings.create(model="tiny-generator", input=[[5, 6, 7], [8]]).usage.model_dump(),
    "usage": one.usage.model_dump(),
    "plain": client.embeddings.create(model=MODEL, input=TEXTS[0], extra_body={"normalize": False}).data[0].embedding,
    "documents": chain.embed_documents(TEXTS),
    "query": chain.embed_query(TEXTS[1]),
    "cut": refused(dimensions=2),
    "unknown": refused(model="text-embedding-3-small"),
    "empty": refused(input=[""]),
}
print(json.dumps(report))

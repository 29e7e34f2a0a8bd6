"""A stream whose deadline passes while it is read. Argument: the base URL."""

import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="sk-none", max_retries=0)
try:
    stream = client.completions.create(
        model="tiny-generator", prompt="a", stream=True, extra_headers={"X-Request-Timeout-Ms": "50"}
    )
    print(json.dumps(len(list(stream))))
except openai.APIError as error:
    print(json.dumps([type(error).__name__, error.type, error.code, error.message]))

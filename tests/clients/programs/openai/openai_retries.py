"""One call of OpenAI's client with its own retries. Arguments: the base URL, and milliseconds for the answer or 0."""

import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="sk-none", max_retries=8)
headers = {"X-Request-Timeout-Ms": sys.argv[2]} if sys.argv[2] != "0" else {}
try:
    answer = client.completions.create(model="tiny-generator", prompt="a", max_tokens=3, extra_headers=headers)
    print(json.dumps(answer.usage.completion_tokens))
except openai.APIError as error:
    print(json.dumps([type(error).__name__, error.code]))

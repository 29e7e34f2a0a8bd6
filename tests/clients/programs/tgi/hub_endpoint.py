"""`health_check` and `get_endpoint_info`, which huggingface_hub had before version 1. Prints what each returned."""

import json
import sys

from huggingface_hub import InferenceClient

if __name__ == "__main__":
    client = InferenceClient(provider="hf-inference")
    bases = sys.argv[1:]
    found = {base: [client.health_check(model=base), client.get_endpoint_info(model=base)] for base in bases}
    print(json.dumps(found))

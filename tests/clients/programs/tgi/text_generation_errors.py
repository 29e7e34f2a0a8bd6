"""One call of the `text-generation` client for each address given. Prints the class and the words of each error."""

import asyncio
import json
import sys

from text_generation import AsyncClient, Client

#: The client gives up after ten seconds by default.
PATIENCE_S = 60


async def asynchronous(base):
    return (await AsyncClient(base, timeout=PATIENCE_S).generate("Hello ", max_new_tokens=2)).generated_text


def outcomes(base):
    client = Client(base, timeout=PATIENCE_S)
    calls = {
        "generate": lambda: client.generate("Hello ", max_new_tokens=2).generated_text,
        "stream": lambda: [event.token.text for event in client.generate_stream("Hello ", max_new_tokens=2)],
        "async": lambda: asyncio.run(asynchronous(base)),
    }
    found = {}
    for name, call in calls.items():
        try:
            found[name] = call()
        except Exception as error:  # the class is what is asked for
            found[name] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    print(json.dumps([outcomes(base) for base in sys.argv[1:]]))

"""Requests of the command line to a server, by the Python client: patient with a busy one, else one plain sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from service.cli.prediction.answers import RefusedInput
from service.errors import UnrollError

if TYPE_CHECKING:
    from service.client import Client

#: How often a busy server is asked again. Where no connection can be made, the command fails at once.
TIMES = 5


def connect(url: str, timeout_s: float) -> Client:
    """A client of a server. `timeout_s` is for a request with all its attempts. Raises UnrollError."""
    from service.client import Client, Retries

    return Client(url.rstrip("/"), timeout=timeout_s, retries=Retries(times=TIMES, connections=False))


def request_json(url: str, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> dict[str, Any]:
    """The JSON object that a server answers.

    Raises:
        RefusedInput: the inputs are refused, or too large.
        UnrollError: anything else: no connection, another kind of server, a server that stays busy.
    """
    with told_plainly(), connect(url, timeout_s) as client:
        return client.request(method, path, body)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Raise refused inputs as RefusedInput; say why a model is not ready, and where a needed key comes from."""
    from service.client import InvalidInput, NotReady, Unauthenticated

    try:
        yield
    except InvalidInput as error:
        if error.is_about_parameters:
            raise
        raise RefusedInput(error.message) from error
    except NotReady as error:
        if not error.reasons:
            raise
        raise UnrollError(f"{error}: {'; '.join(error.reasons)}") from error
    except Unauthenticated as error:
        raise UnrollError(f"{error}; the command line sends the key in UNROLL_API_KEY") from error

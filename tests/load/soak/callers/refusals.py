"""Bad requests, each with the status and `error_type` that service/docs/http-api.md promises."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.load.soak.callers.caller import encoded, http_request
from tests.load.soak.callers.known_answers import KnownAnswers

_NOTHING: Mapping[str, Any] = MappingProxyType({})
#: The most that a bad request is answered with, however many faults it has.
MAX_ANSWER_BYTES = 64 * 1024
#: Faults in one request.
_MANY = 10_000


class Refusal(NamedTuple):
    """A good request with `changes`, or with `content` as its body; `at_fault` is the field that must be named."""

    status: int
    error_type: str
    changes: Mapping[str, Any] = _NOTHING
    at_fault: str = ""
    path: str = "/predict"
    content: bytes | None = None
    method: str = "POST"
    headers: Mapping[str, str] = _NOTHING
    #: Its body stays unread, so nothing can follow on this connection.
    ends_connection: bool = False

    def is_possible(self, known: KnownAnswers) -> bool:
        """Whether there is a good request of this route to be spoiled."""
        return bool(known.passages) or not self.path.startswith("/generate")

    def payload(self, known: KnownAnswers) -> bytes:
        """The bytes of the request."""
        content = encoded({**self._good(known), **self.changes}) if self.content is None else self.content
        return http_request(self.method, self.path, content, self.headers)

    def _good(self, known: KnownAnswers) -> dict[str, Any]:
        if self.path.startswith("/generate"):
            passage = known.passages[0]
            return {**passage.body(1), "inputs": passage.prompt}
        question = known.predictions[0]
        return {**question.body(), "inputs": question.inputs}


def check_refusal(refusal: Refusal, body: Any, num_bytes: int) -> list[str]:
    """One sentence for each part of an error body that is not as documented."""
    if num_bytes > MAX_ANSWER_BYTES:
        return [f"the answer has {num_bytes:,} bytes, more than {MAX_ANSWER_BYTES:,}"]
    if not isinstance(body, dict):
        return [f"the error is not an object: {body!r}"]
    faults = [f"`{name}` is missing" for name in ("error", "error_type", "request_id") if not body.get(name)]
    if body.get("error_type") != refusal.error_type:
        faults.append(f"error_type {body.get('error_type')!r} instead of {refusal.error_type!r}: {body.get('error')}")
    named = [problem.get("field") for problem in body.get("detail", ())]
    if refusal.at_fault and refusal.at_fault not in named:
        faults.append(f"the fields named are {named}, not {refusal.at_fault!r}")
    return faults


REFUSALS = (
    Refusal(400, "malformed_json", content=b"{"),
    Refusal(400, "malformed_json", content=b"\xff\xfe", path="/generate"),
    Refusal(404, "unknown_model", {"model": "nobody"}),
    Refusal(404, "unknown_model", {"version": "99"}),
    Refusal(404, "not_found", path="/nowhere"),
    Refusal(404, "unknown_session", {"inputs": "", "session": "nobody"}, path="/generate"),
    Refusal(405, "method_not_allowed", method="PUT"),
    Refusal(413, "body_too_large", content=b"", headers={"Content-Length": "99000000"}, ends_connection=True),
    Refusal(415, "unsupported_media_type", headers={"Content-Type": "text/plain"}),
    Refusal(422, "validation", {"inputs": []}, "inputs"),
    Refusal(422, "validation", {"inputs": ["a", {"nope": 1}]}, "inputs.1"),
    Refusal(422, "validation", {"surplus": 1}, "surplus"),
    Refusal(422, "validation", {"parameters": {"nope": 1}}, "parameters.nope"),
    Refusal(422, "validation", {"inputs": [[1] * _MANY]}, "inputs.0.0"),
    Refusal(422, "validation", {"parameters": {"max_new_tokens": 0}}, "parameters.max_new_tokens", path="/generate"),
    Refusal(422, "validation", {"n": 2}, "n", path="/generate_stream"),
    Refusal(422, "state_refused", {"inputs": "", "state": "x"}, path="/generate"),
)

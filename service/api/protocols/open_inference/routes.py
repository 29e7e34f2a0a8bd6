"""The paths of the Open Inference Protocol over HTTP, and of Triton's extensions of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.access.api_key import Scope
from service.api.call import Call
from service.api.error_table import ErrorForm
from service.api.examples.open_inference import (
    CONFIG_RESPONSES,
    FORGOTTEN,
    GENERATE_RESPONSES,
    INDEX_RESPONSES,
    INFER_BODY,
    INFER_RESPONSES,
    LOAD_RESPONSES,
    LOG_RESPONSES,
    METADATA_RESPONSES,
    NO_REGIONS,
    SERVER_RESPONSES,
    STATISTICS_RESPONSES,
    STREAM_RESPONSES,
    TRACE_RESPONSES,
    Responses,
    refused,
)
from service.api.protocol import Protocol, Route
from service.api.protocols.open_inference import management
from service.api.protocols.open_inference.answers import (
    Done,
    IndexEntry,
    IndexForm,
    InferAnswer,
    LoadForm,
    LogSetting,
    ModelConfiguration,
    ModelMetadata,
    ModelStatistics,
    ServerMetadata,
    TextAnswer,
    TraceSetting,
)
from service.api.protocols.open_inference.compression import compressed
from service.api.protocols.open_inference.generate_extension import GenerateForm, generate, generate_stream
from service.api.protocols.open_inference.http_codec import InferForm, read_request, write_response
from service.api.protocols.open_inference.inference import infer
from service.errors import BundleError, InvalidInput, StateRefused

Endpoint = Callable[[Call, bytes], Awaitable[Response]]

_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
_BODY = TypeAdapter(dict[str, Any])
_MAX_SMALL_BODY_BYTES = 64 * 1024


async def infer_tensors(call: Call, body: bytes) -> Response:
    """Tensors in, tensors out. The metadata of a model names them, and the datatype and shape of each.

    The body is JSON, or JSON followed by raw tensors where the header `Inference-Header-Content-Length` says how long
    the JSON is; the answer is of the form that the request asks for.
    """
    headers = call.record.headers
    request = read_request(body, headers.inference_header_length, call.settings)
    response = write_response(await infer(call, *_named(call), request), request)
    return await compressed(response, headers.accept_encoding) if headers.accept_encoding else response


async def describe_server(call: Call, body: bytes) -> Response:
    """Name and version of the server, and the extensions of the protocol that it has."""
    del call, body
    return _json(management.server_metadata())


async def describe_model(call: Call, body: bytes) -> Response:
    """The inputs and outputs of a model, or of one of its graphs as `MODEL.GRAPH`."""
    del body
    return _json(management.metadata(call, *_named(call)))


async def configure_model(call: Call, body: bytes) -> Response:
    """The configuration of a model in the terms of Triton."""
    del body
    return _json(management.configuration(call, *_named(call)))


async def count_model(call: Call, body: bytes) -> Response:
    """Requests, runs and times of a model since it was loaded: of each version, or of one."""
    del body
    return _json(await management.statistics(call, *_named(call)))


async def count_all(call: Call, body: bytes) -> Response:
    """The same of every model."""
    del body
    return _json(await management.statistics(call, None, None))


async def list_repository(call: Call, body: bytes) -> Response:
    """Every version of every model with its state; with `{"ready": true}` those that are ready."""
    return _json(management.repository_index(call, ready_only=_small_body(body).get("ready") is True))


async def load_model(call: Call, body: bytes) -> Response:
    """Open a model as it lies in the models folder, or take over what changed there; answered when it is ready."""
    parameters = _small_body(body).get("parameters")
    await management.load(call, call.path_values["model"], parameters if isinstance(parameters, dict) else {})
    return _json({})


async def unload_model(call: Call, body: bytes) -> Response:
    """Close a model until it is loaded again. No model here has dependents."""
    _small_body(body)
    await management.unload(call, call.path_values["model"])
    return _json({})


async def read_tracing(call: Call, body: bytes) -> Response:
    """What is traced in Triton's way: nothing. Spans are sent to where the environment of the service says."""
    del call, body
    return _json(management.trace_setting())


async def read_logging(call: Call, body: bytes) -> Response:
    """What is logged."""
    del body
    return _json(management.log_setting(call))


async def list_shared_memory(call: Call, body: bytes) -> Response:
    """The regions of shared memory: none, since tensors come in requests."""
    del call, body
    return _json([])


async def forget_shared_memory(call: Call, body: bytes) -> Response:
    """Forget regions of shared memory; there are none."""
    del call, body
    return _json({})


def refusing(message: str, summary: str) -> Endpoint:
    """An endpoint for what clients may ask and this service does not do."""

    async def refuse(call: Call, body: bytes) -> Response:
        del call, body
        raise InvalidInput(message)

    refuse.__doc__ = summary
    return refuse


_NO_SHARED_MEMORY = "shared memory is not offered: send tensors in the request"
_NO_TRACING = "tracing is set up by the environment of the service, not by requests"
_NO_LOGGING = "the log level is set by UNROLL_LOG_LEVEL when the service starts"


def _named(call: Call) -> tuple[str, str | None]:
    return call.path_values["model"], call.path_values.get("version")


def _small_body(body: bytes) -> dict[str, Any]:
    """A JSON object that may be left out. Raises HTTPException."""
    if not body.strip():
        return {}
    try:
        if len(body) > _MAX_SMALL_BODY_BYTES:
            raise HTTPException(400, f"the body of this request has at most {_MAX_SMALL_BODY_BYTES} bytes")
        return _BODY.validate_json(body)
    except ValidationError as error:
        raise HTTPException(400, "the body is no JSON object") from error


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


def _both(
    suffix: str, operation: str, endpoint: Callable[[Call, Any], Awaitable[Response]], **more: Any
) -> list[Route[Any]]:
    """The route for the version that answers by default, and for a given one. `operation` ends both operation ids."""
    more = {"body": bytes, "scope": "any", **more}  # the engine of the model asks for `predict` or `generate`
    return [
        Route(f"{path}{suffix}", endpoint, operation_id=f"v2_{subject}_{operation}", **more)
        for path, subject in ((_MODEL, "model"), (_VERSION, "model_version"))
    ]


def _server_route(
    path: str,
    operation: str,
    endpoint: Endpoint,
    method: Literal["GET", "POST"],
    summary: str,
    responses: Responses,
    scope: Scope = "any",
    **more: Any,
) -> Route[bytes]:
    more = {"operation_id": f"v2_{operation}", "summary": summary, "responses": responses, **more}
    return Route(f"/v2/{path}", endpoint, bytes, method, scope, **more)


def _refused_route(path: str, operation: str, message: str, summary: str) -> Route[bytes]:
    return _server_route(path, operation, refusing(message, "Refused."), "POST", summary, refused(message))


def _shared_memory(kind: str) -> Sequence[Route[Any]]:
    path, name = f"{kind}sharedmemory", f"{kind}_shared_memory"
    forgetting = partial(_server_route, endpoint=forget_shared_memory, method="POST", responses=FORGOTTEN, answer=Done)
    return [
        _server_route(
            f"{path}/status",
            f"{name}_status",
            list_shared_memory,
            "GET",
            "List regions of shared memory",
            NO_REGIONS,
            answer=list[dict[str, Any]],
        ),
        _refused_route(
            f"{path}/region/{{region}}/register", f"{name}_register", _NO_SHARED_MEMORY, "Register shared memory"
        ),
        forgetting(f"{path}/region/{{region}}/unregister", f"{name}_unregister", summary="Forget a region"),
        forgetting(f"{path}/unregister", f"{name}_unregister_all", summary="Forget all regions"),
    ]


PROTOCOL = Protocol(
    name="open-inference",
    tag="open inference protocol",
    errors=ErrorForm(
        rows={
            InvalidInput: (400, "validation"),
            StateRefused: (400, "state_refused"),
            BundleError: (409, "bundle_refused"),  # of a model that was to be loaded
        }
    ),
    routes=[
        Route(
            "/v2",
            describe_server,
            bytes,
            method="GET",
            operation_id="v2_server_metadata",
            answer=ServerMetadata,
            summary="Describe the server",
            responses=SERVER_RESPONSES,
        ),
        *_both(
            "/infer",
            "infer",
            infer_tensors,
            takes_sound=True,
            summary="Infer: tensors in, tensors out",
            documented_body=InferForm,
            request_body=INFER_BODY,
            answer=InferAnswer,
            responses=INFER_RESPONSES,
        ),
        *_both(
            "/generate",
            "generate",
            generate,
            body=GenerateForm,
            answer=TextAnswer,
            any_media_type=True,
            summary="Answer one text",
            responses=GENERATE_RESPONSES,
        ),
        *_both(
            "/generate_stream",
            "generate_stream",
            generate_stream,
            body=GenerateForm,
            any_media_type=True,
            summary="Answer it, streamed",
            responses=STREAM_RESPONSES,
        ),
        *_both(
            "",
            "metadata",
            describe_model,
            method="GET",
            answer=ModelMetadata,
            summary="Describe a model",
            responses=METADATA_RESPONSES,
        ),
        *_both(
            "/config",
            "config",
            configure_model,
            method="GET",
            answer=ModelConfiguration,
            summary="The configuration of a model",
            responses=CONFIG_RESPONSES,
        ),
        *_both(
            "/stats",
            "statistics",
            count_model,
            method="GET",
            answer=ModelStatistics,
            summary="Statistics of a model",
            responses=STATISTICS_RESPONSES,
        ),
        _server_route(
            "models/stats",
            "all_statistics",
            count_all,
            "GET",
            "Statistics of all models",
            STATISTICS_RESPONSES,
            answer=ModelStatistics,
        ),
        *_both(
            "/trace/setting",
            "trace_setting",
            read_tracing,
            method="GET",
            answer=TraceSetting,
            summary="Trace settings of a model",
            responses=TRACE_RESPONSES,
        ),
        *_both(
            "/trace/setting",
            "change_trace_setting",
            refusing(_NO_TRACING, "Refused."),
            summary="Change the trace settings of a model",
            responses=refused(_NO_TRACING),
        ),
        _server_route(
            "trace/setting",
            "trace_setting",
            read_tracing,
            "GET",
            "Trace settings",
            TRACE_RESPONSES,
            answer=TraceSetting,
        ),
        _refused_route("trace/setting", "change_trace_setting", _NO_TRACING, "Change trace settings"),
        _server_route("logging", "log_setting", read_logging, "GET", "Log settings", LOG_RESPONSES, answer=LogSetting),
        _refused_route("logging", "change_log_setting", _NO_LOGGING, "Change log settings"),
        _server_route(
            "repository/index",
            "repository_index",
            list_repository,
            "POST",
            "List the models",
            INDEX_RESPONSES,
            documented_body=IndexForm,
            default_body=b"{}",
            answer=list[IndexEntry],
        ),
        _server_route(
            "repository/models/{model}/load",
            "repository_model_load",
            load_model,
            "POST",
            "Load a model",
            LOAD_RESPONSES,
            "admin",
            documented_body=LoadForm,
            default_body=b"{}",
            answer=Done,
        ),
        _server_route(
            "repository/models/{model}/unload",
            "repository_model_unload",
            unload_model,
            "POST",
            "Unload a model",
            LOAD_RESPONSES,
            "admin",
            documented_body=LoadForm,
            default_body=b"{}",
            answer=Done,
        ),
        *_shared_memory("system"),
        *_shared_memory("cuda"),
    ],
)

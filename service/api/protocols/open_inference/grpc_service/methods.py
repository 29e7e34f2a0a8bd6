"""The unary methods: inference, descriptions, the repository, and what is refused on purpose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from starlette.exceptions import HTTPException

from service.api.call import Call
from service.api.protocols.open_inference import management
from service.api.protocols.open_inference.grpc_service import open_inference_pb2 as pb
from service.api.protocols.open_inference.grpc_service.calls import Method, Respond
from service.api.protocols.open_inference.grpc_service.codec import parse, read_request, response_bytes
from service.api.protocols.open_inference.inference import infer
from service.errors import UnknownModel

RequestT = TypeVar("RequestT", bound=Message)

_NO_SHARED_MEMORY = "shared memory is not offered: send tensors in the request"
_NO_TRACING = "tracing is set up by the environment of the service, not by requests"
_NO_LOGGING = "the log level is set by UNROLL_LOG_LEVEL when the service starts"


async def model_infer(call: Call, message: bytes) -> bytes:
    """Tensors in, tensors out."""
    request: pb.ModelInferRequest = parse(pb.ModelInferRequest, message)
    answer = await infer(call, request.model_name, request.model_version or None, read_request(request, call.settings))
    return response_bytes(answer)


def server_live(call: Call, request: pb.ServerLiveRequest) -> Message:
    """Whether the process makes progress."""
    del request
    return pb.ServerLiveResponse(live=not call.registry.standstill(call.settings.max_run_s))


def server_ready(call: Call, request: pb.ServerReadyRequest) -> Message:
    """Whether the service is ready."""
    del request
    return pb.ServerReadyResponse(ready=not call.registry.reasons())


def model_ready(call: Call, request: pb.ModelReadyRequest) -> Message:
    """Whether a model answers; one that there is not does not."""
    try:
        is_ready = not call.registry.entry(request.name, request.version or None).obstacle
    except UnknownModel:
        is_ready = False
    return pb.ModelReadyResponse(ready=is_ready)


def server_metadata(call: Call, request: pb.ServerMetadataRequest) -> Message:
    """Name, version and extensions."""
    del call, request
    return ParseDict(management.server_metadata(), pb.ServerMetadataResponse())


def model_metadata(call: Call, request: pb.ModelMetadataRequest) -> Message:
    """What a model takes and gives."""
    found = management.metadata(call, request.name, request.version or None)
    return ParseDict(found, pb.ModelMetadataResponse())


def model_config(call: Call, request: pb.ModelConfigRequest) -> Message:
    """The configuration of a model in the terms of Triton."""
    found = management.configuration(call, request.name, request.version or None)
    return ParseDict({"config": found}, pb.ModelConfigResponse())


async def model_statistics(call: Call, message: bytes) -> bytes:
    """Counts and times: of a version, of every version of a model, or of all."""
    request = parse(pb.ModelStatisticsRequest, message)
    found = await management.statistics(call, request.name or None, request.version or None)
    return ParseDict(found, pb.ModelStatisticsResponse()).SerializeToString()


def repository_index(call: Call, request: pb.RepositoryIndexRequest) -> Message:
    """Every version of every model, with its state."""
    return ParseDict(
        {"models": management.repository_index(call, ready_only=request.ready)}, pb.RepositoryIndexResponse()
    )


async def load(call: Call, message: bytes) -> bytes:
    """Open a model, or take over what changed in its folder."""
    request: pb.RepositoryModelLoadRequest = parse(pb.RepositoryModelLoadRequest, message)
    await management.load(call, request.model_name, dict(request.parameters))
    return b""


async def unload(call: Call, message: bytes) -> bytes:
    """Close a model until it is loaded again."""
    request: pb.RepositoryModelUnloadRequest = parse(pb.RepositoryModelUnloadRequest, message)
    await management.unload(call, request.model_name)
    return b""


def trace_setting(call: Call, request: pb.TraceSettingRequest) -> Message:
    """What is traced in Triton's way: nothing."""
    del call
    if request.settings:
        raise HTTPException(501, _NO_TRACING)
    settings: Mapping[str, Any] = management.trace_setting()
    values = {name: [value] if isinstance(value, str) else value for name, value in settings.items()}
    return ParseDict(
        {"settings": {name: {"value": value} for name, value in values.items()}}, pb.TraceSettingResponse()
    )


def log_settings(call: Call, request: pb.LogSettingsRequest) -> Message:
    """What is logged."""
    if request.settings:
        raise HTTPException(501, _NO_LOGGING)
    kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
    settings = {name: {kinds[type(value)]: value} for name, value in management.log_setting(call).items()}
    return ParseDict({"settings": settings}, pb.LogSettingsResponse())


async def nothing(call: Call, message: bytes) -> bytes:
    """No region of shared memory is there to be listed or forgotten."""
    del call, message
    return b""


async def refuse_shared_memory(call: Call, message: bytes) -> bytes:
    """Refused: tensors come in requests."""
    del call, message
    raise HTTPException(501, _NO_SHARED_MEMORY)


def _plain(kind: type[RequestT], answer: Callable[[Call, RequestT], Message]) -> Respond:
    """A method that answers at once."""

    async def respond(call: Call, message: bytes) -> bytes:
        return answer(call, parse(kind, message)).SerializeToString()

    return respond


UNARY_METHODS = (
    Method("ServerLive", _plain(pb.ServerLiveRequest, server_live), "open"),
    Method("ServerReady", _plain(pb.ServerReadyRequest, server_ready), "open"),
    Method("ModelReady", _plain(pb.ModelReadyRequest, model_ready), "open"),
    Method("ServerMetadata", _plain(pb.ServerMetadataRequest, server_metadata)),
    Method("ModelMetadata", _plain(pb.ModelMetadataRequest, model_metadata)),
    Method("ModelConfig", _plain(pb.ModelConfigRequest, model_config)),
    Method("ModelStatistics", model_statistics),
    Method("ModelInfer", model_infer, takes_sound=True),
    Method("RepositoryIndex", _plain(pb.RepositoryIndexRequest, repository_index)),
    Method("RepositoryModelLoad", load, "admin"),
    Method("RepositoryModelUnload", unload, "admin"),
    Method("SystemSharedMemoryStatus", nothing),
    Method("SystemSharedMemoryRegister", refuse_shared_memory),
    Method("SystemSharedMemoryUnregister", nothing),
    Method("CudaSharedMemoryStatus", nothing),
    Method("CudaSharedMemoryRegister", refuse_shared_memory),
    Method("CudaSharedMemoryUnregister", nothing),
    Method("TraceSetting", _plain(pb.TraceSettingRequest, trace_setting)),
    Method("LogSettings", _plain(pb.LogSettingsRequest, log_settings)),
)

"""The types of answers and small bodies over HTTP in the OpenAPI document. The answers themselves are made as dicts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ServerMetadata(BaseModel):
    """The server, and the extensions of the protocol that it has."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or an output: -1 in the shape stands for any number."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(BaseModel):
    """One output: its elements in `data`, flat; without `data` they are raw bytes behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = Field(None, description="`binary_data_size` of raw bytes")


class InferAnswer(BaseModel):
    """The outputs of a model."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = Field(None, description="that of the request, if it had one")
    outputs: list[OutputTensor]


class TextAnswer(BaseModel):
    """The outputs of a model by their names, beside the name of the model: `text_output` of models that write text."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = Field(None, description="that of the request, if it had one")
    text_output: str | None = None
    finish_reason: str | None = None


class ModelConfiguration(BaseModel):
    """The configuration of a model in the terms of Triton."""

    model_config = ConfigDict(extra="allow")

    name: str
    platform: str
    max_batch_size: int
    input: list[dict[str, Any]]
    output: list[dict[str, Any]]


class Duration(BaseModel):
    """How often, and how long in all."""

    count: int
    ns: int


class BatchStatistics(BaseModel):
    """Runs of one number of rows."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class VersionStatistics(BaseModel):
    """One version of a model since it was loaded."""

    name: str
    version: str
    last_inference: int = Field(description="milliseconds since 1970")
    inference_count: int = Field(description="inputs")
    execution_count: int = Field(description="runs of a graph")
    inference_stats: dict[str, Duration]
    batch_stats: list[BatchStatistics]


class ModelStatistics(BaseModel):
    """One entry for each version."""

    model_stats: list[VersionStatistics]


class IndexForm(BaseModel):
    """Which models are listed. The body may be empty."""

    ready: bool = Field(False, description="only those that are ready")


class LoadForm(BaseModel):
    """The body may be empty. `config` and `file:...` are refused: a model is loaded as it lies in its folder."""

    parameters: dict[str, Any] | None = None


class IndexEntry(BaseModel):
    """One version of a model in the repository."""

    name: str
    version: str
    state: str = Field(description="READY, LOADING or UNAVAILABLE")
    reason: str


class TraceSetting(BaseModel):
    """What is traced in Triton's way."""

    trace_level: list[str]
    trace_rate: str
    trace_count: str
    log_frequency: str
    trace_file: str


class LogSetting(BaseModel):
    """What is logged."""

    log_file: str
    log_info: bool
    log_warning: bool
    log_error: bool
    log_verbose_level: int
    log_format: str


class Done(BaseModel):
    """Done: an object without fields."""

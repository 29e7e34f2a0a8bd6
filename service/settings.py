"""Settings of the service, read from `UNROLL_*` environment variables; units are in the names."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "UNROLL_"
MIN_STATE_KEY_CHARACTERS = 16
MAX_WORKERS = 256
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

#: Variables with the prefix that are read elsewhere: by training, and by the command line as a client.
OTHER_VARIABLES = frozenset(
    {
        "UNROLL_DATA_DIR",
        "UNROLL_TRAIN_TIMEOUT_S",
        "UNROLL_CACHE_DIR",
        "UNROLL_URL",
        "UNROLL_API_KEY",
        "UNROLL_CATALOGUE",
    }
)


class SettingsError(ValueError):
    """A setting is unknown or out of range; the message names it."""


class Settings(BaseSettings):
    """Settings with defaults for one small machine. `UNROLL_MAX_BATCH_ITEMS=16` sets `max_batch_items`, and so on."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    models_dir: Path = Field(Path("models"), description="folder of bundles, as <name>/<version>/")
    reload_every_s: float = Field(
        0.0, ge=0.0, description="interval at which the models folder is checked for changes; 0: only on SIGHUP"
    )
    ready: str = Field(
        "all",
        description="which bundles must be ready for the service to be: all, any (one is enough), or names of models",
    )
    default_models: str = Field(
        "",
        description="names of models for requests that name none, separated by commas: of those that can answer on the "
        "route, the first does. Without it, requests need no name where only one model can answer",
    )
    link_roots: str = Field(
        "", description=f"folders outside of the models folder that links in it may lead to, separated by {os.pathsep}"
    )
    pull: str = Field(
        "",
        description="addresses of bundles that are pulled into the models folder before it is loaded, separated by "
        "blanks",
    )
    trusted_keys: str = Field(
        "",
        description="files of public keys, of which one must have signed what is pulled, separated by " + os.pathsep,
    )
    pull_max_bytes: int = Field(8 * 1024**3, ge=1, description="maximum size of a bundle that is pulled")
    model_memory_bytes: int = Field(
        0,
        ge=0,
        description="memory of open models: each is opened for its first request, and the least recently used one "
        "closed; 0: no limit, all are opened at the start",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0: any free one")
    grpc_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port for the Open Inference Protocol over gRPC; 0: any free one; unset: it is not spoken",
    )
    workers: int | Literal["auto"] = Field(
        1,
        description="processes that serve the port together, each with its part of the cores and limits; auto: one per "
        "usable core",
    )
    workers_dir: Path | None = Field(
        None,
        description="folder in which they make one for what they share; unset: /dev/shm, or the temporary folder if "
        "that has no room",
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$", description="auto, cpu, cuda or cuda:N")
    lanes: int = Field(0, ge=0, le=1024, description="concurrent graph runs; 0: one per usable core, or one on a GPU")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="auto is fp32, or bf16 if the bundle was verified in it and runs faster; never int8"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="minimum level of log lines")
    log_texts: bool = Field(False, description="log the start of request texts, and exception messages")

    api_keys_file: Path | None = Field(None, description="file of API keys, as `unroll keys` writes it")
    api_keys: SecretStr = Field(
        SecretStr(""), description="API keys as NAME=SECRET, separated by commas, or the JSON of a file of keys"
    )
    metrics_need_key: bool = Field(False, description="whether /metrics needs a key with the scope admin")
    usage_dir: Path | None = Field(None, description="folder for daily files of usage by key and model")
    usage_every_s: float = Field(60.0, ge=1.0, description="interval at which usage is written")

    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="maximum size of a request body")
    max_sound_body_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        description="the same for requests with sound, where a model that reads sound is served",
    )
    max_open_requests: int = Field(
        1024, ge=1, description="concurrent requests over all models; the next one gets 429 before its body is read"
    )
    max_connections: int = Field(
        4096, ge=1, description="open connections; the next one takes the place of one that waits for its client"
    )
    max_head_bytes: int = Field(32 * 1024, ge=1024, description="maximum size of request line and headers")
    max_held_body_bytes: int = Field(
        128 * 1024 * 1024, ge=1024, description="maximum size of all request bodies being received or answered"
    )
    head_timeout_s: float = Field(10.0, gt=0.0, description="limit on receiving the headers of a request")
    body_timeout_s: float = Field(
        10.0, gt=0.0, description="limit on receiving a body, besides the time for its bytes at min_upload_bytes_per_s"
    )
    min_upload_bytes_per_s: int = Field(4096, ge=1, description="a body may take as long as it takes at this rate")
    unread_timeout_s: float = Field(
        30.0, gt=0.0, description="a client that reads nothing of its response for so long is disconnected"
    )
    keep_alive_s: float = Field(
        75.0, gt=0.0, description="an idle connection is kept for so long: longer than proxies and clients keep theirs"
    )
    trusted_proxies: str = Field(
        "127.0.0.0/8,::1",
        description="addresses and networks whose X-Forwarded-* headers are believed, separated by commas; none; or *",
    )
    root_path: str = Field("", description="path under which a proxy shows the service, such as /unroll")
    allowed_hosts: str = Field(
        "", description="names that requests may be for (Host header), separated by commas; empty: any"
    )
    cors_origins: str = Field(
        "",
        description="origins whose pages may call the service from a browser, separated by commas; or *",
    )
    cors_credentials: bool = Field(False, description="let those pages send cookies and client certificates")
    tls_cert: str = Field("", description="PEM file of the certificate chain: HTTPS is spoken instead of HTTP")
    tls_key: str = Field("", description="PEM file of its private key, if that is not in the same file")
    tls_client_ca: str = Field(
        "", description="PEM file of the authorities of client certificates: connections without one are refused (mTLS)"
    )
    max_stream_message_bytes: int = Field(
        256 * 1024, ge=1024, description="maximum size of one WebSocket message on /stream"
    )
    max_stream_sound_bytes: int = Field(
        8 * 1024 * 1024, ge=1024, description="the same for a message of samples, of a model that reads sound"
    )
    max_stream_s: float = Field(
        0.0, ge=0.0, description="a /stream that has been open for so long is closed, with its state; 0: no limit"
    )
    max_stream_waiting_messages: int = Field(
        16, ge=1, description="messages of one /stream that wait; beyond that its socket is not read"
    )
    max_streams_per_client: int = Field(
        256,
        ge=0,
        description="open /stream of one address; the next one takes the place of a silent one; 0: no limit",
    )
    stream_timeout_s: float = Field(
        300.0, gt=0.0, description="a /stream that is silent for so long while the service waits is closed"
    )
    stream_ping_interval_s: float = Field(
        20.0, ge=0.0, description="interval of pings on /stream; a client that is silent after one is closed; 0: none"
    )
    max_inputs_per_request: int = Field(128, ge=1, description="maximum number of inputs in one /predict request")
    max_tokens_per_request: int = Field(
        65_536, ge=1, description="maximum tokens of all inputs of a request; of a generation, those to write as well"
    )
    max_pixels_per_request: int = Field(33_554_432, ge=1, description="maximum pixels of all pictures of a request")
    max_samples_per_request: int = Field(4_194_304, ge=1, description="maximum samples of all sounds of a request")
    max_queue_items: int = Field(1024, ge=1, description="queued inputs per model; requests beyond that get 429")
    max_batch_items: int = Field(32, ge=1, description="maximum inputs in a batch")
    max_batch_padded_tokens: int = Field(
        2048, ge=1, description="maximum tokens in a batch, padding included; a request waits for such a run"
    )
    max_live_streams: int = Field(64, ge=1, description="rows in the running batch, per model; each beam is a row")
    max_continuations: int = Field(16, ge=1, description="maximum value of n and best_of")
    max_stream_backlog_events: int = Field(1024, ge=1, description="unread events of a stream before it is ended")
    default_timeout_ms: int = Field(30_000, ge=1, description="default, and maximum of the header X-Request-Timeout-Ms")
    stop_delay_s: float = Field(
        0.0, ge=0.0, description="time after SIGTERM in which requests are still answered but readiness is false"
    )
    drain_timeout_s: float = Field(20.0, ge=0.0, description="limit on finishing open requests at shutdown")
    max_run_s: float = Field(60.0, ge=0.0, description="liveness fails if a graph run takes longer; 0: no limit")

    state_keys: SecretStr = Field(
        SecretStr(""), description="secrets for state tokens, separated by commas: the first seals, all open"
    )
    state_ttl_s: float = Field(7 * 24 * 3600.0, gt=0.0, description="lifetime of a state token")
    max_state_bytes: int = Field(256 * 1024, ge=1024, description="maximum length of a state token")
    session_ttl_s: float = Field(3600.0, gt=0.0, description="time after which an unused session is deleted")
    max_sessions: int = Field(10_000, ge=1, description="maximum number of sessions in memory")
    max_session_total_bytes: int = Field(
        256 * 1024 * 1024, ge=1024, description="maximum total size of the sessions in memory"
    )
    redis_url: SecretStr = Field(SecretStr(""), description="keep sessions in this Redis, shared by all replicas")
    prefix_cache_bytes: int = Field(64 * 1024 * 1024, ge=0, description="prefix cache of each model; 0: none")
    prefix_checkpoint_tokens: int = Field(128, ge=1, description="interval of cached states in a long prompt")

    @property
    def state_key_list(self) -> list[str]:
        """The keys, without surrounding blanks."""
        return [key.strip() for key in self.state_keys.get_secret_value().split(",") if key.strip()]

    @property
    def most_sound_body_bytes(self) -> int:
        """The limit on a body with sound: no less than that on other bodies, and what may be held at all."""
        return min(max(self.max_sound_body_bytes, self.max_body_bytes), self.max_held_body_bytes)

    @property
    def required_models(self) -> frozenset[str] | None:
        """The models that must be ready; none if any one will do, None if all must."""
        names = frozenset(self.ready.split(","))
        return {frozenset({"all"}): None, frozenset({"any"}): frozenset[str]()}.get(names, names)

    @property
    def default_model_list(self) -> list[str]:
        """The models for requests that name none, the first choice first."""
        return [name for name in self.default_models.split(",") if name]

    @property
    def link_root_list(self) -> list[Path]:
        """The folders that links may lead to."""
        return folders_of(self.link_roots)

    @property
    def trusted_key_list(self) -> list[Path]:
        """The files of trusted keys."""
        return folders_of(self.trusted_keys)

    @field_validator("default_models")
    @classmethod
    def _defaults_are_names(cls, default_models: str) -> str:
        names = [name.strip() for name in default_models.split(",")]
        if names != [""] and not all(map(_MODEL_NAME.fullmatch, names)):
            raise ValueError("must be names of models separated by commas, such as shakespeare,intent-en")
        return ",".join(names)

    @field_validator("ready")
    @classmethod
    def _ready_is_a_policy(cls, ready: str) -> str:
        names = [name.strip() for name in ready.split(",")]
        is_mixed = len(names) > 1 and not {"all", "any"}.isdisjoint(names)
        if is_mixed or not all(map(_MODEL_NAME.fullmatch, names)):
            raise ValueError("must be all, any, or names of models separated by commas, such as ner-en,spam-en")
        return ",".join(names)

    @field_validator("workers", mode="before")
    @classmethod
    def _workers_are_a_number_or_auto(cls, workers: object) -> int | Literal["auto"]:
        text = str(workers).strip().lower()
        if text == "auto":
            return "auto"
        if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_WORKERS:
            return int(text)
        raise ValueError(f"must be auto, or a number of processes from 1 to {MAX_WORKERS}")

    @field_validator("api_keys_file", "usage_dir", "grpc_port", "workers_dir", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value  # as a variable of a compose file is that nobody has set

    @model_validator(mode="after")
    def _a_full_request_fits_the_queue(self) -> Settings:
        if self.max_inputs_per_request > self.max_queue_items:
            raise ValueError("max_inputs_per_request must not be larger than max_queue_items")
        return self

    @model_validator(mode="after")
    def _a_body_fits_what_is_held(self) -> Settings:
        if self.max_body_bytes > self.max_held_body_bytes:
            raise ValueError("max_body_bytes must not be larger than max_held_body_bytes")
        return self

    @model_validator(mode="after")
    def _state_keys_are_long_enough(self) -> Settings:
        if any(len(key) < MIN_STATE_KEY_CHARACTERS for key in self.state_key_list):
            raise ValueError(f"each key in UNROLL_STATE_KEYS needs at least {MIN_STATE_KEY_CHARACTERS} characters")
        return self

    @model_validator(mode="after")
    def _shared_sessions_have_a_shared_key(self) -> Settings:
        if self.redis_url.get_secret_value() and not self.state_key_list:
            raise ValueError("UNROLL_REDIS_URL needs UNROLL_STATE_KEYS: sessions need a key that all replicas share")
        return self

    @model_validator(mode="after")
    def _a_session_does_not_outlive_its_state(self) -> Settings:
        if self.session_ttl_s > self.state_ttl_s:
            raise ValueError(
                f"UNROLL_SESSION_TTL_S ({self.session_ttl_s:g}) must not be longer than UNROLL_STATE_TTL_S "
                f"({self.state_ttl_s:g}): a session keeps a sealed state, and could not open it any more"
            )
        return self

    @model_validator(mode="after")
    def _a_session_fits_its_store(self) -> Settings:
        if self.max_state_bytes > self.max_session_total_bytes:
            raise ValueError("max_state_bytes must not be larger than max_session_total_bytes")
        return self


def folders_of(paths: str) -> list[Path]:
    """The folders, or files, of a setting that lists several, as PATH does."""
    return [Path(path) for path in paths.split(os.pathsep) if path.strip()]


def read_settings(overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment; `overrides` (from the command line) take precedence unless they are None.

    Raises:
        SettingsError: with one line per variable that is unknown or invalid.
    """
    refuse_unknown_variables(environment)
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(dict(problem)) for problem in error.errors())) from error


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Raises SettingsError for a variable with the prefix that nothing reads, as a typo must not pass silently."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    for name in sorted(environment):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(sorted(known))}"
            raise SettingsError(f"{name} is not a setting; {hint}")


def _sentence(problem: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    return f"{ENV_PREFIX}{name.upper()}: {problem['msg']}" if name else str(problem["msg"])

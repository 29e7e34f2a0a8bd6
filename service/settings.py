"""Every setting of the service, read from `UNROLL_*` environment variables; units are in the names."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "UNROLL_"
MIN_STATE_KEY_CHARACTERS = 16

#: Variables with our prefix that are read elsewhere: by training, and by the command line as a client.
OTHER_VARIABLES = frozenset({"UNROLL_DATA_DIR", "UNROLL_CACHE_DIR", "UNROLL_URL"})


class SettingsError(ValueError):
    """A setting is unknown or out of range; the message names it."""


class Settings(BaseSettings):
    """The defaults suit one small machine. `UNROLL_MAX_BATCH_ITEMS=16` sets `max_batch_items`, and so on."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    models_dir: Path = Field(Path("models"), description="folder with <name>/<version>/ bundles")
    reload_every_s: float = Field(
        0.0, ge=0.0, description="look for new, changed and removed bundles this often; 0: only on SIGHUP"
    )
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:[0-9]{1,2})?)$", description="auto, cpu, cuda or cuda:N")
    lanes: int = Field(0, ge=0, le=1024, description="runs side by side; 0: each core of the quota, one on a GPU")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="auto is fp32, or bf16 where that is faster and was accepted; never int8"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_texts: bool = Field(False, description="log the beginning of what callers send, and what exceptions say")

    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1024)
    max_open_requests: int = Field(
        1024, ge=1, description="requests being answered at once, of all models; the next one gets 429 unread"
    )
    max_inputs_per_request: int = Field(128, ge=1)
    max_queue_items: int = Field(1024, ge=1, description="inputs waiting per model before requests get 429")
    max_batch_items: int = Field(32, ge=1)
    max_batch_padded_tokens: int = Field(4096, ge=1)
    max_live_streams: int = Field(64, ge=1, description="rows that are stepped at once, per model; a beam is a row")
    max_continuations: int = Field(16, ge=1, description="the most that n may ask for")
    max_stream_backlog_events: int = Field(1024, ge=1, description="tokens a slow reader may fall behind")
    default_timeout_ms: int = Field(30_000, ge=1, description="also the most that X-Request-Timeout-Ms may ask for")
    stop_delay_s: float = Field(
        0.0, ge=0.0, description="after SIGTERM answer on for so long, but be not ready, until load balancers know"
    )
    drain_timeout_s: float = Field(20.0, ge=0.0)
    max_run_s: float = Field(60.0, ge=0.0, description="a run of a graph that takes longer is stuck: no longer live")

    state_keys: SecretStr = Field(
        SecretStr(""), description="secrets that seal states, separated by commas: the first seals, all open"
    )
    state_ttl_s: float = Field(7 * 24 * 3600.0, gt=0.0, description="how long a state that was handed out is good")
    max_state_bytes: int = Field(256 * 1024, ge=1024, description="length of a state as it stands in a request")
    session_ttl_s: float = Field(3600.0, gt=0.0, description="how long an unused session is kept")
    max_sessions: int = Field(10_000, ge=1)
    max_session_total_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    redis_url: SecretStr = Field(SecretStr(""), description="keep sessions in Redis, for all replicas")
    prefix_cache_bytes: int = Field(64 * 1024 * 1024, ge=0, description="states of known prompts, per model; 0: none")
    prefix_checkpoint_tokens: int = Field(128, ge=1, description="a long prompt is kept after every so many tokens")

    @property
    def state_key_list(self) -> list[str]:
        """The keys, without the blanks around them."""
        return [key.strip() for key in self.state_keys.get_secret_value().split(",") if key.strip()]

    @model_validator(mode="after")
    def _a_full_request_fits_the_queue(self) -> Settings:
        if self.max_inputs_per_request > self.max_queue_items:
            raise ValueError("max_inputs_per_request must not be larger than max_queue_items")
        return self

    @model_validator(mode="after")
    def _state_keys_are_long_enough(self) -> Settings:
        if any(len(key) < MIN_STATE_KEY_CHARACTERS for key in self.state_key_list):
            raise ValueError(f"each key in UNROLL_STATE_KEYS needs at least {MIN_STATE_KEY_CHARACTERS} characters")
        return self

    @model_validator(mode="after")
    def _shared_sessions_have_a_shared_key(self) -> Settings:
        if self.redis_url.get_secret_value() and not self.state_key_list:
            raise ValueError("UNROLL_REDIS_URL needs UNROLL_STATE_KEYS: sessions are sealed with a key of all replicas")
        return self

    @model_validator(mode="after")
    def _a_session_fits_its_store(self) -> Settings:
        if self.max_state_bytes > self.max_session_total_bytes:
            raise ValueError("max_state_bytes must not be larger than max_session_total_bytes")
        return self


def read_settings(overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment; `overrides` (from the command line) win, and None in them means "not given".

    Raises:
        SettingsError: with one line for each variable that is unknown or wrong.
    """
    refuse_unknown_variables(environment)
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(dict(problem)) for problem in error.errors())) from error


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Raises SettingsError for a variable with our prefix that nothing reads: a typing error must not pass silently."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    for name in sorted(environment):
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the settings are {', '.join(sorted(known))}"
            raise SettingsError(f"{name} is not a setting; {hint}")


def _sentence(problem: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    return f"{ENV_PREFIX}{name.upper()}: {problem['msg']}" if name else str(problem["msg"])

"""The rollout file of a model, `NAME/rollout.json`: aliases of its versions, traffic weights, and shadow traffic.

    {"aliases": {"stable": "3", "canary": "4"},
     "traffic": {"stable": 90, "canary": 10},
     "shadow": {"to": "4", "share": 0.1}}

It lies beside the versions, so that every service that reads the models folder sees it. It is replaced by one rename,
so that nobody sees half of it.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from service.bundle.manifest import VERSION_PATTERN
from service.errors import BundleCorrupt, InvalidInput, UnknownModel

ROLLOUT_FILE: Final = "rollout.json"
ALIAS_PATTERN: Final = r"^[a-z][a-z0-9._-]{0,63}$"
_MAX_ALIASES: Final = 64
#: Far above any real one.
_MAX_FILE_BYTES: Final = 64 * 1024

AliasName = Annotated[str, StringConstraints(pattern=ALIAS_PATTERN)]
VersionName = Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
#: A version, or an alias of one.
Target = AliasName | VersionName
Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class ShadowTraffic(BaseModel):
    """A share of the requests is repeated on the candidate `to`; their callers get the answer of the other version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: Target = Field(description="the candidate: a version or an alias", examples=["4"])
    share: float = Field(
        default=1.0, gt=0.0, le=1.0, allow_inf_nan=False, description="share of the requests that are repeated"
    )


class Rollout(BaseModel):
    """Which versions of a model have names, and which of them answer requests that name none.

    Without `traffic` the highest version answers those.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    aliases: dict[AliasName, VersionName] = Field(
        default_factory=dict, max_length=_MAX_ALIASES, description="name -> version"
    )
    traffic: dict[Target, Weight] = Field(
        default_factory=dict,
        max_length=_MAX_ALIASES,
        description="alias or version -> weight: how requests that name no version are split, relative to the sum",
    )
    shadow: ShadowTraffic | None = Field(default=None, description="repeat a share of the requests on a candidate")

    @model_validator(mode="after")
    def _names_fit_together(self) -> Rollout:
        for target in [*self.traffic, *([self.shadow.to] if self.shadow else [])]:
            if not target.isdigit() and target not in self.aliases:
                names = ", ".join(sorted(self.aliases)) or "none"
                raise ValueError(f"{target!r} is neither a version nor an alias; the aliases are: {names}")
        if self.traffic and not sum(self.traffic.values()) > 0:
            raise ValueError("at least one weight in traffic must be above 0")
        return self

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing, as if there were no file."""
        return not (self.aliases or self.traffic or self.shadow)

    def version_of(self, target: str) -> str:
        """The version that an alias stands for; a version stands for itself."""
        return self.aliases.get(target, target)

    def versions(self) -> set[str]:
        """Every version that it names."""
        shadowed = {self.version_of(self.shadow.to)} if self.shadow else set()
        return {*self.aliases.values(), *map(self.version_of, self.traffic), *shadowed}

    def changed(self, changes: Mapping[str, Any]) -> Rollout:
        """With other values: aliases one by one (None removes one), traffic and shadow as a whole (None: none).

        Raises InvalidInput with the path of what is wrong.
        """
        values = self.model_dump()
        aliases = values["aliases"] | dict(changes.get("aliases") or {})
        values["aliases"] = {name: version for name, version in aliases.items() if version is not None}
        if "traffic" in changes:
            values["traffic"] = changes["traffic"] or {}
        if "shadow" in changes:
            values["shadow"] = changes["shadow"]
        try:
            return Rollout.model_validate(values)
        except ValidationError as error:
            where, what = _first_problem(error)
            raise InvalidInput(what, where) from error


def read_rollout(model: Path) -> Rollout:
    """The rollout of the model in this folder; an empty one where there is no file. Raises BundleCorrupt."""
    file = model / ROLLOUT_FILE
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):
            raise BundleCorrupt(file, "is no file")
        if state.st_size > _MAX_FILE_BYTES:
            raise BundleCorrupt(file, f"larger than {_MAX_FILE_BYTES:,} bytes, which no rollout is")
        return Rollout.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        if file.is_symlink():
            raise BundleCorrupt(file, "is a link to nothing") from error
        return Rollout()
    except OSError as error:
        raise BundleCorrupt(file, f"cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        where, what = _first_problem(error)
        raise BundleCorrupt(file, f"{'.'.join(map(str, where)) or 'top level'}: {what}") from error


def change_rollout(model: Path, changes: Mapping[str, Any], there: Collection[str]) -> Rollout:
    """Change the rollout of the model in this folder, whose versions are `there`; see `Rollout.changed`.

    Raises:
        InvalidInput: the new values do not fit together; with the path of what is wrong.
        UnknownModel: a version that is named now is not there.
        BundleCorrupt: the file that is there cannot be used, or not be written.
    """
    before = read_rollout(model)
    after = before.changed(changes)
    absent = sorted(after.versions() - before.versions() - {*there})
    if absent:
        numbers = sorted(there, key=lambda version: (len(version), version))
        raise UnknownModel(f"{model.name} has no version {absent[0]!r}; there are: {', '.join(numbers)}", numbers)
    try:
        write_rollout(model, after)
    except OSError as error:
        raise BundleCorrupt(model / ROLLOUT_FILE, f"cannot be written: {error.strerror or error}") from error
    return after


def write_rollout(model: Path, rollout: Rollout) -> None:
    """Replace the file at once; an empty rollout removes it. Raises OSError."""
    file = model / ROLLOUT_FILE
    if rollout.is_empty:
        file.unlink(missing_ok=True)
        return
    content = json.dumps(rollout.model_dump(exclude_defaults=True), indent=2) + "\n"
    descriptor, name = tempfile.mkstemp(prefix=f".{ROLLOUT_FILE}.", dir=model)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as temporary:
            temporary.write(content)
            temporary.flush()
            os.fsync(temporary.fileno())
        Path(name).chmod(0o644)  # as readable as a bundle: another user may run the service
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _first_problem(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """Path and sentence of the first thing that is wrong. The branches of a union are no part of the path."""
    problem = error.errors()[0]
    where = tuple(part for part in problem["loc"] if "constrained-str" not in str(part) and part != "[key]")
    if problem["type"] == "string_pattern_mismatch":
        is_alias = "[a-z]" in str(problem["ctx"]["pattern"])
        allowed = "an alias is a-z, 0-9 and . _ -, and begins with a letter" if is_alias else "a version is a number"
        return where, f"{str(problem['input'])[:80]!r}: {allowed}, such as {'canary' if is_alias else 3}"
    return where, problem["msg"].removeprefix("Value error, ")

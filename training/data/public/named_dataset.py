"""Entry of the catalogue of public data sets: files with digests, how to read them, licence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.bundle.task_options import TrainedTask
from training.data.formats.options import ReadOptions


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataFile(_Entry):
    """One file of a split. `path + ".gz"` is accepted in its place."""

    path: str = Field(min_length=1, description="relative to the folder of the data set")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the content before any compression")
    remote: str = Field(default="", description="name below `base_url`, if not `path`")
    byte_range: tuple[int, int] | None = Field(
        default=None, description="part of the remote file to keep: first byte, one past the last"
    )


class JoinedWords(_Entry):
    """A split that is made on this machine: strings of words of one speaker, joined from single recordings."""

    dataset: str = Field(min_length=1, description="data set of the recordings: a table with an archive beside it")
    split: str = Field(default="train", min_length=1)
    count: int = Field(ge=1, description="number of strings")
    seed: int = Field(ge=0)
    shortest: int = Field(default=3, ge=1, description="words of a string, at least")
    longest: int = Field(default=7, ge=1, description="and at most")
    file_column: str = "file"
    word_column: str = Field(description="column of the words; a digit is written as a word")
    speaker_column: str = "speaker"


class MovingPictures(_Entry):
    """A split that is made on this machine: clips in which pictures of things move, with captions and actions."""

    dataset: str = Field(min_length=1, description="data set of the pictures: a table with an archive of each vendor")
    split: str = Field(default="train", min_length=1)
    vendors: tuple[str, ...] = Field(min_length=1, description="whose pictures are taken")
    names: str = Field(min_length=1, description="file of the things to show, one a line, beside the split `dev`")
    count: int = Field(ge=1, description="number of clips")
    seed: int = Field(ge=0)


class Split(_Entry):
    """Files of a split. `path` is what readers open: a file, a folder, or the stem that names of files share.

    With `made`, these are the files of another data set that the split is made from.
    """

    files: tuple[DataFile, ...] = Field(min_length=1)
    path: str = Field(min_length=1)
    made: JoinedWords | MovingPictures | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_path(cls, given: dict[str, Any]) -> dict[str, Any]:
        """A split of one file is that file."""
        match given:
            case {"files": [{"path": path}]}:
                return {"path": path, **given}
        return given


class NamedDataset(_Entry):
    """Public data set. Its files are in a folder of its name, or in `folder`, which related sets share."""

    name: str
    tasks: tuple[TrainedTask, ...] = Field(min_length=1)
    splits: Mapping[str, Split]
    licence: str = Field(min_length=1)
    attribution: str
    home: str
    may_ship: bool = Field(description="whether models trained on it may be given away, as far as we can tell")
    language: str = ""
    options: ReadOptions = Field(default=ReadOptions(), alias="read")
    note: str = Field(default="", description="how the files differ from those that are published")
    folder: str = ""
    base_url: str = Field(default="", description="where to download the files; empty if they have to be converted")

    @property
    def has_transcripts(self) -> bool:
        """Whether it is speech with its texts."""
        return "transcription" in self.tasks

    def url_of(self, file: DataFile) -> str | None:
        """Download address of a file; None where the published form has to be converted first."""
        return f"{self.base_url}/{file.remote or file.path}" if self.base_url else None

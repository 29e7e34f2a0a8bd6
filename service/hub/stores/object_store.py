"""A prefix of a bucket of S3, through fsspec and s3fs: credentials and endpoint are those of the AWS tools."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.distribution import install_hint
from service.errors import HubError, NotThere, Unreachable
from service.hub.address import Address
from service.hub.store import PIECE_BYTES, RemoteFile, Transport

#: One request each.
_BLOCK_BYTES = 8 * PIECE_BYTES


class ObjectStore:
    """The folder of an `s3://` address."""

    def __init__(self, address: Address, transport: Transport) -> None:
        self._address = address
        self._folder = f"{address.host}/{address.path}".rstrip("/")
        self._files = _open_s3(address, transport)

    @contextmanager
    def read(self, name: str) -> Iterator[RemoteFile]:
        with self._explained(name):
            file = self._files.open(f"{self._folder}/{name}", "rb", block_size=_BLOCK_BYTES, cache_type="readahead")
        with file:
            yield RemoteFile(int(file.size), self._pieces(file, name))

    def _pieces(self, file: Any, name: str) -> Iterator[bytes]:
        with self._explained(name):
            while piece := file.read(PIECE_BYTES):
                yield bytes(piece)

    def write(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            with self._explained(name):
                self._files.put_file(str(path), f"{self._folder}/{name}")

    def close(self) -> None:
        """Connections belong to the library, which closes them."""

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        what = f"{self._address}: {name}"
        try:
            yield
        except FileNotFoundError as error:
            raise NotThere(f"{what}: there is no such file, or no such bucket") from error
        except (PermissionError, NoCredentialsError) as error:
            hint = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            raise HubError(f"{what}: not allowed: {error}. If it needs credentials: {hint}") from error
        except (BotoCoreError, ClientError, OSError, TimeoutError) as error:
            raise Unreachable(f"{what}: {str(error) or type(error).__name__}") from error


def _open_s3(address: Address, transport: Transport) -> Any:
    try:
        from s3fs import S3FileSystem
    except ModuleNotFoundError as error:
        raise HubError(
            f"{address}: s3:// needs the extra hub: {install_hint('hub')}  (missing: {error.name})"
        ) from error
    # A file that was there before is looked for again, and tries are counted by the caller.
    return S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": transport.connect_timeout_s,
            "read_timeout": transport.timeout_s,
            "retries": {"max_attempts": 1},
        },
    )

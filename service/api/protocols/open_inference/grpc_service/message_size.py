"""The maximum size of a message, which depends on what the models read, as that of a body over HTTP.

The port has one limit for all methods, which cannot change while it is open: it is the larger one where a model that
reads sound is in the models folder when the port opens. Of a message beyond the smaller one only raw tensors may be
large: they take no more memory once they are parsed, as tiny fields do.
"""

from __future__ import annotations

from service.api.protocols.open_inference.grpc_service.open_inference_pb2 import ModelInferRequest
from service.bundle.load import read_manifest
from service.bundle.models_folder import find_bundles
from service.errors import BodyTooLarge, BundleError
from service.settings import Settings

_RAW = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2
_DELIMITED, _KINDS = 2, 7
#: Tensors, outputs and parameters of a large message.
_MAX_FIELDS = 1024
_MAX_VARINT_BYTES = 10
#: Smaller contents count as all else does.
_MIN_RAW_BYTES = 1024


def port_limit(settings: Settings) -> int:
    """The most bytes of a message on a port that opens now. Takes as long as the disk does; never raises."""
    return settings.most_sound_body_bytes if _has_sound_model(settings) else settings.max_body_bytes


def _has_sound_model(settings: Settings) -> bool:
    try:
        bundles = find_bundles(settings.models_dir)
    except BundleError:
        return False
    for path in bundles:
        try:
            if read_manifest(path).reads_sound:
                return True
        except BundleError:
            continue  # told when it is opened
    return False


def require_raw_tensors(message: bytes, max_bytes: int) -> None:
    """Check that a `ModelInferRequest` is within the limit on other messages, its raw tensors left out.

    Nothing is parsed but the sizes of its fields.

    Raises:
        BodyTooLarge: it is larger.
    """
    position, num_bytes = 0, len(message)
    try:
        for _ in range(_MAX_FIELDS):
            if num_bytes <= max_bytes or position >= len(message):
                break
            key, position = _varint(message, position)
            if key & _KINDS != _DELIMITED:
                break  # no field of ours
            size, position = _varint(message, position)
            if key == _RAW and size >= _MIN_RAW_BYTES:
                num_bytes -= min(size, len(message) - position)
            position += size
    except IndexError:
        pass  # it is no message, or cut short: its parser says so, if it is not too large
    if num_bytes > max_bytes:
        raise BodyTooLarge(f"the message is larger than {max_bytes} bytes, which only raw tensors of sound may make it")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number of protobuf, and where what follows it begins. Raises IndexError where there is none."""
    value = 0
    for place in range(_MAX_VARINT_BYTES):
        byte = message[position + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, position + place + 1
    raise IndexError("no number has so many bytes")

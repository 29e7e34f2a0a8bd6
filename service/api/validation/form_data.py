"""Bodies of `multipart/form-data` (RFC 7578): the fields of a form, and the files in it."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from typing import NamedTuple

from service.errors import InvalidInput

_HEAD_END = b"\r\n\r\n"
#: Far more than any form of ours has; each costs a little work.
_MAX_PARTS = 64
_MAX_HEAD_BYTES = 4096


class FormField(NamedTuple):
    """One field of a form. `filename` is empty for one that is no file."""

    name: str
    value: bytes
    filename: str = ""

    @property
    def text(self) -> str:
        """The value as text. Raises InvalidInput if it is not UTF-8."""
        try:
            return self.value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput("this is not text in UTF-8", (self.name,)) from error


def read_form(content_type: str, raw: bytes) -> list[FormField]:
    """The fields of a form, in order.

    Args:
        content_type: the header, which names the boundary between the fields.

    Raises:
        InvalidInput: the body is no form, or ends before its end.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise InvalidInput("send a form: Content-Type: multipart/form-data; boundary=...")
    return [_field(part) for part in _parts(raw, b"--" + boundary.encode("latin-1", "replace"))]


def _parts(raw: bytes, delimiter: bytes) -> Iterator[bytes]:
    """What is between the delimiters, without the line ends around it."""
    place = 0 if raw.startswith(delimiter) else raw.find(b"\r\n" + delimiter) + 2
    if not raw.startswith(delimiter, place):
        raise InvalidInput("the body has no part that begins with the boundary of its Content-Type")
    for _ in range(_MAX_PARTS):
        place += len(delimiter)
        if raw.startswith(b"--", place):
            return
        start = raw.find(b"\r\n", place)
        end = -1 if start < 0 else raw.find(b"\r\n" + delimiter, start)
        if end < 0:
            raise InvalidInput("the form ends before its last boundary")
        yield raw[start + 2 : end] if end > start else b""
        place = end + 2
    raise InvalidInput(f"the form has more than {_MAX_PARTS} fields")


def _field(part: bytes) -> FormField:
    head, found, value = part.partition(_HEAD_END)
    if not found or len(head) > _MAX_HEAD_BYTES:
        raise InvalidInput("a field of the form has no head that ends with an empty line")
    headers = BytesHeaderParser().parsebytes(head)
    name, filename = (headers.get_param(key, header="content-disposition") for key in ("name", "filename"))
    if headers.get_content_disposition() != "form-data" or not isinstance(name, str):
        raise InvalidInput('a field of the form needs Content-Disposition: form-data; name="..."')
    return FormField(name, value, filename if isinstance(filename, str) else "")

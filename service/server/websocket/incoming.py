"""What a WebSocket has received: bytes that are not parsed, and the parts of a message that is not complete."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

#: The library tells about every frame and every connection.
_frame_logger = logging.getLogger("websockets.server")
_frame_logger.setLevel(logging.WARNING)

#: Bytes that are parsed at once: few, as each frame costs as much as a kilobyte, unless they are within a large one.
_PIECE_BYTES, _PIECE_OF_LARGE_BYTES = 512, 16 * 1024
_BYTES_PER_COST = 1024
#: A message goes through JSON, checks and a task of the application.
_MESSAGE_COST = 16

_MASKED, _LENGTH_BITS, _MASK_BYTES, _MAX_HEAD_BYTES = 0x80, 0x7F, 4, 14
_FINAL, _SHORT_HEAD, _MEDIUM_HEAD, _LONG_HEAD = 0x80, struct.Struct("!BB"), struct.Struct("!BBH"), struct.Struct("!BBQ")
_MORE_LENGTH_BYTES: Mapping[int, int] = MappingProxyType({126: 2, 127: 8})

#: Pings and pongs that a client may send at once, and in a second for long. Programs send one in some seconds.
CONTROL_BURST, CONTROLS_PER_S = 1024, 100
#: A message may be cut into so many parts, and one more for each of so many bytes.
FREE_PARTS, BYTES_PER_PART = 1024, 16


def frames_of_server(max_message_bytes: int) -> Protocol:
    """Frames as a server reads and writes them, after the handshake."""
    return Protocol(SERVER, max_size=max_message_bytes, logger=_frame_logger)


def frame_head(opcode: Opcode, num_bytes: int) -> bytes:
    """The head of a frame of the service that is a whole message: no mask, no extension (RFC 6455, section 5.2)."""
    if num_bytes < 126:
        return _SHORT_HEAD.pack(_FINAL | opcode, num_bytes)
    if num_bytes < 1 << 16:
        return _MEDIUM_HEAD.pack(_FINAL | opcode, 126, num_bytes)
    return _LONG_HEAD.pack(_FINAL | opcode, 127, num_bytes)


class Received(NamedTuple):
    """A message that is complete."""

    data: bytes
    is_text: bool


class TooManyFrames(Exception):
    """The client sends frames that carry next to nothing; the message says which."""


class FrameBorders:
    """Where frames end, by their heads alone: how much of what was received can be parsed at little cost.

    The bytes that are given out must be parsed in order, so that it knows where each frame begins.
    """

    def __init__(self) -> None:
        #: What was given out of a head that is not complete, and what is left of the frame after its head.
        self._head, self._num_left = b"", 0

    def next_size(self, data: bytes, start: int) -> int:
        """Bytes from `start` on to parse at once: small frames together, or as much as there is of a large one."""
        size, available = 0, len(data) - start
        while size < available:
            num_left = self._num_left or self._frame_bytes(data, start + size)
            if size and size + num_left > _PIECE_BYTES:
                self._num_left = num_left
                return size
            taken = min(num_left, available - size, _PIECE_OF_LARGE_BYTES)
            self._num_left = num_left - taken
            size += taken
            if size >= _PIECE_BYTES:
                return size
        return size

    def _frame_bytes(self, data: bytes, start: int) -> int:
        """Bytes of the frame that begins at `start`, as far as its head tells; at least 1."""
        head = self._head + data[start : start + _MAX_HEAD_BYTES - len(self._head)]
        num_head = _num_head_bytes(head)
        num_known = len(self._head)
        if len(head) < num_head:
            self._head = head
            return len(head) - num_known
        self._head = b""
        return num_head + _payload_bytes(head) - num_known


def _num_head_bytes(head: bytes) -> int:
    """RFC 6455, section 5.2: two bytes, the length if it is in two or eight more, and the mask."""
    if len(head) < 2:
        return 2
    code = head[1] & _LENGTH_BITS
    return 2 + _MORE_LENGTH_BYTES.get(code, 0) + (_MASK_BYTES if head[1] & _MASKED else 0)


def _payload_bytes(head: bytes) -> int:
    code = head[1] & _LENGTH_BITS
    num_more = _MORE_LENGTH_BYTES.get(code)
    return code if num_more is None else int.from_bytes(head[2 : 2 + num_more], "big")


class Incoming:
    """Parses piece by piece, and counts what that costs and what it holds.

    Attributes:
        has_unparsed: whether there are bytes to parse.
    """

    def __init__(self, frames: Protocol, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._frames, self._clock = frames, clock
        self._unparsed, self._parsed_up_to = b"", 0
        self._borders = FrameBorders()
        self._parts, self._num_parts, self._is_text = bytearray(), 0, False
        self._num_controls_left, self._counted_since_s = CONTROL_BURST, clock()

    @property
    def has_unparsed(self) -> bool:
        return bool(self._unparsed)

    @property
    def num_unparsed_bytes(self) -> int:
        return len(self._unparsed) - self._parsed_up_to

    @property
    def num_partial_bytes(self) -> int:
        """Of a message that is not complete."""
        return len(self._frames.reader.buffer) + len(self._parts)

    def add(self, data: bytes) -> None:
        """Keep bytes that arrived."""
        self._unparsed, self._parsed_up_to = self._unparsed[self._parsed_up_to :] + data, 0

    def drop(self) -> None:
        """Drop the parts of a message that will not be taken."""
        self._parts = bytearray()

    def drop_all(self) -> None:
        """Drop all that is held: nothing is parsed any more."""
        self._unparsed, self._parsed_up_to = b"", 0
        self._frames.reader.discard()

    def parse_piece(self, messages: list[Received]) -> int:
        """Parse some bytes, append the messages they complete, and return the cost.

        Raises TooManyFrames, with the messages before.
        """
        size = self._borders.next_size(self._unparsed, self._parsed_up_to)
        piece = self._unparsed[self._parsed_up_to : self._parsed_up_to + size]
        self._parsed_up_to += len(piece)
        if self._parsed_up_to >= len(self._unparsed):
            self._unparsed, self._parsed_up_to = b"", 0
        self._frames.receive_data(piece)
        frames = self._frames.events_received()
        for frame in frames:
            self._take_frame(cast(Frame, frame), messages)
        return max(len(frames), -(-len(piece) // _BYTES_PER_COST)) + _MESSAGE_COST * len(messages)

    def _take_frame(self, frame: Frame, messages: list[Received]) -> None:
        """Collect the parts of a message. Control frames are answered by the library."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text, self._num_parts = frame.opcode is Opcode.TEXT, 0
        elif frame.opcode is not Opcode.CONT:
            self._count_control(frame)
            return
        self._parts += frame.data
        self._num_parts += 1
        if frame.fin:
            data, self._parts = bytes(self._parts), bytearray()
            messages.append(Received(data, self._is_text))
        elif self._num_parts > FREE_PARTS + len(self._parts) // BYTES_PER_PART:
            raise TooManyFrames("a message has too many parts for its size")

    def _count_control(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            return
        if not self._num_controls_left:
            now_s = self._clock()
            self._num_controls_left = min(CONTROL_BURST, int((now_s - self._counted_since_s) * CONTROLS_PER_S))
            self._counted_since_s = now_s
        if not self._num_controls_left:
            raise TooManyFrames(f"more than {CONTROLS_PER_S} pings and pongs came in a second")
        self._num_controls_left -= 1

"""What a WebSocket has received: bytes that are not parsed, and the parts of a message that is not complete."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol

#: The library tells about every frame and every connection.
_frame_logger = logging.getLogger("websockets.server")
_frame_logger.setLevel(logging.WARNING)

#: Bytes that are parsed at once: few, as each frame costs as much as a kilobyte, unless they are within a large one.
_PIECE_BYTES, _PIECE_OF_LARGE_BYTES = 512, 2048
_BYTES_PER_COST = 1024
#: A message goes through JSON, checks and a task of the application.
_MESSAGE_COST = 16

#: Pings and pongs that a client may send at once, and in a second for long. Programs send one in some seconds.
CONTROL_BURST, CONTROLS_PER_S = 1024, 100
#: A message may be cut into so many parts, and one more for each of so many bytes.
FREE_PARTS, BYTES_PER_PART = 1024, 16


def frames_of_server(max_message_bytes: int) -> Protocol:
    """Frames as a server reads and writes them, after the handshake."""
    return Protocol(SERVER, max_size=max_message_bytes, logger=_frame_logger)


class Received(NamedTuple):
    """A message that is complete."""

    data: bytes
    is_text: bool


class TooManyFrames(Exception):
    """The client sends frames that carry next to nothing; the message says which."""


class Incoming:
    """Parses piece by piece, and counts what that costs and what it holds.

    Attributes:
        has_unparsed: whether there are bytes to parse.
    """

    def __init__(self, frames: Protocol, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._frames, self._clock = frames, clock
        self._unparsed, self._parsed_up_to = b"", 0
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
        size = _PIECE_OF_LARGE_BYTES if len(self._frames.reader.buffer) > _PIECE_OF_LARGE_BYTES else _PIECE_BYTES
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

"""Pieces of a byte stream of HTTP/1.1 requests, none of which reaches into a second request."""

from __future__ import annotations

_EMPTY_LINE = b"\r\n\r\n"


class RequestPieces:
    """Finds how far a parser may read without seeing two requests.

    Every head, and every body in chunks, ends with an empty line, so a piece ends there. A body of declared length is a
    piece of its own.

    Attributes:
        num_left_bytes: what is missing of a body of declared length; set it when the head has been parsed.
    """

    num_left_bytes = 0
    _tail = b""

    def end(self, data: bytes, start: int) -> int:
        """The end of the piece that begins at `start`: what comes before it is taken as read."""
        if self.num_left_bytes:
            end = min(len(data), start + self.num_left_bytes)
            self.num_left_bytes -= end - start
            return end
        end = self._end_of_line(data, start)
        if end:
            self._tail = b""
            return end
        self._tail = (self._tail + data[max(start, len(data) - 3) :])[-3:]
        return len(data)

    def _end_of_line(self, data: bytes, start: int) -> int:
        """The end of the next empty line, which may have begun before `start`; 0 if there is none."""
        if self._tail:
            found = (self._tail + data[start : start + 3]).find(_EMPTY_LINE)
            if found >= 0:
                return start + found + len(_EMPTY_LINE) - len(self._tail)
        found = data.find(_EMPTY_LINE, start)
        return 0 if found < 0 else found + len(_EMPTY_LINE)

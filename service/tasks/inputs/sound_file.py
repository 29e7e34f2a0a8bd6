"""Sound files to mono samples: wave files by our own reader, FLAC, Ogg, MP3, AIFF and AU by libsndfile.

Wave files have a reader of their own because libsndfile is less strict: it takes a file that is cut short for a whole
one, a size that its writer did not know for no sound, and numbers that are not finite for samples. The kind is told by
the first bytes, not by a name, so that none of the many other decoders of libsndfile sees what a caller sent.
"""

from __future__ import annotations

from service.errors import InvalidInput
from service.tasks.core.task import Waveform
from service.tasks.inputs.mpeg_audio import mpeg_start
from service.tasks.inputs.wav import CONTAINERS, read_wav

#: What is read, as messages name it.
SOUND_KINDS = "WAV, FLAC, Ogg (Vorbis or Opus), MP3, AIFF or AU"
#: Suffixes of files that are read, in lower case.
SOUND_SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd")
#: First bytes of the files that are read; an MP3 file may begin with others.
SOUND_STARTS = (*CONTAINERS, b"fLaC", b"OggS", b"FORM", b".snd", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
#: Samples of one channel that a file may hold where its reader names no limit: 1.5 hours at 48 kHz.
MAX_SAMPLES = 1 << 28

#: The first bytes of files of libsndfile: offset, bytes, the name that it gives them.
_ENCODED = (
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "OGG"),
    (8, b"AIFF", "AIFF"),
    (8, b"AIFC", "AIFF"),
    (0, b".snd", "AU"),
)
#: The first bytes of files that are not read, for messages: offset, bytes, name.
_OTHER_KINDS = (
    (0, b"\xff\xf1", "an AAC file"),
    (0, b"\xff\xf9", "an AAC file"),
    (0, b"RIFX", "a RIFX file, with the bytes of numbers in the other order"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"NIST_1A", "a NIST SPHERE file"),
    (0, b"riff", "a Wave64 file"),
    (0, b"caff", "a CAF file"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"\x30\x26\xb2\x75", "a WMA file"),
    (0, b"\x00\x05\x16\x07", "a file that macOS keeps beside another (AppleDouble)"),
    (0, b"<", "a web page or another text with tags"),
    (0, b"{", "JSON"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the sound itself"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"PK\x03\x04", "a ZIP file"),
    (0, b"\x89PNG", "a PNG file"),
    (0, b"\xff\xd8\xff", "a JPEG file"),
    (4, b"ftyp", "an MP4 or M4A file"),
)


class SoundTooLong(InvalidInput):
    """A file with compression holds more samples than were to be decoded."""

    def under(self, *prefix: str | int) -> SoundTooLong:
        return SoundTooLong(self.message, (*prefix, *self.field))


def read_sound(data: bytes, max_samples: int = MAX_SAMPLES) -> Waveform:
    """The sound in a file; several channels are averaged.

    Args:
        max_samples: of one channel. A file of a few kilobytes may hold hours of silence: no more than this is decoded.

    Raises:
        InvalidInput: the file is of no kind that is read, damaged, empty, or longer than `max_samples`.
    """
    if data[: len(CONTAINERS[0])] in CONTAINERS:
        return read_wav(data)
    kind, start = _encoded_kind(data)
    if not kind:
        raise InvalidInput(_refusal(data))
    from service.tasks.inputs.encoded_sound import read_encoded  # loads libsndfile, which few services need

    sound = read_encoded(data[start:], kind, max_samples)
    if sound is None:
        raise SoundTooLong(f"the {kind} file holds more than {max_samples:,} samples of sound: send less at a time")
    return sound


def has_compression(data: bytes) -> bool:
    """Whether a file is a sound of which a few bytes may hold minutes."""
    return data[: len(CONTAINERS[0])] not in CONTAINERS and _encoded_kind(data)[0] != ""


def is_wave_text(text: str) -> bool:
    """Whether a file in base64 begins as a wave file."""
    return text.startswith(("UklGR", "UkY2N", "Qlc2N"))


def _encoded_kind(data: bytes) -> tuple[str, int]:
    """What libsndfile calls the kind, empty for one that is not read; and where the sound begins."""
    kind = next((kind for offset, start, kind in _ENCODED if data.startswith(start, offset)), "")
    if kind or _other_kind(data):
        return kind, 0
    start = mpeg_start(data)
    return ("", 0) if start is None else ("MP3", start)


def _other_kind(data: bytes) -> str:
    return next((name for offset, start, name in _OTHER_KINDS if data.startswith(start, offset)), "")


def _refusal(data: bytes) -> str:
    if not data:
        return "the file is empty"
    name = _other_kind(data)
    what = f"this is {name}, which is not read" if name else "this is no sound file, by its first bytes"
    return f"{what}: send {SOUND_KINDS}"

"""Speech engines that may be installed: their voices, and how each is asked to speak a text into a wave file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from service.errors import UnrollError

_TIMEOUT_S = 60.0


class EngineFailed(UnrollError):
    """No engine or voice is installed, or an engine did not speak a text."""


class Delivery(NamedTuple):
    """How a text is spoken. All engines follow `tempo`, most `pitch`.

    `tempo`: speed, 1 as the engine speaks by itself. `pitch`: from -1, low, to 1, high. `size`: length of the vocal
    tract, by which the sound is stretched afterwards: above 1 deeper and slower, below 1 higher and faster.
    """

    tempo: float
    pitch: float
    size: float


class Engine(Protocol):
    """One program that speaks."""

    @property
    def name(self) -> str:
        """As voices are named: `NAME/VOICE`."""

    @property
    def program(self) -> str:
        """What must be on the PATH."""

    @property
    def packages(self) -> str:
        """The packages of Debian and Ubuntu that install it."""

    def voices(self) -> list[str]:
        """Names of the installed English voices, without the engine's."""

    def command(self, voice: str, delivery: Delivery, out: Path) -> list[str]:
        """The command that speaks its standard input into the wave file `out`."""


class EspeakNg:
    """Formant synthesis: robotic, but with many dialects and, for each, dozens of speakers ("variants")."""

    name = "espeak-ng"
    program = "espeak-ng"
    packages = "espeak-ng"
    #: Whispers, croaks and machines, and one that speaks at double speed.
    _UNLIKE_PEOPLE = ("whisper", "croak", "demonic", "robo", "fast")

    def voices(self) -> list[str]:
        """Each dialect with each variant, such as `en-us+f3`."""
        dialects = [language for language, file in self._listed("en") if not file.startswith(("mb/", "!v/"))]
        variants = [file.removeprefix("!v/") for _, file in self._listed("variant")]
        people = [name for name in variants if not any(odd in name.casefold() for odd in self._UNLIKE_PEOPLE)]
        return [f"{dialect}+{variant}" for dialect in dialects for variant in people]

    def command(self, voice: str, delivery: Delivery, out: Path) -> list[str]:
        """Speed in words a minute, pitch from 0 to 99."""
        speed, pitch = round(160 * delivery.tempo), round(45 + 25 * delivery.pitch)
        return [self.program, "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", str(out), "--stdin"]

    def _listed(self, kind: str) -> list[tuple[str, str]]:
        """(language, file) of `espeak-ng --voices=KIND`. Names with spaces are left out."""
        rows = [line.split() for line in _output([self.program, f"--voices={kind}"]).splitlines()[1:]]
        return sorted({(row[1], row[4]) for row in rows if len(row) >= 5 and (len(row) == 5 or row[5].startswith("("))})


class Flite:
    """Small voices of Carnegie Mellon University, built from recordings of people."""

    name = "flite"
    program = "flite"
    packages = "flite"
    _MEAN_PITCH_HZ: Final = {"slt": 180.0}
    #: `awb_time` says the time of day only; `kal` is `kal16` at half the rate.
    _LEFT_OUT = ("awb_time", "kal")

    def voices(self) -> list[str]:
        """Those built in, such as `slt`."""
        _, _, names = _output([self.program, "-lv"]).partition(":")
        return sorted(name for name in names.split() if name not in self._LEFT_OUT)

    def command(self, voice: str, delivery: Delivery, out: Path) -> list[str]:
        """Duration as a factor, pitch in Hz."""
        pitch = self._MEAN_PITCH_HZ.get(voice, 110.0) * (1 + 0.2 * delivery.pitch)
        settings = [f"duration_stretch={1 / delivery.tempo:.3f}", f"int_f0_target_mean={pitch:.1f}"]
        asked = [part for setting in settings for part in ("--setf", setting)]
        return [self.program, "-voice", voice, *asked, "-f", "/dev/stdin", "-o", str(out)]


class Festival:
    """Diphone and HTS voices. Slow: the program starts anew for each text."""

    name = "festival"
    program = "text2wave"
    packages = "festival festvox-us-slt-hts festvox-kallpc16k festvox-kdlpc16k"

    def voices(self) -> list[str]:
        """The English voices, such as `kal_diphone`; those of other languages need other texts."""
        folder = Path("/usr/share/festival/voices")
        return sorted(path.name for part in ("english", "us") for path in (folder / part).glob("*") if path.is_dir())

    def command(self, voice: str, delivery: Delivery, out: Path) -> list[str]:
        """Duration as a factor. The pitch cannot be set alike for all voices."""
        stretch = f"(Parameter.set 'Duration_Stretch {1 / delivery.tempo:.3f})"
        return [self.program, "-eval", f"(begin (voice_{voice}) {stretch})", "-o", str(out), "-"]


ENGINES: dict[str, Engine] = {engine.name: engine for engine in (EspeakNg(), Flite(), Festival())}


def installed_voices(engines: Sequence[Engine] = tuple(ENGINES.values())) -> list[str]:
    """All voices of the installed engines, as `ENGINE/VOICE`.

    Raises:
        EngineFailed: no engine is installed, or none has a voice.
    """
    present = [engine for engine in engines if shutil.which(engine.program)]
    voices = [f"{engine.name}/{voice}" for engine in present for voice in engine.voices()]
    if not voices:
        packages = " ".join(engine.packages for engine in engines)
        raise EngineFailed(
            f"no speech engine is installed: install one or more of {', '.join(engine.name for engine in engines)} "
            f"(Debian and Ubuntu: apt install {packages})"
        )
    return voices


def speak(voice: str, delivery: Delivery, text: str, out: Path) -> None:
    """Let the engine of `voice` (`ENGINE/VOICE`) speak the text into the wave file `out`.

    Raises:
        EngineFailed: the engine ended with an error, took over a minute, or wrote nothing.
    """
    engine_name, _, name = voice.partition("/")
    command = ENGINES[engine_name].command(name, delivery, out)
    try:
        done = subprocess.run(command, input=f"{text}\n".encode(), capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineFailed(f"{voice} did not speak {text!r}: {error}") from error
    if done.returncode or not out.is_file():
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise EngineFailed(f"{voice} did not speak {text!r}: {said}")


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineFailed(f"{' '.join(command)} failed: {error}") from error
    return done.stdout.decode(errors="replace")

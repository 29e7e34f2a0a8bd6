"""What the card of a model says that reads numbers instead of text."""

from __future__ import annotations

from service.bundle.manifest import ClassificationOptions, FramesSpec, Manifest, WaveformSpec

_MAX_FEATURES = 40

INTENDED_USE = (
    "Recordings like those it was trained on: the same devices, in the same place, used by people alike. It always "
    "answers with one of its labels, also for what none of them fits: look at the score before acting on the answer."
)


def signal_of(manifest: Manifest) -> FramesSpec | WaveformSpec | None:
    """What the model reads; None if that is text."""
    return manifest.options.signal if isinstance(manifest.options, ClassificationOptions) else None


def purpose(signal: FramesSpec | WaveformSpec, num_labels: int) -> str:
    """One sentence."""
    what = "a recording" if isinstance(signal, WaveformSpec) else "a sequence of frames"
    return f"Gives {what} one of {num_labels} labels."


def calling(manifest: Manifest, signal: FramesSpec | WaveformSpec, service: str) -> list[str]:
    """Lines of a shell: the command for a file, and the request that it makes."""
    name, is_sound = manifest.name, isinstance(signal, WaveformSpec)
    command = f"unroll predict --model {name} {'sound.wav' if is_sound else 'frames.csv'}"
    if not is_sound:
        return [command, f"curl -s {service}/predict -H 'Content-Type: application/json' -d @request.json"]
    body = f'{{"model": "{name}", "inputs": {{"wav": "%s"}}}}'
    return [
        command,
        f"printf '{body}' \"$(base64 -w0 sound.wav)\" \\",
        f"  | curl -s {service}/predict -H 'Content-Type: application/json' -d @-",
    ]


def limits(signal: FramesSpec | WaveformSpec, max_steps: int) -> str:
    """What may be sent, as lines of a list."""
    if isinstance(signal, WaveformSpec):
        most_s = max_steps * signal.samples_per_step / signal.sample_rate_hz
        return (
            f"- It hears {signal.sample_rate_hz:,} samples a second; a wave file of another rate is resampled. "
            f"A sound of more than {most_s:g} s is refused, not cut."
        )
    shown = ", ".join(f"`{name}`" for name in signal.features[:_MAX_FEATURES])
    return f"- At most {max_steps} frames; more are refused. A frame holds {len(signal.features)} numbers: {shown}."

"""Clips through the client: files, bytes and pictures, and answers of the type `Video`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.client import Captioning, InvalidInput, UnexpectedTask, Video
from tests.client.conftest import Connect, address
from tests.live_server import LiveServer, live_server
from tests.tasks.inputs.clips.tiny_clips import as_pictures, gif_of, square_clip
from tests.training.tiny_video import LABELS, publish_video, video_captioner

FRAMES = square_clip("blue", ("moves left", "moves right"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    models = tmp_path_factory.mktemp("clips") / "models"
    publish_video(video_captioner(), models)
    with live_server(models) as started:
        yield started


@pytest.fixture
def client(connect: Connect, served: LiveServer) -> Any:
    return connect(address(served))


def test_a_clip_is_given_as_a_path_as_bytes_or_as_the_api_takes_it(client: Any, tmp_path: Path) -> None:
    """All forms get the caption, the actions and the frames of the same clip."""
    path = tmp_path / "clip.gif"
    path.write_bytes(gif_of(FRAMES))
    forms = [path, gif_of(FRAMES), as_pictures(FRAMES)]
    first, *others = (client.predict(form, answer=Video).prediction for form in forms)
    assert first.action.label in LABELS
    assert 0 < first.next_action.score <= 1
    assert (first.num_frames, first.frames) == (6, [0, 1, 3, 4, 5])
    assert [other.text for other in others] == [first.text] * 2
    assert [other.next_action.label for other in others] == [first.next_action.label] * 2
    together = client.predict([path, gif_of(FRAMES[:3])])
    assert [found.num_frames for found in together.predictions] == [6, 3]


def test_what_was_asked_for_has_a_type_too(client: Any) -> None:
    """Attention by token, frame and place, and the probabilities of all actions after each frame."""
    asked = {"return_attention": True, "return_moments": True, "num_beams": 1, "return_score": False}
    found = client.predict(gif_of(FRAMES), answer=Video, **asked).prediction
    assert found.score is None
    assert found.moments.labels == list(LABELS)
    assert max(found.moments.next_action[-1]) == pytest.approx(found.next_action.score)
    assert len(found.attention.weights) == len(found.attention.tokens)
    places = found.attention.rows * found.attention.columns
    assert all([len(frame) for frame in token] == [places] * len(found.frames) for token in found.attention.weights)
    plain = client.predict(gif_of(FRAMES)).prediction
    assert (plain.attention, plain.moments) == (None, None)


def test_a_file_in_pieces_is_a_stream(client: Any) -> None:
    """A clip sent piece by piece over WebSocket ends with the answer of the whole file."""
    file = gif_of(FRAMES)
    (whole,) = client.predict(file).predictions
    with client.stream("tiny-video") as stream:
        for place in range(0, len(file), 500):
            stream.send(file[place : place + 500])
        assert stream.end().predictions == [whole]


def test_what_is_no_clip_is_said_with_its_place(client: Any) -> None:
    """Files of other kinds fail before they are sent, and those that the service cannot read with its words."""
    with pytest.raises(InvalidInput, match="neither a sound"):
        client.predict(b"\xff\xd8\xff a photograph")
    with pytest.raises(InvalidInput, match="cut short") as refused:
        client.predict([gif_of(FRAMES), gif_of(FRAMES)[:80]])
    assert refused.value.fields[0].field == "inputs.1.clip"
    with pytest.raises(UnexpectedTask, match="Video, not Captioning"):
        client.predict(gif_of(FRAMES), answer=Captioning)

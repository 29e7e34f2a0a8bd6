"""Captioned clips from files, archives or arrays with a table; faults are reported by file and line."""

from __future__ import annotations

import base64
import zipfile
from pathlib import Path

import numpy as np
import pytest

from service.errors import UnrollError
from service.tasks.inputs.clips.clip_file import read_pictures
from service.tasks.inputs.png import PictureSize
from tests.tasks.inputs.clips.tiny_clips import square_clips, write_clips
from tests.tiny_pictures import shape_picture
from training.data import check as check_data
from training.data.formats.faults import DataFault
from training.data.formats.options import ReadOptions
from training.data.inputs import read_inputs
from training.data.public.moving_pictures import ACTIONS, FOLLOWS, NUM_FRAMES, SIDE, made_clips, make_split
from training.data.public.moving_pictures import read_pictures as read_drawings
from training.data.public.named_dataset import MovingPictures
from training.data.read import read_records
from training.data.records import CaptionedClip
from training.synthesis.moving_pictures import PicturesRequest, synthesize_moving_pictures

MADE = MovingPictures(dataset="d", vendors=("ann", "bob"), names="names.txt", count=6, seed=3)


def same(one: object, other: CaptionedClip) -> bool:
    return isinstance(one, CaptionedClip) and one[1:] == other[1:] and np.array_equal(one.frames, other.frames)


def test_files_beside_a_table_are_read(tmp_path: Path) -> None:
    """A TSV file with the usual names of columns: file, caption, action, next and group; also from an archive."""
    records = square_clips(3)
    index = write_clips(tmp_path, records)
    assert all(map(same, read_records("video", index), records))
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        for file in sorted(tmp_path.glob("*.gif")):
            archive.write(file, file.name)
            file.unlink()
    assert all(map(same, read_records("video", index), records))


def test_frames_in_an_array_are_read_in_the_order_of_the_table(tmp_path: Path) -> None:
    """`NAME.npz` beside `NAME.tsv`; other columns may have other names; the arrays are inputs of a model too."""
    records = square_clips(3)
    np.savez(tmp_path / "a.npz", frames=np.stack([record.frames for record in records]))
    rows = [f"{record.caption}\t{record.action}\t{record.next_action}" for record in records]
    table = tmp_path / "a.tsv"
    table.write_text("\n".join(["said\tdoes\tthen", *rows]) + "\n", encoding="utf-8")
    columns = ReadOptions(text_column="said", label_column="does", next_column="then")
    found = read_records("video", table, columns)
    assert all(same(one, record._replace(group="")) for one, record in zip(found, records, strict=True))
    given = read_inputs(table, "video", {}, {}, [])
    assert [line for line, _ in given] == [1, 2, 3]
    assert isinstance(given[0][1], dict)
    files = [base64.b64decode(text) for text in given[0][1]["pictures"]]
    assert np.array_equal(read_pictures(files, 16, PictureSize(16, 16)).frames, records[0].frames)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (np.zeros((2, 3, 4, 4, 3), np.uint8), "2 clips, but 3 rows in the table"),
        (np.zeros((3, 3, 4, 4, 3), np.float32), r"the array frames is float32\[3, 3, 4, 4, 3\]"),
        (np.zeros((3, 4, 4, 3), np.uint8), r"the array frames is uint8\[3, 4, 4, 3\]"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(frames: np.ndarray, reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", frames=frames)
    (tmp_path / "a.tsv").write_text("caption\taction\tnext\n" + "a\tb\tc\n" * 3, encoding="utf-8")
    with pytest.raises(DataFault, match=reason):
        read_records("video", tmp_path / "a.tsv")


def test_each_fault_is_named_with_its_line(tmp_path: Path) -> None:
    """A missing clip, a file that is none, a damaged one and an empty action are faults; the others are counted."""
    index = write_clips(tmp_path, square_clips(5))
    (tmp_path / "clips-0.gif").unlink()
    (tmp_path / "clips-1.gif").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "clips-2.gif").write_bytes((tmp_path / "clips-2.gif").read_bytes()[:60])
    lines = index.read_text(encoding="utf-8").splitlines()
    cells = lines[4].split("\t")
    lines[4] = "\t".join([*cells[:2], " ", *cells[3:]])
    index.write_text("\n".join(lines), encoding="utf-8")
    report = check_data.run("video", str(index))
    said = {(finding.line, finding.what) for finding in report.faults}
    assert [line for line, _ in sorted(said, key=lambda each: each[0] or 0)] == [2, 3, 4, 5]
    text = " ".join(what for _, what in said)
    for reason in ("cannot be read", "no clip but a JPEG file", "cut short", "'action' is empty"):
        assert reason in text
    assert report.splits[0].records == 1


def test_a_table_without_next_actions_says_which_option_names_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file,caption,action\none.gif,red,goes\n", encoding="utf-8")
    with pytest.raises(DataFault, match="no column of next actions found; pass --column next="):
        read_records("video", tmp_path / "a.csv")


def drawings(folder: Path) -> Path:
    """A table of two things by two vendors, with their archives."""
    lines = ["file\tvendor\tcaption_en"]
    for vendor, colour in (("ann", "red"), ("bob", "blue")):
        with zipfile.ZipFile(folder / f"train_{vendor}.zip", "w") as packed:
            for name, shape in (("Square", "square"), ("bar", "bar")):
                packed.writestr(f"{vendor}/{name}.png", shape_picture(colour, shape))
                lines.append(f"{vendor}/{name}.png\t{vendor}\t{name}")
    (folder / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "train.tsv"


def test_made_clips_are_the_same_every_time_and_read_back(tmp_path: Path) -> None:
    """Sixteen frames of one or two things whose captions name what they do; no other file is left."""
    source = drawings(tmp_path)
    for name in ("a", "b"):
        make_split(source, MADE, ["square", "bar"], tmp_path / "made" / f"{name}.tsv")
    first, second = (read_records("video", tmp_path / "made" / f"{name}.tsv") for name in ("a", "b"))
    assert all(isinstance(one, CaptionedClip) and same(other, one) for one, other in zip(first, second, strict=True))
    assert len(first) == 6
    for clip in first:
        assert isinstance(clip, CaptionedClip)
        assert clip.frames.shape == (NUM_FRAMES, SIDE, SIDE, 3)
        assert clip.caption.split(" while ")[0].startswith(("the square ", "the bar "))
        assert clip.caption.split()[2:4] == clip.action.split() or clip.caption.split()[2] == clip.action
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["a.npz", "a.tsv", "b.npz", "b.tsv"]


def test_what_comes_second_follows_the_rule_four_times_of_five(tmp_path: Path) -> None:
    """Of 200 clips 82.5 % follow the rule, by rule or by chance, give or take three standard deviations."""
    pictures = read_drawings(drawings(tmp_path), ["ann"], ["square", "bar"])
    clips = list(made_clips(pictures, 200, 1))
    share = np.mean([FOLLOWS[clip.action] == clip.next_action for clip in clips])
    assert abs(share - 0.825) < 3 * (0.825 * 0.175 / 200) ** 0.5
    assert {clip.action for clip in clips} == set(ACTIONS)
    ways = {"moves left": (1, -1), "moves right": (1, 1), "moves up": (0, -1), "moves down": (0, 1)}
    for clip in clips:
        if clip.action in ways and " while " not in clip.caption:
            axis, sign = ways[clip.action]
            dark = [np.argwhere(frame.min(axis=2) < 128).mean(axis=0)[axis] for frame in clip.frames[:5]]
            assert sign * (dark[-1] - dark[0]) > 2


def test_what_cannot_be_made_says_why(tmp_path: Path) -> None:
    """A thing without a picture, an unknown vendor, and a file of names that is missing or empty."""
    source = drawings(tmp_path)
    with pytest.raises(UnrollError, match="no picture is called 'crab'"):
        read_drawings(source, ["ann"], ["square", "crab"])
    with pytest.raises(UnrollError, match="no pictures of the vendor 'eve'"):
        read_drawings(source, ["eve"], ["square"])
    request = PicturesRequest("emoji_captions", "train", "google", tmp_path / "names.txt", 3, 1)
    with pytest.raises(UnrollError, match="cannot be read"):
        synthesize_moving_pictures(request, tmp_path / "out.tsv")
    (tmp_path / "names.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(UnrollError, match="names no thing"):
        synthesize_moving_pictures(request, tmp_path / "out.tsv")

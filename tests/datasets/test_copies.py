"""Releases as people have them: renamed folders and sheets, unpacked in part or in other forms."""

import json
import os
import re
import shutil
import warnings
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest

from aullm_lib import datasets, preprocess
from aullm_lib.datasets import table as tables
from aullm_lib.preprocess import integrity
from aullm_lib.support import frame_files
from aullm_lib.support.images import BadImage

CLIPS = {"sub01": ("EP01_01", "EP02_01f"), "sub02": ("EP03_02",)}
HEADER = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units"]


def write_sheet(path: Path, clips=CLIPS, emotion: str = "others") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    page.append([*HEADER, "Estimated Emotion"])
    for subject, names in clips.items():
        for name in names:
            page.append([int(subject[3:]), name, None, 5, 7, 9, None, "4+7", emotion])
    book.save(path)
    return path


def write_frames(folder: Path, shape=(340, 280), ending: str = ".jpg", clips=CLIPS) -> Path:
    content = cv2.imencode(".png", np.full(shape, 90, np.uint8))[1].tobytes()  # what a name ends in does not count
    for subject, names in clips.items():
        for name in names:
            (folder / subject / name).mkdir(parents=True)
            for number in range(5, 10):
                (folder / subject / name / f"img{number}{ending}").write_bytes(content)
    return folder


def read(root: Path, name: str = "casme2", **options) -> datasets.Release:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every copy here is smaller than the release
        return datasets.read(name, root, **options)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("CASME2_cropped", "cropped"), ("CASME2-RAW-cropped", "cropped"), ("Cropped (1)", "cropped"),
        ("cropped - Copy/Cropped", "cropped"), ("CASME II faces, crops", "cropped"), (".", "cropped"),
        ("CASME2_RAW_selected (2)/x", "raw_selected"), ("casme2 selected frames", "raw_selected"),
        ("CASME2-RAW (1)/CASME2-RAW", "raw"), ("CASME2", "cropped"), ("data/images/pictures", "cropped"),
        ("データ", "cropped"),
    ],
)  # fmt: skip
def test_renamed_frame_folders_are_found_and_their_kind_is_told(tmp_path, folder, kind):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    write_frames(tmp_path / folder)
    release = read(tmp_path)
    assert len(release.table) == 3 and release.options["images"] == kind and release.folder == folder
    by_contents = not any(word in folder.lower() for word in ("crop", "select", "raw"))
    assert any("280×340" in remark for remark in release.remarks) == by_contents


def test_without_a_telling_name_the_images_tell_the_kind_and_a_telling_name_comes_first(tmp_path):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    write_frames(tmp_path / "a", (480, 640))
    assert read(tmp_path).options["images"] == "raw_selected"
    with pytest.raises(FileNotFoundError, match=r"frame folder \(cropped\): .*holds .*CASME2-coding-20140508.xlsx, a/"):
        datasets.load("casme2", tmp_path, images="cropped")
    write_frames(tmp_path / "b")
    write_frames(tmp_path / "CASME2_RAW_selected", (480, 640))
    release = read(tmp_path)
    assert release.folder == "CASME2_RAW_selected" and set(release.passed_over) == {"a", "b"}
    assert read(tmp_path, images="cropped").folder == "b"


@pytest.mark.parametrize("subject", ["1", "01", "Sub1", "subject01", "s01", "sub_01", "Subject 1"])
def test_subject_folders_of_any_spelling(tmp_path, subject):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    write_frames(tmp_path / "Cropped")
    (tmp_path / "Cropped" / "sub01").rename(tmp_path / "Cropped" / subject)
    assert len(read(tmp_path).table) == 3


@pytest.mark.parametrize("name", ["CASME2_label_Ver_2.xlsx", "labels/my codes.XLSX", "CASME2_label_Ver_2.xls"])
def test_a_renamed_workbook_is_known_by_its_columns_and_clips(tmp_path, name):
    write_sheet(tmp_path / "another release.xlsx", {"sub01": ("S01-01-001",)})
    write_sheet(tmp_path / "~$CASME2_label_Ver_2.xlsx")
    write_sheet(tmp_path / "x.xlsx").rename(tmp_path / "made.bin")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / "made.bin").rename(tmp_path / name)
    write_frames(tmp_path / "Cropped")
    release = read(tmp_path)
    assert release.workbook == name and any("by its columns" in remark for remark in release.remarks)


FORMS = {
    "labels.csv": "save it as .xlsx", "labels.xlsb": "save it as .xlsx", "labels.ods": "save it as .xlsx",
    "labels.numbers": "save it as .xlsx", "CASME2.zip": "unpack it", "CASME2.7z": "unpack it",
    "CASME2.part1.rar": "unpack it", "CASME2.zip.001": "unpack it", "x/CASME2.tar.gz": "unpack it",
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("there", ["workbook", "frames", "nothing"])
def test_a_dead_end_says_what_is_there_and_what_to_do(tmp_path, name, there):
    if there == "workbook":
        write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    if there == "frames":
        write_frames(tmp_path / "Cropped")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(tables.ReleaseError) as raised:
        datasets.load("casme2", tmp_path)
    message = str(raised.value)
    missing = "frame folder" if there == "workbook" else "workbook"
    assert (
        f"found no CASME II {missing}" in message
        and f": '{name}': " in message
        and FORMS[name] in message
        and "Looked for" in message
    )


@pytest.mark.parametrize(
    ("start", "said"), [(b"\xd0\xcf\x11\xe0" + bytes(600), "97-2003"), (b"<html><table>", "web page")]
)
def test_a_workbook_of_another_format_under_its_name_is_said(tmp_path, start, said):
    (tmp_path / "CASME2-coding-20140508.xlsx").write_bytes(start)
    with pytest.raises(tables.ReleaseError, match=rf"{said}.*save it as a plain \.xlsx"):
        datasets.load("casme2", tmp_path)


@pytest.mark.parametrize("ending", [".webp", ".tif", ".TIFF", ".gif", ".heic", ".npy", ".jfif"])
def test_frames_in_a_form_that_is_not_read_are_said(tmp_path, ending):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    write_frames(tmp_path / "Cropped", ending=ending)
    with pytest.raises(
        tables.ReleaseError, match=rf"15 \{ending.lower()} files, such as .*: convert the frames to PNG"
    ):
        datasets.load("casme2", tmp_path)
    for path in (tmp_path / "Cropped" / "sub02" / "EP03_02").iterdir():
        path.rename(path.with_suffix(".jpg"))
    release = read(tmp_path)
    assert list(release.table["subject"]) == ["sub02"] and len(release.left_out) == 2
    assert re.search(rf"5 \{ending.lower()} files.*convert the frames to PNG", release.left_out[0])


GREYS = [40 + 12 * number for number in range(1, 16)]  # of the frames of a whole recording; the clip is 5 to 9


def write_videos(folder: Path, greys=GREYS, name: str = "{}/{}.avi", codec: str = "MJPG") -> Path:
    for subject, clips in CLIPS.items():
        for clip in clips:
            path = folder / name.format(subject, clip)
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), 200, (64, 48))
            for grey in greys:
                writer.write(np.full((48, 64, 3), grey, np.uint8))
            writer.release()
    return folder


@pytest.mark.parametrize(
    ("folder", "name", "codec"),
    [
        ("CASME2_Compressed video/CASME2_compressed", "{}/{}.avi", "MJPG"), ("CASME2_compressed", "{}_{}.avi", "XVID"),
        ("CASME2_compressed", "{}/{}.AVI", "XVID"), ("CASME2_compressed", "{}/{}/video.avi", "MJPG"),
        (".", "{}/{}.mp4", "mp4v"), ("videos", "{} - {}.mkv", "mp4v"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("greys", [GREYS, GREYS[4:9]], ids=["whole recordings", "the clips alone"])
def test_a_copy_of_videos_alone_is_read(tmp_path, folder, name, codec, greys):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    write_videos(tmp_path / folder, greys, name, codec)
    release = read(tmp_path, images=None)
    assert len(release.table) == 3 and (release.table["n_frames"] == 5).all() and not release.left_out
    for frames in release.table["frames"]:
        assert [frame_files.read(path).mean() for path in frames] == pytest.approx(GREYS[4:9], abs=3)
        assert frame_files.read(frames[3], rgb=True).shape == (48, 64, 3) and frame_files.size_of(frames[0]) == (64, 48)
    store = preprocess.build(release.table, tmp_path / "store", 16, align="whole-frame")
    assert store["casme2/sub01/EP01_01"].mean((1, 2)) == pytest.approx(GREYS[4:9], abs=3)
    report = integrity.report(release)
    assert report["detail"].str.contains("3 clips are read from videos, such as .*EP01_01").sum() == 1
    assert json.loads(release.table["source"].iloc[0])["videos"] == 3
    assert not report.loc[report["status"] == "warning", "check"].isin(["image unreadable", "frames missing"]).any()
    # another file under the same name is another store, and no clip is read from a file that has gone
    first = release.table["frames"].iloc[0]
    settings = preprocess.building.settings(release.table, 16, align="whole-frame")
    os.utime(first[0].parent)
    assert preprocess.building.settings(release.table, 16, align="whole-frame") != settings
    first[0].parent.unlink()
    with pytest.raises(BadImage, match="no video that may be read"):
        frame_files.read(first[0])


@pytest.mark.parametrize(
    ("greys", "problem"),
    [
        (GREYS[4:8], "4 frames where the clip has 5, from 5 to 9"), (GREYS[3:10], "7 frames where the clip has 5"),
        (GREYS[:8], "8 frames where the clip has 5"), ([90] * 5, "byte for byte the same"),
        ([], "without a readable frame"),
    ],
)  # fmt: skip
def test_a_video_of_other_frames_is_left_out_by_name(tmp_path, greys, problem):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    videos = write_videos(tmp_path / "CASME2_compressed")
    write_videos(tmp_path / "odd", greys)
    shutil.copy(tmp_path / "odd" / "sub02" / "EP03_02.avi", videos / "sub02" / "EP03_02.avi")
    shutil.rmtree(tmp_path / "odd")
    release = read(tmp_path)
    assert list(release.table["clip"]) == ["EP01_01", "EP02_01f"]
    assert "EP03_02.avi: " in release.left_out[0] and problem in release.left_out[0]


def test_a_damaged_video_is_left_out_by_name(tmp_path):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    path = write_videos(tmp_path / "CASME2_compressed") / "sub02" / "EP03_02.avi"
    os.truncate(path, path.stat().st_size * 8 // 10)
    release = read(tmp_path)
    assert len(release.table) == 2 and re.search(r"EP03_02.avi: .* could be read: it breaks off", release.left_out[0])


def test_images_come_before_videos(tmp_path):
    write_sheet(tmp_path / "CASME2_compressed" / "CASME2-coding-20140508.xlsx")
    write_videos(tmp_path / "CASME2_compressed")
    write_frames(tmp_path / "a" / "CASME2-RAW", (480, 640))
    release = read(tmp_path)
    assert release.folder == "a/CASME2-RAW" and release.passed_over == ["CASME2_compressed"]
    assert not any("videos" in remark for remark in release.remarks)
    shutil.rmtree(tmp_path / "a" / "CASME2-RAW" / "sub01")
    assert read(tmp_path).folder == "CASME2_compressed"


def test_frames_unpacked_from_a_video_beside_it_are_those_of_the_whole_recording(tmp_path):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    videos = write_videos(tmp_path / "CASME2_Compressed video" / "CASME2_compressed")
    write_frames(videos, (480, 640))  # as ``ffmpeg -i EP01_01.avi EP01_01/img%d.jpg`` does
    content = (videos / "sub01" / "EP01_01" / "img5.jpg").read_bytes()
    for folder in videos.glob("*/*/"):
        if folder.is_dir():
            for number in [*range(1, 5), *range(10, 20)]:
                (folder / f"img{number}.jpg").write_bytes(content)
    release = read(tmp_path)
    assert release.options["images"] == "raw" and release.whole_recordings
    assert all(
        [path.name for path in frames] == [f"img{n}.jpg" for n in range(5, 10)] for frames in release.table["frames"]
    )


@pytest.mark.parametrize(
    "name",
    ["sub01_EP01_01", "sub01-EP01_01", "01 EP01_01", "1_EP01_01", "s01.EP01_01", "subject 1, EP01_01", "sub01EP01_01",
     "sub01/EP01_01/EP01_01", "sub01/EP01_01/frames"],
)  # fmt: skip
def test_flattened_and_nested_clip_folders_are_found(tmp_path, name):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    frames = write_frames(tmp_path / "Cropped")
    (frames / "sub01" / "EP01_01").rename(tmp_path / "clip")
    (frames / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "clip").rename(frames / name)
    release = read(tmp_path)
    assert len(release.table) == 3 and release.folder == "Cropped" and not release.unlabelled
    assert release.table["frames"].iloc[0][0] == frames / name / "img5.jpg"


@pytest.mark.parametrize("name", ["{}/{}/{}", "{}/{}_{}"])
def test_folders_by_emotion_are_one_frame_folder(tmp_path, name):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    write_frames(tmp_path / "made")
    for emotion, subject, clip in (
        ("Happiness", "sub01", "EP01_01"), ("others", "sub01", "EP02_01f"), ("disgust", "sub02", "EP03_02")
    ):  # fmt: skip
        folder = tmp_path / "Cropped" / name.format(emotion, subject, clip)
        folder.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / subject / clip).rename(folder)
    shutil.rmtree(tmp_path / "made")
    release = read(tmp_path)
    assert len(release.table) == 3 and release.folder == "Cropped" and not (release.passed_over or release.left_out)


@pytest.mark.parametrize("release", ["casme2", "samm", "casme", "casme3", "4dme", "mmew"])
def test_every_release_is_read_from_one_level_of_clip_folders(tmp_path, release):
    root = datasets.synthesize(tmp_path / "made", release, subjects=2, clips_per_subject=1, seed=3)
    whole = read(root, release)
    flat = tmp_path / "copy" / "Cropped, gray, micro"
    for path in whole.table["frames"].map(lambda frames: frames[0].parent):
        name = path.name if release in ("casme3", "mmew") else f"{path.parent.name}_{path.name}"
        shutil.copytree(path, flat / name)
    shutil.copy(root / whole.workbook, tmp_path / "copy")
    copy = read(tmp_path / "copy", release)
    assert list(copy.table.index) == list(whole.table.index)
    assert (copy.table["n_frames"] == whole.table["n_frames"]).all() and not copy.left_out


def test_a_dead_end_says_where_images_are(tmp_path):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx")
    (write_frames(tmp_path / "Cropped") / "sub01").rename(tmp_path / "Cropped" / "person A")
    shutil.rmtree(tmp_path / "Cropped" / "sub02")
    with pytest.raises(FileNotFoundError, match="images lie in 2 folders, such as 'Cropped/person A/EP01_01'"):
        datasets.load("casme2", tmp_path)


@pytest.mark.parametrize("others", ["depth", "Depth_map", "optical_flow", "Macro"])
def test_depth_is_never_taken_for_colour(tmp_path, others):
    root = datasets.synthesize(tmp_path / "casme3", "casme3", subjects=1, clips_per_subject=2)
    table = read(root, "casme3").table
    clips = Path(table.iloc[0]["frames"][0]).parents[1]
    (root / "new").mkdir()
    clips.rename(root / "new" / "zframe")
    if (root / "part_A").is_dir():
        shutil.rmtree(root / "part_A")
    shutil.copytree(root / "new" / "zframe", root / "new" / others)
    (root / "new" / "video").mkdir()
    release = read(root, "casme3")
    assert release.folder == "new/zframe" and f"new/{others}" in release.passed_over
    shutil.rmtree(root / "new" / "zframe")
    with pytest.raises(FileNotFoundError, match="found no CAS"):
        datasets.read("casme3", root)


def test_two_clips_that_differ_in_case_only_are_one_folder_and_said(tmp_path):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", CLIPS | {"sub01": ("EP01_01", "EP02_01f", "EP02_01F")})
    write_frames(tmp_path / "Cropped")
    release = read(tmp_path)
    assert len(release.table) == 3 and len(release.left_out) == 1
    assert "row 4: clip sub01/EP02_01F is there already as EP02_01f, one frame folder" in release.left_out[0]


@pytest.mark.parametrize("emotion", ["=1+1", "@SUM(A1)", "+1", "-2+3", "=cmd|' /C calc'!A0"])
def test_a_formula_is_no_emotion(tmp_path, emotion):
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", emotion=emotion)
    write_frames(tmp_path / "Cropped")
    release = read(tmp_path)
    assert set(release.table["emotion"]) == {""} and "Estimated Emotion: the formula" in release.notes[0]


def test_a_release_is_read_with_one_look_at_every_file(tmp_path, monkeypatch):
    clips = {f"sub{s:02d}": [f"EP{n:02d}_01" for n in range(1, 11)] for s in range(1, 5)}
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", clips)
    write_frames(tmp_path / "Cropped", clips=clips)
    looks, stat = [], os.stat
    monkeypatch.setattr(os, "stat", lambda *args, **kwargs: (looks.append(args), stat(*args, **kwargs))[1])
    assert read(tmp_path).table["n_frames"].sum() == 200
    assert len(looks) < 250

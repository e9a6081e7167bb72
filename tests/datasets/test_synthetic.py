"""A synthetic release: its layout file for file, its truth, its determinism, and clear errors."""

import csv
import errno
import json
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest

from aullm_lib.datasets.synthetic import release as writer
from aullm_lib.datasets.synthetic import synthesize
from aullm_lib.datasets.synthetic.film import Film
from aullm_lib.datasets.synthetic.plan import plan, stream
from aullm_lib.datasets.synthetic.specs import SUBJECTS
from aullm_lib.preprocess import faces


def settings(release: str, **changes: object) -> dict:
    return {"release": release, "subjects": 2, "clips_per_subject": 2, "intensity": 1.0, "seed": 1, **changes}


@pytest.fixture(scope="module")
def casme2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("a") / "casme2", subjects=2, clips_per_subject=2)


@pytest.fixture(scope="module")
def samm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("b") / "samm", "samm", subjects=2, clips_per_subject=1)


def cells(path: Path, sheet: str) -> list[tuple]:
    return list(openpyxl.load_workbook(path)[sheet].iter_rows(values_only=True))


def truth(root: Path, name: str) -> list[dict[str, str]]:
    with (root / "SYNTHETIC" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_casme2_layout(casme2: Path) -> None:
    header, *rows = cells(casme2 / "CASME2-coding-20140508.xlsx", "Sheet1")
    assert header[:9] == (
        *("Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None),
        *("Action Units", "Estimated Emotion"),
    )
    assert [row[4] for row in rows].count("/") == 1
    wanted = set()
    for subject, name, _, onset, apex, offset, _, aus, emotion in rows:
        assert isinstance(subject, int) and name.startswith("EP") and aus and emotion
        assert apex == "/" or onset < apex < offset
        assert 24 <= offset - onset + 1 <= 141
        for k in range(onset, offset + 1):
            wanted.add(f"CASME2_RAW_selected/sub{subject:02d}/{name}/img{k}.jpg")
            wanted.add(f"Cropped/sub{subject:02d}/{name}/reg_img{k}.jpg")
    assert {str(p.relative_to(casme2)) for p in casme2.rglob("*.jpg")} == wanted
    raw = sorted(wanted)[0]
    assert cv2.imread(str(casme2 / raw), cv2.IMREAD_UNCHANGED).shape == (480, 640, 3)
    assert cv2.imread(str(casme2 / sorted(wanted)[-1]), cv2.IMREAD_UNCHANGED).shape == (340, 280, 3)


def test_samm_layout(samm: Path) -> None:
    rows = cells(samm / "SAMM_Micro_FACS_Codes_v2.xlsx", "MICRO_ONLY")
    header = "Subject,Filename,Inducement Code,Onset Frame,Apex Frame,Offset Frame,Duration,Micro,Action Units,"
    assert rows[13] == tuple((header + "Estimated Emotion,Objective Classes,Notes").split(","))
    assert all(row[0] != "Subject" for row in rows[:13]) and rows[0][0]
    assert [row[0] for row in rows[14:]] == ["006", "007"]
    wanted = set()
    for subject, name, code, onset, apex, offset, duration, *_ in rows[14:]:
        assert name.startswith(f"{subject}_{code}_") and onset < apex < offset and duration == offset - onset + 1
        assert 30 <= duration <= 101
        wanted |= {(subject, name, k) for k in range(onset, offset + 1)}
    found = {(p.parts[-3], p.parts[-2], int(p.stem.split("_")[-1])) for p in samm.rglob("*.jpg")}
    assert found == wanted
    image = cv2.imread(str(next(samm.rglob("*.jpg"))), cv2.IMREAD_UNCHANGED)
    assert image.shape == (650, 960)


def test_truth_beside_the_release(casme2: Path, samm: Path) -> None:
    for root in (casme2, samm):
        found = json.loads((root / "SYNTHETIC" / "release.json").read_text())
        assert found["synthetic"] is True and found["seed"] == 1 and found["intensity"] == 1.0
        masks = {p.relative_to(root / "SYNTHETIC" / "masks") for p in (root / "SYNTHETIC" / "masks").rglob("*.png")}
        rows = truth(root, "clips.csv")
        assert masks == {Path(r["subject"], r["clip"], f"AU{r['au']}.png") for r in rows}
        for row in rows:
            assert 0.1 < float(row["amplitude_px"]) < 6 and row["side"] in {"L", "R", "both"}
        for row in truth(root, "faces.csv"):
            frame = cv2.imread(str(root / row["image"]), cv2.IMREAD_UNCHANGED)
            x, y, width, height = (int(row[k]) for k in ("x", "y", "width", "height"))
            assert min(x, y) > 0 and x + width < frame.shape[1] and y + height < frame.shape[0]
            sides = {r["au"]: r["side"] for r in rows if (r["subject"], r["clip"]) == (row["subject"], row["clip"])}
            for au, side in sides.items():
                path = root / "SYNTHETIC" / "masks" / row["subject"] / row["clip"] / f"AU{au}.png"
                mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                values = {"L": {255}, "R": {128}, "both": {128, 255}}[side]
                assert mask.shape == frame.shape[:2] and set(np.unique(mask)) == {0} | values
                inside = mask[y : y + height, x : x + width]
                assert inside.sum() > 0.9 * mask.sum() and 0.002 < (inside > 0).mean() < 0.3
    cropped = list((casme2 / "SYNTHETIC" / "masks_cropped").rglob("*.png"))
    assert cropped
    for path in cropped:
        mask, whole = (cv2.imread(str(p), cv2.IMREAD_UNCHANGED)
                       for p in (path, str(path).replace("masks_cropped", "masks")))  # fmt: skip
        assert mask.shape == (340, 280) and set(np.unique(mask)) == set(np.unique(whole))
    assert not (samm / "SYNTHETIC" / "masks_cropped").exists()


def test_same_settings_give_the_same_bytes(casme2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "cores", lambda: 1)  # and the number of threads does not matter
    threads = cv2.getNumThreads()
    again = synthesize(tmp_path / "again", subjects=2, clips_per_subject=2)
    assert cv2.getNumThreads() == threads
    assert content(again) == content(casme2)
    assert not (tmp_path / "again.partial").exists()


def test_a_complete_release_is_left_alone_and_another_one_refused(casme2: Path, tmp_path: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in casme2.rglob("*")}
    assert synthesize(casme2, subjects=2, clips_per_subject=2) == casme2
    with pytest.raises(FileExistsError, match=r"seed=1 \(asked for 2\).*hoose another root"):
        synthesize(casme2, subjects=2, clips_per_subject=2, seed=2)
    assert {p: p.stat().st_mtime_ns for p in casme2.rglob("*")} == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no synthetic release"):
        synthesize(tmp_path)


def test_a_killed_run_is_done_again(samm: Path, tmp_path: Path) -> None:
    left = tmp_path / "samm.partial" / "006" / "006_9_9"
    left.mkdir(parents=True)
    (left / "006_00001.jpg").write_bytes(b"cut sho")
    root = synthesize(tmp_path / "samm", "samm", subjects=2, clips_per_subject=1)
    assert content(root) == content(samm)


def test_a_full_disk_is_reported_and_leaves_no_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, image: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "write_image", full)
    with pytest.raises(OSError, match=r"No space left on device.*Make room") as caught:
        synthesize(tmp_path / "casme2", subjects=1, clips_per_subject=2)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "casme2").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("release", "casme4"),
        ("subjects", 0),
        ("subjects", 27),
        ("subjects", 2.5),
        ("clips_per_subject", 0),
        ("intensity", -0.1),
        ("intensity", 3.5),
        ("intensity", float("nan")),
        ("seed", -1),
        ("seed", True),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        synthesize(tmp_path / "x", **{name: value})  # type: ignore[arg-type]
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("release", ["casme2", "samm"])
def test_nothing_but_motion_can_tell_labels(release: str) -> None:
    """Subjects, names, numbers and lengths stay the same when the labels and the release's size change."""
    few = plan(settings(release, subjects=3, clips_per_subject=4))
    many = {(c.subject, c.index): c for c in plan(settings(release, subjects=12, clips_per_subject=12))}
    kept = [(c, many[c.subject, c.index]) for c in few]
    for small, large in kept:
        assert [getattr(small, k) for k in ("name", "onset", "apex", "offset", "digits")] == [
            getattr(large, k) for k in ("name", "onset", "apex", "offset", "digits")
        ]
    assert any(small.actions != large.actions for small, large in kept)


def test_casme2_has_unknown_and_one_sided_codes() -> None:
    clips = plan(settings("casme2", subjects=26, clips_per_subject=10))
    assert 1 <= sum(c.coded == "?" for c in clips) <= 10
    assert all((c.coded == "?") == (not c.actions) for c in clips)
    assert any("L" in c.coded for c in clips) and any("R" in c.coded for c in clips)
    assert 0.1 < np.mean([c.name.endswith("f") for c in clips]) < 0.5
    coded = [c.coded for c in plan(settings("samm", subjects=29, clips_per_subject=6))]
    assert {k[-1] for k in coded if k[-1].isalpha()} <= set("ABCDE")
    assert sum(k[-1].isalpha() for k in coded) > len(coded) // 2


def test_the_detector_of_the_preprocessing_finds_the_face_in_samm_frames() -> None:
    """Every subject; at least 99 % of frames, and the box is the face and not something as large."""
    wanted = settings("samm", subjects=29, clips_per_subject=1)
    found = []
    for clip in plan(wanted):
        assert clip.subject in SUBJECTS["samm"]
        rng = stream(wanted, clip.subject, clip.index, 8)
        film = Film(writer.seat(wanted, clip.subject), clip.actions, n_frames=10, apex=4, intensity=1.0, rng=rng)
        x, y, width, height = film.face_box
        for image in list(film.frames())[::2]:
            one = faces.find(image)
            left, top, wide, high = one.box if one else (0, 0, 0, 0)
            across, down = (left + wide / 2 - x) / width, (top + high / 2 - y) / height
            found.append(abs(across - 0.5) < 0.12 and abs(down - 0.5) < 0.2 and 0.75 < wide / width < 1.5)
    assert len(found) == 145
    assert np.mean(found) >= 0.99

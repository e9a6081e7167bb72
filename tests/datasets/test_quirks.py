"""Six layouts cell for cell and file for file, and the quirks of each planted as `SYNTHETIC/quirks.csv` says."""

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
import quirks
from quirks import ERRATA, STRINGS, Stage, disturb, layout_of

from aullm_lib import facs
from aullm_lib.datasets.synthetic import synthesize
from aullm_lib.datasets.synthetic.muscles import AMPLITUDE
from aullm_lib.datasets.synthetic.plan import deal, plan
from aullm_lib.datasets.synthetic.specs import SPECS, SUBJECTS
from aullm_lib.preprocess import faces

NEW = ("casme", "casme3", "4dme", "mmew")
HEADERS = {
    "casme": ("casme.xlsx", "Sheet1", "Subject|Filename||OnsetF|ApexF1|ApexF2|OffsetF||AU|Emotion"),
    "casme3": (
        "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        "label",
        "Subject|Filename|Onset|Apex|Offset|AU|Objective class|emotion",
    ),
    "4dme": ("4DME_Labelling_Micro_release v1.xlsx", "Sheet1", "sub_ID|fold_name|Emotion|Onset|Apex|Offset|AUs"),
    "mmew": (
        "MMEW_Micro_Exp.xlsx",
        "Sheet1",
        "Subject|Filename|OnsetFrame|ApexFrame|OffsetFrame|Action Units|Estimated Emotion|remarks",
    ),
    "casme2": (
        "CASME2-coding-20190701.xlsx",
        "Sheet1",
        "Subject|Filename||OnsetFrame|ApexFrame|OffsetFrame||Action Units|Estimated Emotion",
    ),
}


def settings(release: str, subjects: int, clips: int) -> dict:
    return {"release": release, "subjects": subjects, "clips_per_subject": clips, "intensity": 1.0, "seed": 1}


def staged(release: str, subjects: int, clips: int) -> Stage:
    wanted = settings(release, subjects, clips)
    return disturb(wanted, layout_of(release), plan(wanted))


@pytest.fixture(scope="module", params=NEW)
def plain(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Each new release as it should be."""
    root = tmp_path_factory.mktemp("plain") / request.param
    return request.param, synthesize(root, request.param, subjects=2, clips_per_subject=2)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small releases with quirks."""
    folder = tmp_path_factory.mktemp("odd")
    sizes = {"casme2": (5, 1), "samm": (2, 2), "casme": (3, 2), "casme3": (2, 3), "4dme": (2, 3), "mmew": (4, 2)}
    return {k: quirks.synthesize(folder / k, k, subjects=s, clips_per_subject=c) for k, (s, c) in sizes.items()}


def cells(root: Path, release: str) -> list[dict]:
    """The sheet's rows by column; None for columns without a name."""
    file, title, columns = HEADERS[release]
    header, *rows = openpyxl.load_workbook(root / file)[title].iter_rows(values_only=True)
    count = len(columns.split("|"))
    assert tuple(name or "" for name in header[:count]) == tuple(columns.split("|"))
    return [dict(zip(header, row, strict=True)) for row in rows]


def notes(root: Path) -> list[dict[str, str]]:
    with (root / "SYNTHETIC" / "quirks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*.jpg")}


def content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_layout(plain: tuple[str, Path]) -> None:
    """Every file that the sheet promises and none besides; whole numbers, onset before apex before offset."""
    release, root = plain
    rows, wanted = cells(root, release), set()
    assert len(rows) == 4
    for place, row in enumerate(rows):
        onset, apex, offset = (
            next(v for k, v in row.items() if str(k).startswith(word)) for word in ("Onset", "Apex", "Offset")
        )
        spec = SPECS[release]
        assert onset < apex < offset and spec.shortest <= offset - onset + 1 <= spec.longest
        for k in range(onset, offset + 1):
            match release:
                case "casme":
                    number = f"{k:03d}" if place >= 2 else k
                    where = f"sub{row['Subject']:02d}/{row['Filename']}"
                    wanted |= {
                        f"CASME_raw_selected/{where}/{row['Filename']}-{number}.jpg",
                        f"Cropped/{where}/reg_{row['Filename']}-{number}.jpg",
                    }
                case "casme3":
                    number = row["Subject"].removeprefix("spNO.")
                    wanted.add(f"Part_A_ME_clip/frame/spNo.{number}_{row['Filename']}_{onset}/{k}.jpg")
                case "4dme":
                    wanted.add(f"gray_micro/{row['sub_ID']}/{row['fold_name']}/{k}.jpg")
                case "mmew":
                    wanted.add(f"Micro_Expression/{row['Estimated Emotion']}/{row['Filename']}/{k}.jpg")
    assert files(root) == wanted
    assert not (root / "SYNTHETIC" / "quirks.csv").exists()


def test_names_and_cells(plain: tuple[str, Path]) -> None:
    release, root = plain
    rows = cells(root, release)
    if release == "casme":
        assert {row["Subject"] for row in rows} == {1, 2}
        assert all(re.fullmatch(r"EP\d\d_\d+", row["Filename"]) and row["ApexF2"] is None for row in rows)
    elif release == "casme3":
        assert [row["Subject"] for row in rows] == ["spNO.1", "spNO.1", "spNO.2", "spNO.2"]
        assert all(re.fullmatch("[a-z]", row["Filename"]) and row["Objective class"] in range(1, 8) for row in rows)
    elif release == "4dme":
        assert [row["sub_ID"] for row in rows] == ["S49", "S49", "S50", "S50"]
        for row in rows:
            assert re.fullmatch(row["sub_ID"] + r"_\d{3}_\d\d_\d", row["fold_name"])
            assert row["AUs"].count("AU") == 1 and row["AUs"].startswith("AU")
            units = {u.number for u in facs.parse_aus(row["AUs"])}
            flags = {int(k[2:]): v for k, v in row.items() if re.fullmatch(r"AU\d+", k)}
            assert {au for au, v in flags.items() if v == 1} == units and set(flags.values()) == {0, 1}
    else:
        assert [row["Subject"] for row in rows] == [1, 1, 2, 2]
        assert all(row["OnsetFrame"] == 1 and re.fullmatch(r"S0\d-\d\d-\d{3}", row["Filename"]) for row in rows)


def test_pictures_and_masks_share_their_coordinates(plain: tuple[str, Path]) -> None:
    release, root = plain
    shape = {"casme": (480, 640, 3), "casme3": (720, 1280, 3), "4dme": (480, 640), "mmew": (231, 231, 3)}[release]
    with (root / "SYNTHETIC" / "faces.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        assert cv2.imread(str(root / row["image"]), cv2.IMREAD_UNCHANGED).shape == shape
        x, y, width, height = (int(row[k]) for k in ("x", "y", "width", "height"))
        assert min(x, y) > 0 and x + width < shape[1] and y + height < shape[0]
        masks = list((root / "SYNTHETIC" / "masks" / row["subject"] / row["clip"]).glob("*.png"))
        assert masks
        for path in masks:
            mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert mask.shape == shape[:2] and mask[y : y + height, x : x + width].sum() > 0.9 * mask.sum() > 0
    crops = list((root / "SYNTHETIC" / "masks_cropped").rglob("*.png"))
    assert bool(crops) == (release == "casme")
    assert all(cv2.imread(str(p), cv2.IMREAD_UNCHANGED).shape == (340, 280) for p in crops)
    assert all(cv2.imread(str(root / p)).shape[:2] == (340, 280) for p in files(root) if p.startswith("Cropped/"))


@pytest.mark.parametrize("release", NEW)
def test_tables_of_combinations(release: str) -> None:
    """Shares follow the counts known of each AU, every AU can be rendered, and small releases hold those covered."""
    published = {
        "casme": (189, {1: 23, 2: 17, 4: 70, 9: 40, 12: 9, 14: 23, 15: 14, 17: 13}),
        "casme3": (860, {1: 153, 2: 128, 4: 274, 5: 44, 7: 27, 9: 50, 12: 15, 14: 193, 17: 20, 24: 59}),
        "4dme": (267, {1: 46, 2: 54, 4: 102, 6: 25, 7: 89, 12: 53, 17: 11}),
        "mmew": (300, {1: 50, 2: 41, 4: 109, 5: 70, 7: 47, 10: 38, 12: 37, 14: 17}),
    }
    spec = SPECS[release]
    total, counts = published[release]
    assert sum(n for _, n in spec.combinations) == total
    assert {au: sum(n for c, n in spec.combinations if au in c) for au in counts} == counts
    assert {au for c, _ in spec.combinations for au in c} <= set(AMPLITUDE)
    grid = deal(release, [5] * 6, np.random.default_rng(0))
    assert all(sum(au in c for row in grid for c in row) >= 3 for au in spec.covered)


def test_releases_without_quirks_are_what_they_were(tmp_path: Path) -> None:
    """Plans, truth and settings to the letter; pictures closely, as their bytes depend on the machine."""
    plans = {
        "casme2": "99ca716c90edf51b31f7bcbb0d71161081b02356452cc0757db1bcd3196a2897",
        "samm": "ca9009b57ca21e1077d4bf0d7a280864173b0f70817d34bc08dddd89eb096d25",
    }
    for release, digest in plans.items():
        clips = plan(settings(release, 5, 8))
        fields = [(c.name, c.onset, c.apex, c.offset, c.digits, c.coded, c.emotion) for c in clips]
        assert hashlib.sha256(repr(fields).encode()).hexdigest() == digest
    root = synthesize(tmp_path / "samm", "samm", subjects=2, clips_per_subject=1)
    truth = root / "SYNTHETIC"
    rows = [line.rsplit(",", 1) for line in (truth / "clips.csv").read_text().splitlines()]
    assert [row for row, _ in rows] == [
        "subject,clip,onset,apex,offset,au,side,left,right,strength",
        "006,006_7_12,995,1038,1067,14,both,0.8546,0.8935,0.2327",
        "007,007_7_30,708,750,785,7,both,0.8242,0.8605,0.347",
    ]
    # Measured in the picture, whose last digits are the processor's.
    assert rows[0][1] == "amplitude_px" and np.allclose([float(k) for _, k in rows[1:]], (0.461, 0.555), atol=0.003)
    assert list(json.loads((truth / "release.json").read_text())) == [
        *("synthetic", "release", "subjects", "clips_per_subject", "intensity", "seed", "version"),
    ]
    with (truth / "faces.csv").open(newline="") as file:
        brightness = [cv2.imread(str(root / row["image"]), cv2.IMREAD_GRAYSCALE).mean() for row in csv.DictReader(file)]
    assert np.allclose(brightness, (np.float64(102.77), np.float64(111.73)), atol=0.5)


@pytest.mark.parametrize("release", ["casme3", "mmew"])
def test_same_settings_give_the_same_bytes(release: str, odd: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("aullm_lib.datasets.synthetic.release.cores", lambda: 1)
    subjects, clips = {"casme3": (2, 3), "mmew": (4, 2)}[release]
    again = quirks.synthesize(tmp_path / "again", release, subjects=subjects, clips_per_subject=clips)
    assert content(again) == content(odd[release])


@pytest.mark.parametrize("release", list(SUBJECTS))
def test_every_named_clip_has_its_place_and_its_note(release: str) -> None:
    """With all subjects: true numbers in the plan, the sheet's in its row, a line for each; names stay unique."""
    stage = staged(release, len(SUBJECTS[release]), 4)
    assert max(Counter((s.clip.subject, s.clip.name) for s in stage.clips).values()) == 1
    found = {(s.clip.subject, s.clip.name): s for s in stage.clips}
    rows = iter(stage.rows())
    sheet = {
        (s.clip.subject, s.clip.name): row for s in stage.clips if s.labelled and (row := next(r for r in rows if r))
    }
    per_subject = Counter(e.subject for e in ERRATA[release] if e.labelled)
    planted = {(note.subject, note.clip, note.quirk) for note in stage.notes}
    for erratum in ERRATA[release]:
        key = (erratum.subject, erratum.name)
        if per_subject[erratum.subject] > 4 and key not in found:
            continue  # beyond the subject's four
        clip = found[key].clip
        assert (clip.onset, clip.apex, clip.offset) == (erratum.onset, erratum.apex, erratum.offset)
        assert (key in sheet) == erratum.labelled
        assert all(sheet[key][column] == value for column, value in erratum.cells.items())
        names = {quirk.split(": ")[0] for quirk in erratum.quirks}
        assert {(stage.layout.name(clip.subject), clip.name, quirk) for quirk in names} <= planted
    assert len([s for s in stage.clips if s.labelled and s.twin_of is None]) == len(SUBJECTS[release]) * 4


@pytest.mark.parametrize("release", list(SUBJECTS))
def test_any_size_can_be_staged(release: str) -> None:
    """Names stay unique, every row's columns are the sheet's, and no two clips share a file."""
    for subjects, clips, seed in ((1, 1, 0), (2, 1, 1), (1, 3, 2), (5, 40, 3)):
        wanted = settings(release, subjects, clips) | {"seed": seed}
        layout = layout_of(release)
        stage = disturb(wanted, layout, plan(wanted))
        written: Counter[object] = Counter()
        for one in stage.clips:
            numbers = {*range(one.clip.onset, one.clip.offset + 1), *one.extra} - set(one.missing)
            written.update(layout.path(layout.frames, one.filed, k) for k in numbers)
        assert max(written.values()) == 1
        assert all(set(row) <= set(layout.sheet.columns) for row in stage.rows())
        clips_named = {(layout.name(one.clip.subject), one.clip.name) for one in stage.clips} | {("", "")}
        assert {(note.subject, note.clip) for note in stage.notes} <= clips_named


@pytest.mark.parametrize("release", list(SUBJECTS))
def test_strings_are_in_the_sheet_and_their_first_reading_is_shown(release: str) -> None:
    stage = staged(release, len(SUBJECTS[release]), 4)
    written = [next((v for k, v in row.items() if k in ("AU", "AUs", "Action Units")), None) for row in stage.rows()]
    assert {12 if text == "12" else text for text in STRINGS[release]} <= set(written)
    swapped = {note.clip for note in stage.notes if note.quirk == "AU strings swapped"}
    for one in stage.clips:
        units = facs.parse_aus(one.clip.coded)
        expected = {u.number for u in units if not u.alternative and not u.held and u.number in AMPLITUDE}
        shown = {action.au for action in one.clip.actions}
        assert shown == expected or one.clip.name in swapped
        if shown != {u.number for u in units} or one.clip.coded == "?":
            mine = [note for note in stage.notes if note.clip == one.clip.name and repr(one.clip.coded) in note.detail]
            assert mine, one.clip
    if release == "samm":
        sides = {one.clip.coded: [a.side for a in one.clip.actions] for one in stage.clips}
        assert sides["R12 + R15"] == ["R", "R"] and sides["20L"] == ["L"] and sides["L14+L15"] == ["L", "L"]


def test_casme2(odd: dict[str, Path]) -> None:
    root = odd["casme2"]
    rows, planted = cells(root, "casme2"), notes(root)
    assert not any(rows[-1].values()) and not any(rows[len(rows) // 2 - 1].values())
    rows = [row for row in rows if row["Filename"]]
    by_clip = {(f"sub{row['Subject']:02d}", row["Filename"]): row for row in rows}
    assert by_clip["sub04", "EP12_01f"]["ApexFrame"] == "/" and by_clip["sub05", "EP09_05f"]["ApexFrame"] == 69
    assert [row["ApexFrame"] for row in rows].count("/") == 1
    assert {"sadness", "fear"} <= {row["Estimated Emotion"] for row in rows}
    raw, crops = "CASME2_RAW_selected/CASME2_RAW_selected", "Cropped/Cropped"
    quirk = {note["quirk"]: note for note in planted}
    # the sheet's frames, but for what is written down
    wanted = set()
    for (subject, clip), row in by_clip.items():
        for k in range(row["OnsetFrame"], row["OffsetFrame"] + 1):
            wanted |= {f"{raw}/{subject}/{clip}/img{k}.jpg", f"{crops}/{subject}/{clip}/reg_img{k}.jpg"}
    lost, cut = quirk["missing frame"], quirk["truncated image"]
    number = lost["detail"].removeprefix("missing ")
    where = f"{lost['subject']}/{lost['clip']}"
    assert wanted - files(root) == {f"{raw}/{where}/img{number}.jpg", f"{crops}/{where}/reg_img{number}.jpg"}
    assert files(root) == wanted - (wanted - files(root))  # five clips: none is left for an extra frame
    number = cut["detail"].removeprefix("cut ")
    for path in (f"{raw}/{{}}/img{number}.jpg", f"{crops}/{{}}/reg_img{number}.jpg"):
        data = (root / path.format(f"{cut['subject']}/{cut['clip']}")).read_bytes()
        assert data.startswith(b"\xff\xd8") and not data.endswith(b"\xff\xd9")
    twin = quirk["duplicate clip"]
    source = twin["detail"].removeprefix("the pictures of ")
    assert twin["clip"] == "EP99_01" and twin["subject"] != source.split("/")[0] and by_clip[twin["subject"], "EP99_01"]
    for folder in (raw, crops, "SYNTHETIC/masks"):
        assert content(root / folder / source) == content(root / folder / twin["subject"] / "EP99_01")
    stray = {note["detail"] for note in planted if note["quirk"] == "stray file"}
    assert stray == {"~$CASME2-coding-20190701.xlsx", "__MACOSX/Cropped/._sub01"}
    assert all((root / name).is_file() for name in stray)
    book = openpyxl.load_workbook(root / "CASME2-ObjectiveClasses.xlsx")["Sheet1"]
    header, *classes = book.iter_rows(values_only=True)
    assert header == ("Subject", "Filename", "Objective Class")
    assert {(f"sub{s:02d}", name) for s, name, _ in classes} == set(by_clip) and {c for *_, c in classes} <= set(
        range(1, 8)
    )
    units = [row["Action Units"] for row in rows]
    assert {(n["subject"], n["clip"]) for n in planted if n["quirk"] == "number in AU cell"} == {
        key for key, row in by_clip.items() if isinstance(row["Action Units"], int)
    }
    assert "L12" in units and "4+R10" in units


def write(tmp_path: Path, stage: Stage, subject: int, name: str) -> Path:
    """One staged clip onto the disk."""
    quirks.write_clip(tmp_path, stage, next(s for s in stage.clips if (s.clip.subject, s.clip.name) == (subject, name)))
    return tmp_path


def frame_numbers(root: Path, below: str) -> list[int]:
    return sorted(int(re.findall(r"\d+", p.stem)[-1]) for p in (root / below).rglob("*.jpg"))


def test_casme2_clips_of_later_subjects(tmp_path: Path) -> None:
    stage = staged("casme2", 26, 1)
    write(tmp_path, stage, 16, "EP01_08")
    assert frame_numbers(tmp_path, "Cropped") == list(range(73, 97))
    assert frame_numbers(tmp_path, "CASME2_RAW_selected") == list(range(73, 111))
    row = next(row for row in stage.rows() if row.get("Filename") == "EP01_08")
    assert (row["OnsetFrame"], row["ApexFrame"], row["OffsetFrame"]) == (73, 94, 110)
    row = next(row for row in stage.rows() if row.get("Filename") == "EP06_01")
    assert (row["OnsetFrame"], row["OffsetFrame"]) == (56, 101)
    hidden = {(s.clip.subject, s.clip.name) for s in stage.clips if not s.labelled}
    assert hidden == {(9, "EP02_02f"), (24, "EP02_07")}
    assert not {"EP02_02f", "EP02_07"} & {row.get("Filename") for row in stage.rows() if row.get("Subject") in (9, 24)}
    (beyond,) = (note for note in stage.notes if note.quirk == "frames beyond the clip")
    extra = next(
        s for s in stage.clips if (stage.layout.name(s.clip.subject), s.clip.name) == (beyond.subject, beyond.clip)
    )
    assert extra.extra == (extra.clip.offset + 1,)


def test_samm(odd: dict[str, Path]) -> None:
    root, planted = odd["samm"], notes(odd["samm"])
    rows = list(
        openpyxl.load_workbook(root / "SAMM_Micro_FACS_Codes_v2.xlsx")["MICRO_ONLY"].iter_rows(values_only=True)
    )
    rows = rows[14:]
    assert [row[1] for row in rows if row[0] in (7, "007")] == ["007_6_1", "007_6_5"]
    assert [row[8] for row in rows if row[0] in (7, "007")] == ["R12+R15 or 17"] * 2
    assert {type(row[0]) for row in rows} == {int, str}
    assert {n["clip"] for n in planted if n["quirk"] == "subject cell is a number"} == {
        row[1] for row in rows if isinstance(row[0], int)
    }
    assert "Others" in {row[9] for row in rows}
    (beyond,) = (n for n in planted if n["quirk"] == "frames beyond the clip")
    row = next(row for row in rows if row[1] == beyond["clip"])
    assert frame_numbers(root, f"{beyond['subject']}/{beyond['clip']}") == list(range(row[3] - 5, row[5] + 6))
    crops = {p.parts[1] for p in map(Path, files(root / "SAMM_CROP"))}
    assert crops == {n["clip"] for n in planted if n["quirk"] == "crops beside"} and len(crops) == 3
    masks = root / "SYNTHETIC" / "masks_cropped"
    assert crops >= {p.name for p in masks.glob("*/*")} > set()


def test_samm_padding(tmp_path: Path) -> None:
    """Unpadded numbers that pass a power of ten: names sort otherwise than numbers."""
    stage = staged("samm", 29, 3)
    loose = {(s.clip.subject, s.clip.name) for s in stage.clips if s.clip.digits == 0}
    names = ("013_1_12", "013_1_8", "017_3_2", "026_1_1", "026_1_2", "035_7_2")
    assert loose == {(int(name[:3]), name) for name in names}
    root = write(tmp_path, stage, 17, "017_3_2")
    found = sorted(p.stem for p in (root / "017" / "017_3_2").iterdir())
    assert found[0] == "017_100" and {"017_95", "017_170"} <= set(found) and len(found) == 76
    last = next(row for row in stage.rows() if row["Filename"] == "013_1_9")
    assert last["Offset Frame"] > next(s.clip.offset for s in stage.clips if s.clip.name == "013_1_9") == 5739


def test_casme(odd: dict[str, Path]) -> None:
    root, rows = odd["casme"], cells(odd["casme"], "casme")
    by_name = {row["Filename"]: row for row in rows}
    assert [row["Filename"] for row in rows if row["Subject"] == 3] == ["EP07_1", "EP09_3"]
    assert by_name["EP07_1"]["OnsetF"] == 108
    assert frame_numbers(root, "CASME_raw_selected/sub03/EP07_1") == list(range(100, 150))
    assert [row["Emotion"] for row in rows].count("comtempt") == 1
    second = {n["clip"] for n in notes(root) if n["quirk"] == "second apex"}
    assert second == {row["Filename"] for row in rows if row["ApexF2"] is not None} and len(second) == 2


def test_casme3(odd: dict[str, Path]) -> None:
    root, rows, planted = odd["casme3"], cells(odd["casme3"], "casme3"), notes(odd["casme3"])
    assert openpyxl.load_workbook(root / HEADERS["casme3"][0]).sheetnames == ["Sheet1", "label"]
    assert [(row["Filename"], row["Onset"]) for row in rows[:2]] == [("a", 355), ("A", 402)]
    assert rows[1]["Offset"] - rows[1]["Onset"] + 1 == 4
    assert frame_numbers(root, "part_A/spNO.1/a/color") == list(range(350, 411))
    assert {"4,7", "1，2"} <= {row["AU"] for row in rows}
    assert {n["clip"].split("_")[0].upper() for n in planted if n["quirk"] == "letter case"} == {
        row["Filename"] for row in rows if row["Filename"].isupper()
    }
    (lost,) = (n for n in planted if n["quirk"] == "missing frame")
    number = int(lost["detail"].removeprefix("missing "))
    found = frame_numbers(root, f"part_A/{lost['subject']}/{lost['clip'][0]}/color")
    assert number not in found and {number - 1, number + 1} <= set(found)
    blurred = cv2.imread(str(root / "part_A/spNO.2/e/color/144.jpg"), cv2.IMREAD_COLOR_RGB)
    sharp = cv2.imread(str(root / "part_A/spNO.1/a/color/360.jpg"), cv2.IMREAD_COLOR_RGB)
    assert faces.find(sharp) is not None and faces.find(blurred) is None and faces.find(blurred, faces.LENIENT) is None


def test_casme3_recordings_that_need_many_subjects(tmp_path: Path) -> None:
    stage = staged("casme3", 94, 2)
    root = write(tmp_path, stage, 216, "e_0")
    assert frame_numbers(root, "part_A/spNO.216/e/color") == list(range(1, 29))
    offsets = [row["Offset"] for row in stage.rows() if row["Subject"] == "spNO.40"]
    assert offsets == [0, 0]


def test_4dme(odd: dict[str, Path]) -> None:
    rows = cells(odd["4dme"], "4dme")
    assert [(row["fold_name"], row["AUs"]) for row in rows[:2]] == [
        ("S49_001_01_1", "AU4+7+12"),
        ("S49_001_01_2", "AU4+7"),
    ]
    with (odd["4dme"] / "SYNTHETIC" / "clips.csv").open(newline="") as file:
        truth = Counter(row["clip"] for row in csv.DictReader(file))
    assert truth["S49_001_01_1"] == 2 and truth["S49_001_01_2"] == 3
    assert set(STRINGS["4dme"]) <= {row["AUs"] for row in rows}
    held = next(row for row in rows if row["AUs"] == "AU4(k)+7")
    assert (held["AU4"], held["AU7"]) == (0, 1)


def test_mmew(odd: dict[str, Path]) -> None:
    root, rows = odd["mmew"], cells(odd["mmew"], "mmew")
    by_name = {row["Filename"]: row for row in rows}
    for name, last in (("S04-01-001", 75), ("S04-02-002", 54)):
        (folder,) = (root / "Micro_Expression").glob(f"*/{name}")
        assert frame_numbers(root, str(folder.relative_to(root))) == list(range(1, last + 1))
        assert by_name[name]["OffsetFrame"] != last
    sheet = {row["Filename"]: row["Estimated Emotion"] for row in rows}
    folders = {p.name: p.parent.name for p in (root / "Micro_Expression").glob("*/*")}
    moved = {name for name in sheet if folders[name] != sheet[name]}
    assert moved == {n["clip"] for n in notes(root) if n["quirk"] == "emotion folder"}
    assert all(sheet[name] == "others" and folders[name] == "repression" for name in moved)
    stage = staged("mmew", 30, 4)
    where = {s.folder or s.clip.emotion for s in stage.clips if s.clip.emotion == "others"}
    assert where == {"others", "repression"}

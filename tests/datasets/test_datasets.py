"""The adapters on synthetic releases, and on annotations that must not be trusted."""

import datetime
import re
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from helpers import write_workbook
from hypothesis import given
from hypothesis import strategies as st

from aullm_lib import datasets
from aullm_lib.datasets import casme2 as casme2_adapter
from aullm_lib.datasets import documented, folders, workbook
from aullm_lib.datasets import table as tables


@pytest.fixture(scope="module")
def releases(session_folder):
    roots = {}
    for name in ("casme2", "samm"):
        root = session_folder / name
        roots[name] = datasets.synthesize(root, name, subjects=3, clips_per_subject=4, intensity=1.0, seed=5)
    return roots


@pytest.fixture
def casme2(releases, tmp_path):
    return shutil.copytree(releases["casme2"], tmp_path / "casme2", copy_function=shutil.copy)


def edit(path, change):
    book = openpyxl.load_workbook(path)
    change(book.worksheets[0])
    book.save(path)


@pytest.mark.parametrize("name", ["casme2", "samm"])
def test_a_synthetic_release_is_read_like_a_true_one(releases, name):
    table = datasets.load(name, releases[name])
    tables.check(table)
    assert len(table) == 12
    assert table["subject"].nunique() == 3
    assert table["synthetic"].all()
    assert (table["n_frames"] == table["offset"] - table["onset"] + 1).all()
    for frames in table["frames"]:
        numbers = [int(p.stem.replace("_", " ").replace("img", " ").split()[-1]) for p in frames]
        assert numbers == sorted(numbers)
    if name == "samm":
        assert table["subject"].str.fullmatch(r"\d{3}").all()
    else:
        assert table["apex"].isna().sum() == 1  # "/"


def test_labels_are_those_of_the_truth(releases):
    table = datasets.load("casme2", releases["casme2"])
    truth = pd.read_csv(releases["casme2"] / "SYNTHETIC" / "clips.csv", dtype={"subject": str})
    shown = {(s, c): set(g) for (s, c), g in truth.groupby(["subject", "clip"])["au"]}
    for row in table.itertuples():
        labels = {n for n in range(1, 46) if getattr(row, f"AU{n}", 0)}
        key = next(k for k in ((row.subject, row.clip), (row.subject[-2:], row.clip)) if k in shown or row.aus == "?")
        assert labels == {int(str(a).removeprefix("AU")) for a in shown.get(key, set())} - {45}


def test_raw_frames_and_nested_folders(casme2):
    raw = datasets.load("casme2", casme2, images="raw_selected")
    assert not raw["cropped"].any()
    (casme2 / "Cropped").rename(casme2 / "inner")
    (casme2 / "Cropped").mkdir()
    (casme2 / "inner").rename(casme2 / "Cropped" / "Cropped")
    nested = datasets.load("casme2", casme2)
    assert nested["cropped"].all()
    assert (nested["n_frames"] == raw["n_frames"]).all()
    (casme2 / "Cropped" / "Cropped").rename(casme2 / "Cropped" / "updated")
    (casme2 / "Cropped").rename(casme2 / "Cropped-updated")
    (casme2 / "Cropped-updated" / "updated").rename(casme2 / "Cropped-updated" / "Cropped")
    for path in (casme2 / "Cropped-updated" / "Cropped").iterdir():
        path.rename(path.with_name(str(int(path.name[3:]))))  # unpadded subjects
    assert (datasets.load("casme2", casme2)["n_frames"] == raw["n_frames"]).all()


@pytest.mark.parametrize("name", ["casme2", "samm"])
def test_a_release_below_the_root_is_found_and_still_known_as_synthetic(releases, tmp_path, name):
    (tmp_path / "disk" / "unpacked").mkdir(parents=True)
    (tmp_path / "disk" / "unpacked" / name).symlink_to(releases[name])
    table = datasets.load(name, tmp_path / "disk")
    assert table["synthetic"].all()
    assert (table["n_frames"] == datasets.load(name, releases[name])["n_frames"]).all()


def test_missing_frames_are_a_warning_that_names_the_clip(casme2):
    table = datasets.load("casme2", casme2)
    clip = table.index[5]
    table.loc[clip, "frames"][7].unlink()
    count = table.loc[clip, "n_frames"]
    with pytest.warns(UserWarning, match=f"1 clips lack frames .* first {clip} with {count - 1} of {count}"):
        datasets.load("casme2", casme2)


BAD_CELLS = [
    ("H2", "4+Q9", "row 2, Action Units: .*cannot read 'Q9'"),
    ("H2", "=1+3", "row 2, Action Units: .*cannot read '=1'"),
    ("D3", "soon", "row 3, OnsetFrame: expected a frame number .*, found 'soon'"),
    ("D3", "=41+5", r"row 3, OnsetFrame: expected a frame number .*, found '=41\+5'"),
    ("D3", datetime.datetime(2014, 5, 8), "row 3, OnsetFrame: expected a frame number .*, found .*2014"),
    ("D3", 46.5, "row 3, OnsetFrame: expected a frame number .*, found 46.5"),
    ("D3", -4, "row 3, OnsetFrame: expected a frame number .*, found -4"),
    ("D3", True, "row 3, OnsetFrame: expected a frame number .*, found True"),
    ("D3", 10**30, "row 3, OnsetFrame: expected a frame number"),
    ("D3", None, "row 3, OnsetFrame: expected a frame number, found an empty cell"),
    ("D3", 90000, "row 3, OffsetFrame: offset .* precedes its onset 90000"),
    ("A2", "subject one", "row 2, Subject: expected something like 12, found 'subject one'"),
    ("B2", "../../etc", "row 2: '../../etc' is not a plain file name"),
    ("B2", "/etc", "row 2: '/etc' is not a plain file name"),
    ("B2", "..", "row 2: '..' is not a plain file name"),
    ("B2", None, "row 2: '' is not a plain file name"),
    ("B4", "EP99_99", "row 4: no frame folder .*EP99_99"),
    ("F2", 1, "row 2, OffsetFrame: offset 1 precedes its onset"),
]


@pytest.mark.parametrize(("cell", "value", "message"), BAD_CELLS)
def test_a_bad_row_is_named_and_left_out_and_the_others_go_on(casme2, cell, value, message):
    edit(next(casme2.glob("*.xlsx")), lambda sheet: sheet.__setitem__(cell, value))
    with pytest.warns(UserWarning, match=message):
        release = datasets.read("casme2", casme2)
    assert len(release.table) == 11
    assert len(release.left_out) == 1
    assert release.left_out[0].startswith("CASME2-coding-20140508.xlsx, row ")


def test_a_clip_named_twice_counts_once(casme2):
    def repeat(sheet):
        for column in "ABDEFHI":
            sheet[f"{column}4"] = sheet[f"{column}2"].value

    edit(next(casme2.glob("*.xlsx")), repeat)
    with pytest.warns(UserWarning, match=r"row 4: clip sub01/.* is there already, from .*row 2 \(row left out\)"):
        assert len(datasets.load("casme2", casme2)) == 11


def test_a_sheet_without_one_usable_row_is_an_error(casme2):
    def spoil(sheet):
        for line in range(2, sheet.max_row + 1):
            sheet[f"D{line}"] = "?"

    edit(next(casme2.glob("*.xlsx")), spoil)
    with pytest.raises(tables.ReleaseError, match="row 2, OnsetFrame: expected a frame number"):
        datasets.load("casme2", casme2)


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        ("A1", "Person", r"row 1: no column 'Subject' \(found"),
        ("D1", "Onset Frames", r"no column 'OnsetFrame'; is it 'Onset Frames'\?"),
    ],
)
def test_a_renamed_column_is_an_error_that_lists_what_is_there(casme2, cell, value, message):
    edit(next(casme2.glob("*.xlsx")), lambda sheet: sheet.__setitem__(cell, value))
    with pytest.raises(tables.ReleaseError, match=message):
        datasets.load("casme2", casme2)


def test_links_that_lead_out_of_the_release_are_not_followed(casme2, tmp_path):
    table = datasets.load("casme2", casme2)
    inside, outside = table.iloc[0]["frames"][0].parent, table.iloc[1]["frames"][2]
    shutil.move(inside, tmp_path / "elsewhere")
    inside.symlink_to(tmp_path / "elsewhere")
    outside.unlink()
    outside.symlink_to(tmp_path / "elsewhere" / "secret.jpg")
    with pytest.warns(UserWarning, match="is a link that leads out of"):
        rest = datasets.read("casme2", casme2)
    assert list(rest.table.index) == list(table.index[2:])
    assert all("is a link that leads out of" in reason for reason in rest.left_out)


def test_what_systems_and_copies_leave_behind_is_not_taken_for_the_release(casme2):
    release = datasets.read("casme2", casme2)
    table = release.table
    (casme2 / "~$CASME2-coding-20190701.xlsx").write_bytes(b"lock")
    junk = casme2 / "__MACOSX" / "Cropped" / "sub01" / "EP01_01"
    junk.mkdir(parents=True)
    folder = table.iloc[0]["frames"][0].parent
    (folder / f"._{table.iloc[0]['frames'][0].name}").write_bytes(b"junk")
    (folder / "Thumbs.db").write_bytes(b"junk")
    again = datasets.read("casme2", casme2)
    assert again.table.equals(table)
    assert replace(again, table=table) == release


def test_upper_case_and_renumbered_copies_are_read(casme2):
    table = datasets.load("casme2", casme2)
    for path in sorted(casme2.rglob("*"), key=lambda p: -len(p.parts)):
        if "SYNTHETIC" not in path.parts:
            path.rename(path.with_name(path.name.upper()))
    assert (datasets.load("casme2", casme2)["n_frames"] == table["n_frames"]).all()
    folder = datasets.load("casme2", casme2).iloc[0]["frames"][0].parent
    for number, path in enumerate(folders.numbered(folder)[0].values(), 1):
        path.rename(folder / f"{number:03d}.JPG")
    again = datasets.load("casme2", casme2)
    assert (again["n_frames"] == table["n_frames"]).all()
    assert [folders.frame_number(p.name) for p in again.iloc[0]["frames"][:3]] == [1, 2, 3]


def test_whole_recordings_are_cut_to_the_clip(casme2):
    table = datasets.load("casme2", casme2, images="raw_selected")
    first = table.iloc[0]
    folder = first["frames"][0].parent
    for number in (first["onset"] - 1, first["offset"] + 1, first["offset"] + 2):
        shutil.copy(first["frames"][0], folder / f"img{number}.jpg")
    shutil.rmtree(casme2 / "Cropped")
    (casme2 / "CASME2_RAW").mkdir()
    (casme2 / "CASME2_RAW_selected").rename(casme2 / "CASME2_RAW" / "CASME2-RAW")
    raw = datasets.read("casme2", casme2)
    assert raw.options["images"] == "raw"
    assert not raw.table["cropped"].any()
    assert (raw.table["n_frames"] == table["n_frames"]).all()
    with pytest.raises(FileNotFoundError, match=r"found no CASME II frame folder \(cropped\)"):
        datasets.load("casme2", casme2, images="cropped")
    with pytest.raises(ValueError, match="choose one of cropped, raw_selected, raw"):
        datasets.load("casme2", casme2, images="faces")


@given(st.binary(max_size=300), st.integers(0, 2**31), st.booleans())
def test_damaged_workbooks_are_refused_by_name(tmp_path_factory, noise, seed, insert):
    path = tmp_path_factory.mktemp("book") / "CASME2-coding-20140508.xlsx"
    book = openpyxl.Workbook()
    book.worksheets[0].append(["Subject", "Filename", "OnsetFrame"])
    book.worksheets[0].append([1, "EP01_01", 46])
    book.save(path)
    whole = path.read_bytes()
    at = seed % len(whole)
    path.write_bytes(whole[:at] + noise + whole[at if insert else at + len(noise) :])
    try:
        rows = workbook.read_sheet(path, {"subject": "Subject", "clip": "Filename"})
    except tables.ReleaseError as error:
        assert path.name in str(error)
    else:
        assert all(row.where.startswith(f"{path.name}, row ") for row in rows)


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.datetimes(), st.just("../x")
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS, CELLS, CELLS), min_size=1, max_size=4))
def test_any_cells_are_read_or_left_out(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("release")
    folder = root / "Cropped" / "sub01" / "EP01_01"
    folder.mkdir(parents=True)
    (folder / "reg_img5.jpg").write_bytes(b"")
    columns = dict(zip(("subject", "clip", "onset", "apex", "offset", "aus"), "ABCDEF", strict=True))
    columns["emotion"] = "G"
    good = {"subject": 1, "clip": "EP01_01", "onset": 5, "apex": None, "offset": 5, "aus": 4, "emotion": "others"}
    sheet = [workbook.Row(good, "book.xlsx, row 2", columns)]
    for line, values in enumerate(rows, 3):
        record = dict(zip(columns, (*values, "x"), strict=True))
        sheet.append(workbook.Row(record, f"book.xlsx, row {line}", columns))
    clips = folders.two_deep(root / "Cropped", casme2_adapter.key)
    sources = folders.Sources(root / "book.xlsx", sheet, "cropped", clips)
    release = tables.collect("casme2", sources, casme2_adapter.identify, root=root, options={"errata": True})
    assert len(release.table) + len(release.left_out) == 1 + len(rows)
    assert all(re.match(r"book.xlsx, row \d", reason) for reason in release.left_out)


def test_not_a_workbook_missing_files_and_unknown_names(casme2, tmp_path):
    book = next(casme2.glob("*.xlsx"))
    book.write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(tables.ReleaseError, match="not a readable Excel workbook"):
        datasets.load("casme2", casme2)
    book.unlink()
    with pytest.raises(FileNotFoundError, match="found no CASME II workbook"):
        datasets.load("casme2", casme2)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        datasets.load("samm", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="unknown release 'smic'; known: 4dme, casme, casme2, casme3, mmew, samm"):
        datasets.load("smic", casme2)
    with pytest.raises(ValueError, match="variants 246"):
        datasets.load("casme2", casme2, variant=250)


def test_a_count_that_differs_from_the_variant_is_a_warning(casme2):
    with pytest.warns(UserWarning, match="12 clips where the released sheet .* has 255"):
        assert len(datasets.load("casme2", casme2, variant=255)) == 12


def test_the_schema_check_names_the_first_offender(hand_table):
    for change, message in [
        (lambda t: t.drop(columns="apex"), r"lacks the columns \['apex'\]"),
        (lambda t: t.rename(index={t.index[1]: t.index[0]}), "occurs twice"),
        (lambda t: t.assign(subject=1), "subject is 1, expected text"),
        (lambda t: t.assign(AU4=2), "AU4 is 2, expected 0 or 1"),
        (lambda t: t.assign(AU3=0), "FACS has no such"),
        (lambda t: t.assign(n_frames=3), "n_frames"),
        (lambda t: t.rename(index={t.index[0]: "x/y/z"}), "is not its dataset/subject/clip"),
    ]:
        with pytest.raises(tables.ReleaseError, match=message):
            tables.check(change(hand_table))


def test_the_frame_folder_that_holds_the_clips_is_taken(releases, tmp_path):
    """Beside other releases and trees of the same shape, and where the preferred kind is only partly there."""
    disk = tmp_path / "disk"
    for name in releases:
        shutil.copytree(releases[name], disk / name.upper(), copy_function=shutil.copy)
    (disk / "ALPHA" / "Cropped").mkdir(parents=True)  # another release's frames, first by name
    for subject in ("sub01", "sub02"):
        clip = disk / "ALPHA" / "Cropped" / subject / "EP99_01"
        clip.mkdir(parents=True)
        (clip / "1.jpg").write_bytes(b"")
    shutil.copytree(disk / "SAMM", disk / "OpticalFlow", ignore=shutil.ignore_patterns("*.xlsx"))
    release = datasets.read("casme2", disk)
    assert release.folder == "CASME2/Cropped" and len(release.table) == 12
    assert {"ALPHA/Cropped", "CASME2/CASME2_RAW_selected"} <= set(release.passed_over)
    samm = datasets.read("samm", disk)
    assert samm.folder == "SAMM"
    assert "OpticalFlow" in samm.passed_over


def test_an_empty_or_partial_copy_does_not_hide_the_full_one(casme2):
    cropped = casme2 / "Cropped"
    cropped.rename(casme2 / "inner")
    cropped.mkdir()
    (casme2 / "inner").rename(cropped / "Cropped")
    (cropped / "sub01").mkdir()
    assert datasets.read("casme2", casme2).folder == "Cropped/Cropped"
    for subject in sorted((cropped / "Cropped").iterdir())[1:]:
        shutil.rmtree(subject)
    with pytest.warns(
        UserWarning, match="took the raw_selected frames in .* with 12 .* not the cropped ones in .* with 4"
    ):
        release = datasets.read("casme2", casme2)
    assert release.options["images"] == "raw_selected" and len(release.table) == 12
    with pytest.warns(UserWarning, match="of 8 rows left out"):
        assert len(datasets.load("casme2", casme2, images="cropped")) == 4
    shutil.rmtree(cropped / "Cropped" / "sub01")
    assert datasets.read("casme2", casme2).options["images"] == "raw_selected"


@pytest.mark.parametrize("name", ["2", "02", "sub02", "1/release", "01/2"])
def test_a_root_or_a_folder_around_a_release_may_be_named_like_a_subject(casme2, tmp_path, name):
    place = tmp_path / "disk" / name
    place.parent.mkdir(parents=True)
    casme2.rename(place)
    assert len(datasets.load("casme2", place)) == len(datasets.load("casme2", tmp_path / "disk")) == 12


def test_several_workbooks_are_named(casme2):
    book = next(casme2.glob("CASME2-coding*"))
    shutil.copy(book, casme2 / "CASME2-coding-20190701.xlsx")
    release = datasets.read("casme2", casme2)
    assert release.workbook == "CASME2-coding-20190701.xlsx"
    assert release.passed_over == [book.name, "CASME2_RAW_selected"]


@pytest.mark.parametrize("moved", ["CASME2-coding-20140508.xlsx", "Cropped"])
def test_a_synthetic_release_stays_one_wherever_its_parts_lie(casme2, tmp_path, moved):
    (casme2 / "inner").mkdir()
    (casme2 / moved).rename(casme2 / "inner" / moved)
    assert datasets.read("casme2", casme2).synthetic
    outside = tmp_path / "outside"
    outside.mkdir()
    (casme2 / "inner" / moved).rename(outside / moved)
    (outside / "rest").symlink_to(casme2)
    assert datasets.read("casme2", outside, images="cropped").synthetic
    shutil.rmtree(casme2 / "SYNTHETIC")
    with pytest.warns(UserWarning, match="12 clips where the released sheet"):
        assert not datasets.read("casme2", outside, images="cropped").synthetic


def test_closed_folders_are_passed_by_and_a_closed_clip_is_left_out_by_name(casme2, monkeypatch):
    table = datasets.load("casme2", casme2)
    closed = {casme2 / "lost+found", table.iloc[2]["frames"][0].parent}
    (casme2 / "lost+found").mkdir()
    scan = folders.os.scandir

    def scandir(path):
        if Path(path) in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(folders.os, "scandir", scandir)
    with pytest.warns(UserWarning, match=r"row \d+: .*cannot be listed \(Permission denied\) \(row left out\)"):
        rest = datasets.load("casme2", casme2)
    assert list(rest.index) == [clip for i, clip in enumerate(table.index) if i != 2]


def test_a_broken_link_or_a_folder_is_no_frame(casme2):
    table = datasets.load("casme2", casme2)
    link, folder = (table.iloc[i]["frames"][3] for i in (0, 1))
    link.unlink()
    link.symlink_to("nowhere.jpg")
    folder.unlink()
    folder.mkdir()
    with pytest.warns(UserWarning, match="2 clips lack frames"):
        again = datasets.load("casme2", casme2)
    assert list(table["n_frames"] - again["n_frames"]) == [1, 1] + [0] * 10


def put(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_renumbered_copies_with_a_low_onset_are_taken_whole(tmp_path):
    folder = put(tmp_path / "a", *(f"img{n}.jpg" for n in range(1, 53)))
    assert len(folders.frames(folder, 20, 71)) == 52
    assert [folders.frame_number(p.name) for p in folders.frames(folder, 2, 40)] == list(range(2, 41))
    assert len(folders.frames(folder, 1, 52)) == 52
    assert not folders.frames(folder, 200, 250)  # 51 frames are not 52


def test_a_clip_numbered_anew_is_taken_whole_or_left_out_never_shifted(tmp_path):
    short = put(tmp_path / "short", *(f"{n}.jpg" for n in range(1, 52)))  # one image less than the clip
    hole = put(tmp_path / "hole", *(f"{n}.jpg" for n in range(53) if n != 7))
    few = put(tmp_path / "few", *(f"{n}.jpg" for n in range(1, 41)))
    many = put(tmp_path / "many", *(f"{n}.jpg" for n in range(1, 61)))
    moved = put(tmp_path / "moved", *(f"{n}.jpg" for n in range(45, 97)))
    recording = put(tmp_path / "recording", *(f"{n}.jpg" for n in range(1, 200)))
    assert len(folders.frames(short, 39, 90)) == 51 and len(folders.frames(hole, 39, 91)) == 52
    for folder in (few, many, moved):
        with pytest.raises(tables.ReleaseError, match="numbered anew, it seems, so which is which cannot be told"):
            folders.frames(folder, 39, 90)
    assert [path.stem for path in folders.frames(recording, 39, 90)] == [str(n) for n in range(39, 91)]


def test_of_two_files_with_one_number_the_one_named_like_most_counts(tmp_path):
    folder = put(tmp_path / "a", *(f"reg_img{n}.jpg" for n in range(38, 48)), "img39.jpg")
    found, rest = folders.numbered(folder)
    assert {p.name for p in found.values()} == {f"reg_img{n}.jpg" for n in range(38, 48)} and rest == ["img39.jpg"]
    folder = put(tmp_path / "b", "1.jpg", "3.jpg", "4.jpg", "1 (2).jpg")
    assert folders.numbered(folder) == ({n: folder / f"{n}.jpg" for n in (1, 3, 4)}, ["1 (2).jpg"])
    folder = put(tmp_path / "c", "img (1).jpg", "img (2).jpg")
    assert list(folders.numbered(folder)[0]) == [1, 2]


def test_an_apex_that_cannot_be_read_is_missing_and_reported(casme2):
    edit(next(casme2.glob("*.xlsx")), lambda sheet: sheet.__setitem__("E3", "late"))
    release = datasets.read("casme2", casme2)
    assert len(release.table) == 12 and release.table.iloc[1]["apex"] is pd.NA
    assert any("row 3, ApexFrame: expected a frame number (0 or more), found 'late'" in n for n in release.notes)


def test_the_clips_of_a_sheet_are_held_against_its_own_version(casme2):
    def extra(sheet):
        sheet["A2"], sheet["B2"] = 24, "EP02_07"

    assert datasets.read("casme2", casme2).version == 255
    edit(next(casme2.glob("*.xlsx")), extra)
    with pytest.warns(UserWarning, match=r"row 2: no frame folder 24/EP02_07"):
        release = datasets.read("casme2", casme2)  # one row of that sheet left out
    assert documented.counts("casme2", release.version).clips == release.version == 256


COLUMNS = {"subject": "Subject", "clip": "Filename", "onset": "Onset"}


def test_the_sheet_with_the_header_is_found_and_the_named_one_comes_first(tmp_path):
    good = [["Subject", "Filename", "Onset"], [1, "a", 5]]
    other = [["notes"], ["Subject", "Filename", "Onset"], [2, "b", 6]]
    path = write_workbook(tmp_path / "a.xlsx", readme=[["notes"]], empty=[], data=good, label=other)
    assert workbook.read_sheet(path, COLUMNS)[0]["clip"] == "a"
    row = workbook.read_sheet(path, COLUMNS, sheet="LABEL")[0]
    assert row["clip"] == "b" and row.where == "a.xlsx, row 3"
    assert workbook.read_sheet(path, COLUMNS, sheet="readme")[0]["clip"] == "a"
    path = write_workbook(tmp_path / "b.xlsx", readme=[["notes"]])
    with pytest.raises(tables.ReleaseError, match=r"b\.xlsx: no header row"):
        workbook.read_sheet(path, COLUMNS)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    path = write_workbook(tmp_path / "a.xlsx", data=[["Subject", "Filename", "Onset", "on set"], [1, "a", 5, 6]])
    with pytest.raises(tables.ReleaseError, match=r"a\.xlsx, row 1: 2 columns 'Onset'"):
        workbook.read_sheet(path, COLUMNS)


def test_a_stray_cell_in_the_last_corner_needs_no_memory(tmp_path):
    path = write_workbook(tmp_path / "a.xlsx", data=[["Subject", "Filename", "Onset"], [1, "a", 5]])
    edit(path, lambda sheet: sheet.__setitem__("XFD60000", "x"))  # the last column; more rows only take longer
    tracemalloc.start()
    try:
        assert len(workbook.read_sheet(path, COLUMNS)) == 1
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()

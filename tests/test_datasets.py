"""The adapters on synthetic releases, and on annotations that must not be trusted."""

import shutil

import openpyxl
import pandas as pd
import pytest

from aullm_lib import datasets
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


def edit(workbook, change):
    book = openpyxl.load_workbook(workbook)
    change(book.worksheets[0])
    book.save(workbook)


@pytest.mark.parametrize("name", ["casme2", "samm"])
def test_a_synthetic_release_is_read_like_a_true_one(releases, name):
    table = datasets.load(name, releases[name])
    tables.check(table)
    assert len(table) == 12
    assert table["subject"].nunique() == 3
    assert table.attrs["synthetic"]
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
    assert not raw.attrs["cropped"]
    (casme2 / "Cropped").rename(casme2 / "inner")
    (casme2 / "Cropped").mkdir()
    (casme2 / "inner").rename(casme2 / "Cropped" / "Cropped")
    nested = datasets.load("casme2", casme2)
    assert nested.attrs["cropped"]
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
    assert table.attrs["synthetic"]
    assert (table["n_frames"] == datasets.load(name, releases[name])["n_frames"]).all()


def test_missing_frames_are_a_warning_that_names_the_clip(casme2):
    table = datasets.load("casme2", casme2)
    clip = table.index[5]
    table.loc[clip, "frames"][7].unlink()
    count = table.loc[clip, "n_frames"]
    with pytest.warns(UserWarning, match=f"1 clips lack frames .* first {clip} with {count - 1} of {count}"):
        datasets.load("casme2", casme2)


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        ("H2", "4+Q9", "row 2, Action Units: .*cannot read 'Q9'"),
        ("D3", "soon", "row 3, OnsetFrame: expected a frame number, found 'soon'"),
        ("B2", "../../etc", "row 2: '../../etc' is not a plain file name"),
        ("B2", "/etc", "row 2: '/etc' is not a plain file name"),
        ("B4", "EP99_99", "row 4: no frame folder .*EP99_99"),
        ("A1", "Person", "no column 'Subject'"),
        ("F2", 1, "precedes its onset"),
    ],
)
def test_bad_annotations_name_file_row_and_field(casme2, cell, value, message):
    workbook = next(casme2.glob("*.xlsx"))
    edit(workbook, lambda sheet: sheet.__setitem__(cell, value))
    with pytest.raises(tables.ReleaseError, match=message):
        datasets.load("casme2", casme2)


def test_not_a_workbook_missing_files_and_unknown_names(casme2, tmp_path):
    workbook = next(casme2.glob("*.xlsx"))
    workbook.write_bytes(b"PK\x03\x04 no workbook")
    with pytest.raises(tables.ReleaseError, match="not a readable Excel workbook"):
        datasets.load("casme2", casme2)
    workbook.unlink()
    with pytest.raises(FileNotFoundError, match="found no CASME II coding workbook"):
        datasets.load("casme2", casme2)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        datasets.load("samm", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="unknown release 'casme3'; known: casme2, samm"):
        datasets.load("casme3", casme2)
    with pytest.raises(ValueError, match="variants 246"):
        datasets.load("casme2", casme2, variant=250)


def test_a_count_that_differs_from_the_variant_is_a_warning(casme2):
    with pytest.warns(UserWarning, match="12 clips where variant 255 has 255"):
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

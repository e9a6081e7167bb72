"""Workbooks as people have them: hidden and several sheets, odd headers and characters, bounds."""

import datetime
import time
import tracemalloc
import zipfile

import openpyxl
import pytest
from helpers import write_workbook

from aullm_lib.datasets import workbook
from aullm_lib.datasets.workbook import ReleaseError

COLUMNS = {"subject": "Subject", "clip": "Filename", "onset": "OnsetFrame", "aus": "Action Units"}
HEADER, LINE = list(COLUMNS.values()), [1, "EP01_01", 46, "4+R7"]
VALUES = {"subject": 1, "clip": "EP01_01", "onset": 46, "aus": "4+R7"}


def values(row):
    return {field: workbook.text(row[field]) for field in COLUMNS}


@pytest.mark.parametrize(
    "lines",
    [
        [[f"{name}\n(中文)" for name in HEADER], LINE],
        [["被试 Subject", "文件名/Filename", "Onset Frame 起始帧", "动作单元（Action Units）"], LINE],
        [["Subject (ID)", "Filename, as filmed", "OnsetFrame [first]", "Action Units: FACS"], LINE],
        [["\ufeffSubject", "File\u200bname", "Onset\xa0Frame", "Action  Units"], LINE],
        [["Ｓｕｂｊｅｃｔ", "Filename", "ONSET_FRAME", "action-units"], LINE],
        [["被试", "文件", "起始", "单元"], HEADER, LINE],
        [["Subject", "Filename", "Onset", "Action"], [None, None, "Frame", "Units"], LINE],
        [["Subject", "Filename", None, None], [None, None, "OnsetFrame", "Action Units"], LINE],
        [["Notes"], [], ["Clip", None, "Codes"], HEADER, [], LINE],
    ],
)
def test_headers_in_two_languages_two_rows_and_with_what_nobody_sees(tmp_path, lines):
    rows = workbook.read_sheet(write_workbook(tmp_path / "a.xlsx", codes=lines), COLUMNS)
    assert [values(row) for row in rows] == [{k: str(v) for k, v in VALUES.items()}]
    assert rows[0].where == f"a.xlsx, row {len(lines)}"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("EP01_01\u200b", "EP01_01"), ("\ufeffEP01_01", "EP01_01"), ("EP01\u00ad_01", "EP01_01"),
        ("\xa0EP01_01\xa0", "EP01_01"),
        ("ＥＰ０１＿０１", "EP01_01"), ("\u200e46\u200f", "46"), ("46.0", "46"), ("46.00", "46"), (46.0, "46"),
        ("４６", "46"),
        ("4 +\u2009R7", "4 + R7"), ("46.5", "46.5"), ("１．０", "1"),
    ],
)  # fmt: skip
def test_cells_are_read_without_what_nobody_sees(tmp_path, cell, text):
    path = write_workbook(tmp_path / "a.xlsx", codes=[HEADER, [1, cell, cell, cell]])
    row = workbook.read_sheet(path, COLUMNS)[0]
    assert workbook.text(row["clip"]) == text == workbook.text(row["aus"])
    if text.isdigit():
        assert workbook.number(row["onset"], row.at("onset")) == int(text)


def test_the_visible_sheet_counts_and_the_hidden_and_the_other_are_said(tmp_path):
    path = write_workbook(tmp_path / "a.xlsx", old=[HEADER, [9, *LINE[1:]]], new=[HEADER, LINE], copy=[HEADER, LINE])
    for state in ("hidden", "veryHidden"):
        made = openpyxl.load_workbook(path)
        made["old"].sheet_state = state
        made.active = 1
        made.save(path)
        rows = workbook.read_sheet(path, COLUMNS, sheet="old")
        assert rows.sheet == "new" and workbook.text(rows[0]["subject"]) == "1"
        assert {"'old'", "'copy'"} <= {word.strip(",;") for note in rows.notes for word in note.split()}
    made = openpyxl.load_workbook(path)
    for name in ("new", "copy"):
        del made[name]
    made.create_sheet("notes")["A1"] = "Subject"
    made.save(path)
    rows = workbook.read_sheet(path, COLUMNS)
    assert rows.sheet == "old" and any("'old' is hidden" in note for note in rows.notes)


def test_rows_that_a_filter_hides_are_read_and_said(tmp_path):
    path = write_workbook(tmp_path / "a.xlsx", codes=[HEADER, *[[n, *LINE[1:]] for n in range(1, 8)]])
    made = openpyxl.load_workbook(path)
    page = made["codes"]
    page.auto_filter.ref = "A1:D8"
    for line in (3, 5, 6):
        page.row_dimensions[line].hidden = True
    made.save(path)
    rows = workbook.read_sheet(path, COLUMNS)
    assert len(rows) == 7 and rows.notes == ["a.xlsx: 3 hidden rows (a filter?) were read like the others"]


def test_strict_open_xml_is_read(tmp_path):
    path = write_workbook(tmp_path / "a.xlsx", codes=[HEADER, LINE])
    plain = workbook.read_sheet(path, COLUMNS)
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(path, "w") as packed:
        for name, part in parts.items():
            for word in (b"spreadsheetml", b"officeDocument"):
                part = part.replace(
                    b"http://schemas.openxmlformats.org/" + word + b"/2006/",
                    b"http://purl.oclc.org/ooxml/" + word + b"/",
                )
            packed.writestr(name, part)
    assert b"purl.oclc.org" in zipfile.ZipFile(path).read("xl/workbook.xml")
    assert [row.cells for row in workbook.read_sheet(path, COLUMNS)] == [row.cells for row in plain]


def test_a_date_that_excel_made_is_said(tmp_path):
    rows = workbook.read_sheet(
        write_workbook(tmp_path / "a.xlsx", codes=[HEADER, [1, "EP01_01", datetime.datetime(2024, 4, 12), "4"]]),
        COLUMNS,
    )
    with pytest.raises(ReleaseError, match=r"row 2, OnsetFrame: .*Excel made a date of it: format the cell as text"):
        workbook.number(rows[0]["onset"], rows[0].at("onset"))


def test_a_frame_number_has_a_bound():
    assert workbook.number("1000000", "x") == 1_000_000
    for value in (1_000_001, 10**9 - 1, 10**9, "9" * 5000, 1e300):
        with pytest.raises(ReleaseError, match=r"^x: ") as raised:
            workbook.number(value, "x")
        assert len(str(raised.value)) < 300


def test_cells_rows_and_workbooks_have_bounds(tmp_path, monkeypatch):
    rows = workbook.read_sheet(write_workbook(tmp_path / "a.xlsx", codes=[HEADER, [1, "E" * 30_000, 46, "4"]]), COLUMNS)
    with pytest.raises(ReleaseError, match="row 2, Filename: more than 500 characters"):
        _ = rows[0]["clip"]
    monkeypatch.setattr(workbook, "ROWS", 20)
    with pytest.raises(ReleaseError, match="more than 20 annotated rows"):
        workbook.read_sheet(write_workbook(tmp_path / "b.xlsx", codes=[HEADER, *[LINE] * 30]), COLUMNS)
    path = write_workbook(tmp_path / "c.xlsx", codes=[HEADER, LINE])
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as packed,
        packed.open("xl/more.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(200):
            part.write(b"x" * 2**20)
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises(ReleaseError, match=r"c\.xlsx: .* MB unpacked"):
            workbook.read_sheet(path, COLUMNS)
        assert tracemalloc.get_traced_memory()[1] < 5e6 and time.perf_counter() - started < 5
    finally:
        tracemalloc.stop()

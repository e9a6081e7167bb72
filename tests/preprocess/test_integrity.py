"""What the integrity report finds, against the quirks that were planted in synthetic releases, and by hand."""

import os
import shutil
import warnings
from dataclasses import replace

import openpyxl
import pandas as pd
import pytest
import quirks
from helpers import make_table

from aullm_lib import datasets, facs, metrics, preprocess
from aullm_lib.datasets import Release, documented, errata
from aullm_lib.datasets.workbook import Row
from aullm_lib.preprocess import integrity

SIZES = {"casme2": (26, 1), "samm": (29, 2), "casme": (13, 3), "casme3": (4, 3), "4dme": (6, 3), "mmew": (13, 1)}


@pytest.fixture(scope="module")
def quirky(session_folder):
    """A synthetic release with every quirk of the true one, by name; and what was planted in it."""
    made = {}

    def get(name):
        if name not in made:
            subjects, clips = SIZES[name]
            folder = session_folder / "quirks" / name
            made[name] = quirks.synthesize(folder, name, subjects=subjects, clips_per_subject=clips, seed=3)
        return made[name], pd.read_csv(made[name] / "SYNTHETIC" / "quirks.csv", dtype=str, keep_default_na=False)

    return get


def read(name, root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the report has what they say
        return datasets.read(name, root, **options)


def items(report, check):
    return set(report.loc[(report["check"] == check) & (report["item"] != "none"), "item"])


def planted(quirks, kind, dataset):
    rows = quirks[quirks["quirk"] == kind]
    return {f"{dataset}/{row.subject}/{row.clip}" for row in rows.itertuples()}


@pytest.fixture(scope="module")
def casme2(quirky):
    root, quirks = quirky("casme2")
    release = read("casme2", root)
    return root, quirks, release, integrity.report(release)


def test_casme2_every_planted_quirk_is_found(casme2):
    _, quirks, release, report = casme2
    table = release.table
    assert items(report, "frames missing") == planted(quirks, "missing frame", "casme2")
    assert items(report, "image unreadable") == planted(quirks, "truncated image", "casme2")
    copied = quirks[quirks["quirk"] == "duplicate clip"].iloc[0]
    original = "casme2/" + copied["detail"].split()[-1]
    twins = f"{original} and casme2/{copied['subject']}/{copied['clip']}"
    assert items(report, "same frames, two subjects") == {twins}
    row = report[report["item"] == twins].iloc[0]
    assert row["found"] == table.loc[original, "n_frames"]
    assert row["status"] == "warning" and "leak between folds" in row["detail"]
    assert items(report, "folder without a row") == {"sub09/EP02_02f", "sub24/EP02_07"}
    assert items(report, "erratum applied") == {
        "sub04/EP12_01f", "sub05/EP09_05f", "sub07/EP06_01", "sub16/EP01_08"
    }  # fmt: skip
    assert not items(report, "apex missing") and not items(report, "apex outside onset and offset")
    assert (table["subject"].str.fullmatch(r"sub\d\d")).all()
    source = report[report["check"] == "source"].set_index("item")["found"]
    assert source["workbook"] == "CASME2-coding-20190701.xlsx"
    assert source["folder"] == "Cropped/Cropped"
    assert source["images"] == "cropped"


def test_casme2_without_errata_says_what_is_odd(casme2):
    root, _, release, _ = casme2
    corrected = release.table
    report = integrity.report(read("casme2", root, errata=False))
    assert items(report, "apex missing") == {"casme2/sub04/EP12_01f"}
    assert items(report, "apex at the onset") == {"casme2/sub05/EP09_05f"}
    assert {"casme2/sub07/EP06_01", "casme2/sub16/EP01_08"} < items(report, "frames missing")
    assert not items(report, "erratum applied")
    assert corrected.loc["casme2/sub04/EP12_01f", "apex"] == 279
    assert corrected.loc["casme2/sub16/EP01_08", ["onset", "apex", "offset"]].tolist() == [73, 88, 96]
    assert corrected.loc["casme2/sub07/EP06_01", "offset"] == 91


def test_casme2_extra_frames_are_seen_where_folders_hold_only_the_clip(casme2):
    root, quirks, _, _ = casme2
    extra = items(integrity.report(read("casme2", root, images="raw_selected")), "frames extra")
    assert extra == planted(quirks, "frames beyond the clip", "casme2") | {"casme2/sub16/EP01_08"}


def test_casme2_variants_drop_rare_emotions_and_the_unlabelled_folders_stay_known(casme2):
    root, quirks, release, _ = casme2
    rare = planted(quirks, "rare emotion", "casme2")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fewer = datasets.read("casme2", root, variant=246)
    assert any("25 clips where the released sheet without sadness and fear" in str(w.message) for w in said)
    assert set(release.table.index) - set(fewer.table.index) == rare and len(rare) == 2
    assert fewer.options["variant"] == fewer.version == 246
    assert fewer.unlabelled == release.unlabelled


def test_samm_every_planted_quirk_is_found(quirky):
    root, quirks = quirky("samm")
    release = read("samm", root)
    table, report = release.table, integrity.report(release)
    assert table["subject"].str.fullmatch(r"\d{3}").all() and table["subject"].nunique() == 29
    assert (table["n_frames"] == table["offset"] - table["onset"] + 1).all()
    beyond = {clip.split("/")[-1] for clip in items(report, "frames extra")}
    assert beyond == set(quirks.loc[quirks["quirk"] == "frames beyond the clip", "clip"]) and beyond
    assert items(report, "erratum applied") == {"013/013_1_9", "028/028_4_1", "032/032_3_1", "032/032_3_2"}
    assert table.loc["samm/013/013_1_9", "offset"] == 5739
    assert not items(report, "apex outside onset and offset")
    raw = integrity.report(read("samm", root, errata=False))
    assert items(raw, "apex outside onset and offset") == {"samm/028/028_4_1", "samm/032/032_3_1"}
    assert items(raw, "frames missing") == {"samm/013/013_1_9"}


def shown(table, clip):
    return {int(c[2:]) for c in table.columns if c.startswith("AU") and table.loc[clip, c]}


def test_samm_switches(quirky):
    root, _ = quirky("samm")
    flow, first, both = (read("samm", root, alternatives=a).table for a in ("flow", "first", "any"))
    assert [shown(t, "samm/035/035_7_2") for t in (flow, first, both)] == [{14}, {14}, {14, 17}]
    assert [shown(t, "samm/007/007_6_1") for t in (flow, first, both)] == [{12, 15}, {12, 15}, {12, 15, 17}]
    table, without = flow, read("samm", root, count_ref=False)
    clip = table.index[table["aus"] == "ref(7B)+43"][0]
    assert shown(table, clip) == {7, 43} and shown(without.table, clip) == {43}
    assert without.options["count_ref"] is False
    with pytest.raises(ValueError, match="choose one of flow, first, any"):
        datasets.load("samm", root, alternatives="last")
    crops = read("samm", root, images="cropped")
    assert crops.table["cropped"].all() and len(crops.table) < len(table) and crops.left_out


def test_casme3_errata_find_their_rows_among_several_of_one_name(tmp_path):
    """spNO.40/e has two rows whose offset is 0; the sheet's onset tells them apart."""
    book = openpyxl.Workbook()
    rows = [(40, "e", 1812, 1824, 0), (40, "e", 2327, 2363, 0), (40, "E", 500, 505, 510), (149, "d", 112, 83, 358),
            (216, "e", 0, 0, 25), (216, "d", 1, 2668, 2694), (214, "c", 5, 5, 0)]  # fmt: skip
    book.worksheets[0].append(["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"])
    for subject, *numbers in rows:
        book.worksheets[0].append([f"spNO.{subject}", *numbers, "4", 1, "fear"])
    book.save(tmp_path / "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx")
    wanted = {"40/e_1812": (1812, 1824, 1845), "40/e_2327": (2327, 2363, 2403), "40/e_500": (500, 505, 510),
              "149/d_112": (112, 123, 358), "216/e_0": (1, 1, 25), "216/d_1": (2647, 2668, 2694),
              "214/c_5": (5, 5, 34)}  # fmt: skip
    for clip, (onset, _, offset) in wanted.items():
        subject, letter = clip.split("_")[0].split("/")
        folder = tmp_path / "part_A" / f"spNo.{subject}" / letter / "color"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(onset, offset + 1):
            (folder / f"{number}.jpg").write_bytes(b"")
    release = read("casme3", tmp_path)
    assert not release.left_out and len(release.applied) == 7
    found = {f"{r.subject[5:]}/{r.clip}": (r.onset, r.apex, r.offset) for r in release.table.itertuples()}
    assert found == wanted


def test_an_erratum_replaces_only_what_it_says():
    columns = dict.fromkeys(("subject", "clip", "onset", "apex", "offset", "aus"), "")
    for release, fixes in errata.ERRATA.items():
        for fix in fixes:
            start = {
                "subject": fix.subject,
                "clip": fix.clip,
                "onset": 1,
                "apex": 2,
                "offset": 3,
                "aus": "5",
                **fix.where,
            }
            wrong = 7777 if fix.wrong is errata.UNKNOWN else fix.wrong
            log = []
            fixed = errata.correct(release, fix.subject, Row(start | {fix.field: wrong}, "row 2", columns), log)
            assert fixed[fix.field] == fix.right and any(fix.source in line for line in log), fix
            again = []
            same = errata.correct(release, fix.subject, fixed, again)
            assert not any(f": {fix.field} " in line for line in again) and same[fix.field] == fix.right
            if fix.wrong is not errata.UNKNOWN:
                other = errata.correct(release, fix.subject, Row(start | {fix.field: 7777}, "row 2", columns), [])
                assert other[fix.field] == 7777


@pytest.mark.parametrize("name", ["casme", "casme3", "4dme", "mmew"])
def test_the_other_releases_are_read_with_their_quirks(quirky, name):
    root, quirks = quirky(name)
    release = read(name, root)
    table, report = release.table, integrity.report(release)
    assert not release.left_out
    assert items(report, "frames missing") == planted(quirks, "missing frame", name)
    assert items(report, "apex outside onset and offset") == planted(quirks, "apex outside the clip", name)
    fixed = quirks[quirks["quirk"].isin(("wrong frame numbers", "AU strings swapped"))]
    assert items(report, "erratum applied") == set(fixed["subject"] + "/" + fixed["clip"])
    if name == "casme3":
        assert items(report, "clip of fewer than 6 frames") == planted(quirks, "fewer than 6 frames", name)
        assert shown(table, "casme3/spNO.1/a_355") == {4, 7} and shown(table, "casme3/spNO.1/a_402") == {1, 2}
        assert not items(report, "frames extra")  # whole recordings
    if name == "4dme":
        assert shown(table, "4dme/S49/S49_001_01_1") == {4, 7}
        held = table.index[table["aus"] == "AU4(k)+7"][0]
        assert shown(table, held) == {7}
        assert shown(read(name, root, count_held=True).table, held) == {4, 7}
    if name == "mmew":
        assert {p.parent.parent.name for frames in table["frames"] for p in frames[:1]} >= {"repression", "others"}
        assert table["cropped"].all()


def test_counts_differ_from_what_is_documented_only_visibly(casme2):
    table = casme2[2].table.assign(synthetic=False)
    report = integrity.report(replace(casme2[2], table=table, version=255)).set_index(["check", "item"])
    assert report.loc[("clips", "all"), ["found", "expected", "status"]].tolist() == [len(table), 255, "warning"]
    assert report.loc[("subjects", "with clips"), "status"] == "ok"
    assert report.loc[("positive clips", "AU4"), "expected"] == 129
    assert report.loc[("clips of a subject", "sub17"), ["found", "expected", "status"]].tolist() == [1, 36, "warning"]


def test_documented_counts_are_consistent():
    for counts in [*documented.CASME2.values(), *documented.OTHERS.values()]:
        assert not counts.by_subject or (
            sum(counts.by_subject.values()) == counts.clips and len(counts.by_subject) == counts.subjects
        )
        assert set(counts.positives) <= set(facs.NAMES) and max(counts.positives.values()) < counts.clips
    assert set(documented.OTHERS) | {"casme2"} == set(datasets.ADAPTERS)
    assert {fix.field for fixes in errata.ERRATA.values() for fix in fixes} <= {"onset", "apex", "offset", "aus"}


def test_the_always_negative_classifier_is_scored_as_metrics_does(casme2):
    _, _, release, report = casme2
    scored = [f"AU{n}" for n in facs.BENCHMARK["casme2"]]
    labels = release.table.reindex(columns=scored, fill_value=0)
    predictions = labels.rename_axis("clip_id").reset_index().melt("clip_id", var_name="au", value_name="label")
    predictions = predictions.assign(subject=predictions["clip_id"].str.split("/").str[1], probability=0.0)
    want = 100 * metrics.score(predictions).loc["mean", "f1_macro"]
    row = report[report["check"] == "always-negative classifier"].iloc[0]
    assert row["found"] == pytest.approx(want, abs=0.005)
    empty = report[report["check"] == "clips without a benchmark AU"].iloc[0]
    assert empty["found"] == (labels.sum(axis=1) == 0).sum() > 0


def test_images_that_cannot_be_trusted_and_a_store_that_left_clips_out(tmp_path):
    table = make_table(tmp_path / "release")
    bad = {0: b"", 1: b"\xff\xd8\xff no picture", 2: table.iloc[2]["frames"][0].read_bytes()[:200]}
    for row, content in bad.items():
        table.iloc[row]["frames"][4].write_bytes(content)
    shutil.copy(table.iloc[5]["frames"][0], table.iloc[6]["frames"][1])
    with pytest.warns(UserWarning, match="left out"):
        store = preprocess.build(table, tmp_path / "store", size=16)
    report = integrity.report(Release(table), store)
    names = set(table.index[[0, 1, 2]])
    assert items(report, "image unreadable") == names == items(report, "clip left out of the store")
    assert items(report, "same frames, one subject") | items(report, "same frames, two subjects") == {
        f"{table.index[5]} and {table.index[6]}"
    }
    details = report.loc[report["check"] == "image unreadable", "detail"]
    assert details.str.contains("img99.png").all()
    assert list(report.columns) == integrity.COLUMNS
    assert set(report["status"]) <= {"ok", "note", "warning"}


def test_what_was_passed_over_doubled_or_not_used_is_reported(quirky, tmp_path):
    root, _ = quirky("casme")
    root = shutil.copytree(root, tmp_path / "casme", copy_function=shutil.copy)
    book = openpyxl.load_workbook(root / "casme.xlsx")
    page = book.worksheets[0]
    names = {cell.value: cell.column for cell in page[1]}
    clip = f"casme/sub{int(page.cell(2, names['Subject']).value):02d}/{page.cell(2, names['Filename']).value}"
    page.cell(2, names["ApexF1"]).value = "?"
    page.cell(2, names["AU"]).value = "LIZ+4"
    book.save(root / "casme.xlsx")
    frames = read("casme", root).table.loc[clip, "frames"]
    shutil.copy(frames[3], frames[3].with_name(f"a-{frames[3].name}"))
    shutil.copytree(frames[0].parents[2], root / "Cropped2" / "Cropped", copy_function=shutil.copy)
    frames[5].unlink()
    frames[5].symlink_to("nowhere.jpg")
    release = read("casme", root)
    report = integrity.report(release)
    assert items(report, "remark in an AU cell") == {clip} and clip in items(report, "apex missing")
    assert items(report, "frame number twice") == {clip} and clip in items(report, "frames missing")
    used = report[report["check"] == "cell not used"].iloc[0]
    assert "row 2, ApexF1" in used["detail"] and used["status"] == "note"
    there = report[(report["check"] == "source") & (report["item"] == "also there")]
    assert set(there["found"]) == set(release.passed_over) and len(there)


@pytest.mark.parametrize("name", ["casme", "casme3", "4dme", "mmew"])
def test_the_always_negative_classifier_of_the_other_releases_is_over_their_documented_aus(quirky, name):
    report = integrity.report(read(name, quirky(name)[0])).set_index("check")
    over = ", ".join(map(str, documented.OTHERS[name].positives))
    for check in ("clips without a benchmark AU", "always-negative classifier"):
        assert f"over the documented AUs of this release: {over}" in report.loc[check, "detail"]


def test_empty_clips_are_held_against_the_documented_number(casme2):
    table = casme2[2].table.assign(synthetic=False)
    for version, expected in ((255, 13), (256, 13), (246, "")):
        report = integrity.report(replace(casme2[2], table=table, version=version)).set_index("check")
        row = report.loc["clips without a benchmark AU"]
        assert row["expected"] == expected
        assert row["status"] == ("note" if expected in ("", row["found"]) else "warning")
    assert documented.OTHERS["samm"].empty == 56


def test_extra_frames_are_seen_in_the_clip_folders_of_casme3(tmp_path):
    root = datasets.synthesize(tmp_path / "casme3", "casme3", subjects=1, clips_per_subject=2)
    table = read("casme3", root).table
    last = table.iloc[0]["frames"][-1]
    shutil.copy(last, last.with_name(f"{int(last.stem) + 1}.jpg"))
    assert items(integrity.report(read("casme3", root)), "frames extra") == {table.index[0]}


def test_a_file_that_cannot_be_read_is_reported_and_stops_nothing(tmp_path):
    table = make_table(tmp_path / "release")
    for row in (0, 1):
        table.iloc[row]["frames"][2].unlink()
    report = integrity.report(Release(table))
    assert items(report, "image unreadable") == set(table.index[:2])
    assert report["detail"].str.contains("unreadable image: no such file").sum() == 2
    assert not items(report, "same frames, one subject") & {f"{table.index[0]} and {table.index[1]}"}


def test_empty_files_are_one_finding_per_clip_and_no_leak(tmp_path):
    table = make_table(tmp_path / "release")
    for path in [path for frames in table["frames"] for path in frames]:
        path.write_bytes(b"")
    report = integrity.report(Release(table))
    assert items(report, "image unreadable") == set(table.index)
    assert not any(
        items(report, f"same frames, {of}") - {"none"} for of in ("one subject", "two subjects", "many clips")
    )


def test_a_frame_of_very_many_clips_is_one_finding_per_clip(tmp_path):
    table = make_table(tmp_path / "release", subjects=4, clips=4)
    black = table.iloc[0]["frames"][0].read_bytes()
    for frames in table["frames"]:
        frames[1].write_bytes(black)
    report = integrity.report(Release(table))
    assert items(report, "same frames, many clips") == set(table.index)
    assert not any(items(report, f"same frames, {of}") - {"none"} for of in ("one subject", "two subjects"))


def test_a_report_of_many_findings_stays_readable(tmp_path):
    table = make_table(tmp_path / "release")
    release = Release(
        table, left_out=[f"book.xlsx, row {n}: no" for n in range(2, 3000)], remarks=["a sheet is hidden"]
    )
    report = integrity.report(release)
    short = integrity.summary(report)
    assert len(report) > 2998 and list(short.columns) == list(report.columns)
    left = short[short["check"] == "row left out"]
    assert list(left["detail"][:10]) == release.left_out[:10] and len(left) == 11
    assert left.iloc[10]["item"] == "and 2988 more" and left.iloc[10]["status"] == "warning"
    few = report.groupby(["check", "status"]).filter(lambda group: len(group) <= 10)
    assert short.merge(few).shape[0] == len(few)
    assert "a sheet is hidden" in set(short["detail"])


def test_a_frame_that_became_a_pipe_is_reported_and_hangs_nothing(tmp_path):
    table = make_table(tmp_path / "release")
    frame = table.iloc[0]["frames"][2]
    frame.unlink()
    os.mkfifo(frame)
    report = integrity.report(Release(table))
    assert items(report, "image unreadable") == {table.index[0]} and report["detail"].str.contains("no ordinary").any()
    with pytest.warns(UserWarning, match=r"left out: .*no ordinary file"):
        assert preprocess.build(table, tmp_path / "store", size=16).failed.keys() == {table.index[0]}


def test_a_store_and_its_warnings_are_counted(tmp_path):
    table = make_table(tmp_path / "release").assign(dataset="samm", synthetic=True)
    table.index = table.index.str.replace("hand/", "samm/").rename("clip_id")
    table.iloc[0]["frames"][4].write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"):
        store = preprocess.build(table, tmp_path / "store", size=16)
    counted = integrity.stored(store)
    assert (counted["clips"], counted["left out"]) == (len(table) - 1, 1)
    assert counted["frames"] == sum(map(len, table["frames"][1:])) and counted["megabytes"] == 0.0
    findings = pd.DataFrame({"status": ["ok", "warning", "note", "warning"]})
    assert integrity.in_words(store, findings) == (
        f"Synthetic SAMM: {len(table) - 1} clips of 3 subjects are stored, 1 left out; the integrity report has 2 "
        "warnings."
    )

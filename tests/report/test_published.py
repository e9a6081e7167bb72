"""The publication's numbers: whole, typed, and consistent as far as they are."""

import pytest

from aullm_lib import baselines, facs, model
from aullm_lib.report import published


@pytest.mark.parametrize(("number", "shape"), [(1, (13, 9)), (2, (13, 5)), (3, (5, 6)), (4, (3, 10))])
def test_every_table_is_whole(number, shape):
    table, bold = published.table(number), published.bold(number)
    assert table.shape == bold.shape == shape
    assert table.index.is_unique
    assert (table.columns == bold.columns).all()
    assert table.to_numpy().dtype == float
    assert ((table >= 12) & (table <= 93)).all(axis=None)
    assert published.place(number).startswith(f"Table {number}, section 4.")
    assert published.entry(number)["about"]
    assert published.comment(number)


def test_another_table_is_refused():
    with pytest.raises(ValueError, match="table 5: the publication has tables 1, 2, 3, 4"):
        published.table(5)


def panels(number):
    """The parts of a table that have an average each: panel or "", and a flat table."""
    table = published.table(number)
    if table.columns.nlevels == 1:
        return {"": table}
    return {panel: table[panel] for panel in dict.fromkeys(table.columns.get_level_values(0))}


@pytest.mark.parametrize("number", [1, 2, 4])
def test_printed_averages_are_the_means_of_their_cells_or_listed(number):
    differing = {}
    for panel, table in panels(number).items():
        mean = table.drop(columns=published.AVERAGE).mean(axis=1)
        wrong = (mean - table[published.AVERAGE]).abs() > 0.06
        differing |= {(row, panel): (table.loc[row, published.AVERAGE], mean[row]) for row in table.index[wrong]}
    listed = {
        (o["method"], o.get("panel", "")): (o["printed"], o["recomputed"])
        for o in published.entry(number).get("disagree", [])
    }
    assert differing.keys() == listed.keys()
    for place, (printed, recomputed) in listed.items():
        assert differing[place] == (printed, pytest.approx(recomputed))
        assert all(word in published.comment(number) for word in (*place, str(printed), str(recomputed)))


def test_the_row_all_of_the_ablations_repeats_the_averages():
    for number, release in ((1, "CASME II"), (2, "SAMM")):
        averages = published.table(number)[published.AVERAGE]
        for row, column in published.LLMS.values():
            assert published.table(3).loc["all", (release, column)] == averages[row]


def test_bold_that_is_not_the_best_is_in_the_comment():
    """As printed: in Tables 1, 3 and 4 some bold cells are not their column's best."""
    beaten = {}
    for number in (1, 2, 3, 4):
        table, bold = published.table(number), published.bold(number)
        below = bold & (table < table.max())
        beaten[number] = [c for c in table.columns if below[c].any()]
    assert beaten == {1: ["AU14"], 2: [], 3: [("CASME II", "Q2")], 4: [("SAMM → CASME II", "AU4")]}
    assert "AU14" in published.comment(1)
    assert "79.8" in published.comment(3)
    assert "AU4 (SAMM → CASME II)" in published.comment(4)


def test_columns_are_the_benchmark_and_rows_of_ablations_are_variants():
    for number, release in ((1, "casme2"), (2, "samm")):
        assert list(published.table(number).columns) == [*(f"AU{n}" for n in facs.BENCHMARK[release]), "Avg."]
    assert set(published.VARIANTS) <= set(model.VARIANTS)
    assert set(published.VARIANTS.values()) == set(published.table(3).index)


def test_an_llm_is_known_by_its_name_wherever_it_lies():
    assert published.llm("Qwen/Qwen2.5-1.5B") == published.llm("/models/qwen2.5-1.5b/") == ("AU-Qwen2.5(1.5B)", "Q2.5")
    assert published.llm("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B") == ("AU-DeepSeek R1(1.5B)", "D.R1")
    assert published.llm("tiny") is None
    assert published.llm("Qwen/Qwen2.5-1.5B-Instruct") is None


def test_baselines_are_the_rows_that_are_not_au_llm_in_their_order():
    for number in (1, 2, 4):
        rows = [rows[number] for rows in published.BASELINES.values() if number in rows]
        assert rows == [row for row in published.table(number).index if not row.startswith("AU-")]
        for method, rows in published.BASELINES.items():
            assert published.baseline(number, method) == rows.get(number)
    assert published.baseline(2, "fitnet") == "Fit-18"
    assert published.baseline(3, "sca") is published.baseline(1, "infusenet") is published.baseline(1, "au-llm") is None
    assert list(published.BASELINES) == list(baselines.METHODS)[:10]

"""How a table is drawn: the numbers given, text from data escaped, the same bytes twice."""

import json
import re
import shutil
import subprocess

import pandas as pd
import pytest

from aullm_lib.report import tables
from aullm_lib.report.tables import CELL, Table, compared

EVIL = "<b>evil</b> & co|100%_$x^2~{#}\\\\ [a]--b 中 é → × – `*"


def cells(rows, columns=(("", "a"),), **facts):
    """A frame of cells, given as dicts, one per row and column."""
    facts = {"measure": "F1 (%)", "group": "g", "kind": "ours", "policy": "", "test_set": "samm"} | facts
    return pd.DataFrame(
        [
            facts | {"row": row, "span": span, "column": column} | CELL | cell
            for row, line in rows.items()
            for (span, column), cell in zip(columns, line, strict=True)
        ]
    )


@pytest.fixture
def shown():
    """A table with every kind of cell, and text from data that no format takes as it is."""
    columns = [("left & right", "AU1"), ("left & right", "AU2"), ("", "blank")]
    first = {"value": 81.25, "low": 70.06, "high": 90.5}
    ours = {EVIL: [first, {"value": 50.0}, {}], "other": [{"value": 60.0}, {"why": "not run"}, {}]}
    trivial = cells(
        {"always-negative": [{"value": 61.0}, {"value": 50.0}, {}]}, columns, kind="trivial", group="chance"
    )
    difference = {EVIL: [{"value": 3.04, "low": -1.96, "high": 6.5}, {"value": -0.04}, {}]}
    frame = pd.concat(
        [
            trivial,
            compared(cells(ours, columns, group="ours " + EVIL), trivial),
            cells(difference, columns, group="difference", kind="difference"),
        ]
    )
    return Table(f"T {EVIL}", frame, [EVIL], number=3, provenance={"runs": ["x"]})


def test_every_format_shows_the_same_numbers_marks_and_reasons(shown, tmp_path):
    paths = tables.write(tmp_path / "t", shown)
    markdown, page, tex, _, made = (path.read_text(encoding="utf-8") for path in paths)
    for number in ("**81.2** [70.1, 90.5]", "*50.0*", "*60.0*", "+3.0 [−2.0, 6.5]", "| 0.0 |", "(a)", "(a) not run"):
        assert number in markdown
    for number in ("<b>81.2</b><small>[70.1, 90.5]</small>", '<span class="grey">50.0</span>', "+3.0", "(a) not run"):
        assert number in page
    assert '<span class="grey">(a)</span>' in page
    minus = r"\ensuremath{-}"
    for number in (r"\textbf{81.2}", r"\textcolor{black!55}{50.0}", f"{{[}}{minus}2.0, 6.5{{]}}", "(a) not run"):
        assert number in tex
    assert "blank" not in markdown + page + tex  # no cell of that column holds anything
    stored = pd.read_csv(paths[3]).set_index(["group", "row", "column"])
    assert stored.loc[("ours " + EVIL, EVIL, "AU1"), ["value", "low", "high"]].tolist() == [81.25, 70.06, 90.5]
    assert stored.loc[("ours " + EVIL, "other", "AU2"), "why"] == "not run"
    assert json.loads(made) == {"runs": ["x"]}
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in tables.write(tmp_path / "t", shown)] == before


def test_text_from_data_is_escaped_in_every_format(shown):
    page, tex, markdown = tables.page(shown), tables.latex(shown, "t"), tables.markdown(shown)
    assert "<b>evil" not in page
    assert "&lt;b&gt;evil&lt;/b&gt; &amp; co" in page
    assert "http" not in page
    rules = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1].split("}")
    assert all(part.strip().startswith(".aullm") for part in rules if part.strip())  # nothing of JupyterLab's own page
    assert r"\<b>evil\</b>".replace(">", ">") in markdown.replace(r"\>", ">")
    assert len({line.count(" | ") for line in markdown.splitlines() if line.startswith("| ")}) == 1
    assert tex.isascii()
    assert tables.tex(EVIL) == (
        r"\textless{}b\textgreater{}evil\textless{}/\allowbreak{}b\textgreater{} \& co\textbar{}100\%\_\allowbreak{}\$x"
        r"\textasciicircum{}2\textasciitilde{}\{\#\}\textbackslash{}\textbackslash{} {[}a{]}-{}-b \texttt{U+4E2D} "
        r"\'{e} \ensuremath{\rightarrow} \ensuremath{\times} -- \textasciigrave{}*"
    )


def test_the_latex_document_is_well_formed(shown):
    document = tables.document([shown, tables.cross_domain([])])
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", document):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    plain = re.sub(r"\\[\\{}&%$#_]", "", document)  # what is left has a meaning of its own
    assert plain.count("{") == plain.count("}")
    assert not set("$#_~^") & set(re.sub(r"\\[\^~]\{", "", plain))
    assert set(re.findall(r"usepackage\{(.*?)\}", document)) == {"booktabs", "xcolor"}
    assert len(set(re.findall(r"\\label\{(.*?)\}", document))) == document.count(r"\begin{table}")
    bodies = re.findall(
        r"\\begin\{tabular\}\{@\{\}l\*\{(\d+)\}\{r\}@\{\}\}\n(.*?)\\end\{tabular\}", document, re.DOTALL
    )
    assert len(bodies) == document.count(r"\begin{tabular}")
    for width, body in bodies:
        assert [body.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1]
        for line in body.splitlines():
            if line.endswith(r"\\"):
                spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
                assert len(re.findall(r"(?<!\\)&", line)) + sum(spans) - len(spans) == int(width)


def test_the_latex_document_compiles(shown, tmp_path):
    program = shutil.which("pdflatex")
    if not program:
        pytest.skip("pdflatex is not on this machine (Debian: texlive-latex-recommended)")
    (tmp_path / "t.tex").write_text(tables.document([shown, tables.per_release(1, [])]), encoding="utf-8")
    done = subprocess.run(
        [program, "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_a_table_too_long_for_a_page_goes_on_in_another():
    cell = {"value": 50.0, "low": 40.0, "high": 60.0}
    groups = [cells({f"m{i}{j}": [cell] for j in range(20)}, group=f"g{i}") for i in range(3)]
    text = tables.latex(Table("t", pd.concat(groups)), "t")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert text.count("F1 (\\%), continued") == 2
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == 3
    assert all(text.count(f"m{i}{j} &") == 1 for i in range(3) for j in range(20))


def test_a_cell_given_twice_is_refused():
    twice = pd.concat([cells({"m": [{"value": 1.0}]})] * 2)
    with pytest.raises(ValueError, match="duplicate"):
        tables.page(Table("t", twice))


def test_only_the_best_above_the_trivial_classifiers_is_bold_and_ties_are_bold_together():
    columns = [("", "a"), ("", "b")]
    rows = {"a": [50.0, 40.0], "b": [50.03, 45.0], "c": [49.0, None]}
    chance = {"x": [48.0, 45.0], "y": [49.0, None]}
    ours, trivial = (
        cells({row: [{} if v is None else {"value": v} for v in line] for row, line in some.items()}, columns)
        for some in (rows, chance)
    )
    made = compared(ours, trivial)
    assert made["bold"].tolist() == [True, False, True, False, False, False]
    assert made["grey"].tolist() == [False, True, False, True, True, False]
    assert not compared(cells({"alone": [{"value": 50.0}]}), trivial[:0])["bold"].any()


def test_a_random_classifier_counts_with_the_upper_quantile_of_its_draws():
    columns = [("", "a"), ("", "b")]
    trivial = cells(
        {"constant": [{"value": 45.0}, {"value": 60.0}], "random": [{"value": 50.0, "low": 46.0, "high": 54.0}] * 2},
        columns,
    )
    ours = cells({"m": [{"value": 54.0}, {"value": 60.1}], "n": [{"value": 54.1}, {"value": 58.0}]}, columns)
    made = compared(ours, trivial)
    assert tables.level(trivial, ours).tolist() == [54.0, 60.0] * 2
    assert made["grey"].tolist() == [True, False, False, True]
    assert made["bold"].tolist() == [False, True, True, False]

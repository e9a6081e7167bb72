"""One document in three forms: the same words in each, everything escaped, and LaTeX that compiles."""

import re
import shutil
import subprocess

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure as Drawn

from aullm_lib.report import document, figures
from aullm_lib.report.document import Code, Command, Figure, Grid, Heading, Items, Link

EVIL = r"<script>alert(1)</script> a|b *c* `d` [e](f) \input{g} $h$ 50 % #i_j & ~k^l 分析 {m} → ±"


@pytest.fixture
def blocks(tmp_path):
    drawn = Drawn(figsize=(2, 1))
    drawn.add_subplot().plot([0, 1])
    figures.save(drawn, tmp_path / "curve_1", {})
    cited = [Link("R1", "../runs/a_1%#/"), ",", "none"]
    frame = pd.DataFrame({"name | %": [EVIL, Code(EVIL)], "runs": [cited, "x " * 79 + "x"]})
    return [
        f"Text {EVIL}", Heading("First: of two"), ["See", Link(EVIL, "../a b/c.csv"), "(", Code("x_1"), "), then", "."],
        Items([EVIL, ["one", Link("two", "https://example.org/?a=1&b=2")]]), Heading("Part", 3),
        Grid(f"Caption {EVIL}", frame), Command("make demo ARGS=\"--only 'a'\""), Heading("Second"),
        Figure(tmp_path / "curve_1", f"Figure {EVIL}", f'alt "{EVIL}"'), ["last", Link("up", "#1-first-of-two")],
    ]  # fmt: skip


def test_html_shows_the_text_as_it_is_and_nothing_in_it_acts(blocks):
    soup = BeautifulSoup(document.page("Title <b>", blocks), "html.parser")
    assert not soup.find_all(["script", "b", "iframe"]) and soup.h1.text == "Title <b>"
    assert soup.get_text().count("<script>alert(1)</script> a|b *c*") == 9  # two of them in the list of tables
    grid = soup.select_one("table.grid")
    assert {a["href"] for a in soup("a")} == {
        "#1-first-of-two", "#2-second", "../a%20b/c.csv", "https://example.org/?a=1&b=2", "../runs/a_1%25#/",
        f"#{grid['id']}", "#curve_1", "curve_1.png", "curve_1.pdf", "curve_1.json", "curve_1.txt",
    }  # fmt: skip
    assert soup.select_one("figure#curve_1 > a")["href"] == "curve_1.png"
    figure = next(block for block in blocks if isinstance(block, Figure))
    figure.file(".txt").unlink()
    figure.file(".csv").write_text("a,b\n")
    links = BeautifulSoup(document.figure(figure), "html.parser").select("figcaption a")
    assert [a.get_text() for a in links] == ["full size", "PDF", "CSV", "provenance"]  # what is there
    assert {span.get_text() for span in soup("span", lang=True)} == {"分析"}
    assert [bool(th.get("class")) for th in grid("th")] == [True, True]  # of long texts
    assert [h["id"] for h in soup("h2")] == ["1-first-of-two", "2-second"]
    assert soup.img["alt"] == f'alt "{EVIL}"' and soup.img["src"].startswith("data:image/png;base64,")
    assert [[td.get_text() for td in tr("td")][1] for tr in soup("tr")[1:]] == ["R1, none", "x " * 79 + "x"]
    assert "Text" in soup.p.text and "(x_1), then." in soup.get_text()


def test_a_page_in_another_folder_finds_the_same_files(blocks):
    soup = BeautifulSoup(document.body("Title", blocks, base="../"), "html.parser")
    targets = {a["href"] for a in soup("a")}
    assert {"../../a%20b/c.csv", "#2-second", "https://example.org/?a=1&b=2", "../curve_1.pdf", "#curve_1"} <= targets


def test_markdown_has_a_list_of_sections_and_tables_of_as_many_cells_as_columns(blocks):
    text = document.markdown("Title", blocks)
    assert "- [1. First: of two](#1-first-of-two)\n- [2. Second](#2-second)" in text
    assert "## 1. First: of two" in text and "### Part" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 4
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    assert not re.search(r"(?<![\\`])<script", re.sub(r"`[^`]*`", "", text))
    assert "![alt" in text and "](curve_1.png)" in text


def test_latex_is_ascii_whole_and_without_commands_from_data(blocks):
    text = document.latex("Title_1", blocks)
    assert text.isascii() and r"\input" not in text.replace(r"\textbackslash{}input", "")
    opened, closed = (re.findall(rf"\\{word}\{{(\w+\*?)\}}", text) for word in ("begin", "end"))
    assert sorted(opened) == sorted(closed) and {"document", "longtable", "itemize", "center"} <= set(opened)
    plain = re.sub(r"\\[\\{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert r"\includegraphics{curve_1.pdf}" in text
    assert "(2 Chinese characters)" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex (Debian: texlive-latex-recommended)")
def test_latex_compiles_and_its_tables_stay_on_the_page(blocks, tmp_path):
    (tmp_path / "text.tex").write_text(document.latex("Title_1", blocks), encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "text.tex"]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", done.stdout)]
    assert max(wide, default=0) < 20
    assert (tmp_path / "text.pdf").stat().st_size > 10_000


def test_the_same_blocks_give_the_same_bytes(blocks):
    for draw in (document.markdown, document.page, document.latex):
        assert draw("Title", blocks) == draw("Title", blocks)

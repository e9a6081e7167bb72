"""The report as a static site: whole, harmless, dependent on nothing outside, the same bytes twice."""

import base64
import errno
import hashlib
import re
from html.parser import HTMLParser

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from nbformat import v4
from PIL import Image

from aullm_lib.__main__ import main
from aullm_lib.notebook import executed, fragment, site
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.report import figures, tables
from aullm_lib.support import files

EVIL = "<script>alert(1)</script>"
PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
    )
).decode()
GIT = {"revision": "0123456789abcdef", "changed": True}
QUICK = {"data": "synthetic", "llm": "tiny", "overrides": {}}
WIDGET = "application/vnd.jupyter.widget-view+json"


def output(**data):
    return v4.new_output("display_data", {key.replace("_", "/"): value for key, value in data.items()})


def book(title, *outputs, text="One clip of the release."):
    """An executed notebook: opening text, parameters, a sentence and the cell that gives the outputs."""
    cells = [
        v4.new_markdown_cell(f"# {title}\n\n**What it does.** Shows a clip, `whole`. And more.\n\n**Reads** nothing."),
        v4.new_code_cell("subjects = 3", execution_count=1, metadata={"tags": ["parameters"]}),
        v4.new_markdown_cell(text),
        v4.new_code_cell("if subjects < 4:\n    show('<b>')  # & more", execution_count=2, outputs=list(outputs)),
    ]
    return v4.new_notebook(cells=cells)


def write(home, name, notebook, profile="demo", **record):
    """Puts an executed notebook where the batch runner does; with ``record``, also its record."""
    path = home / "runs" / profile / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    if record:
        files.write_json(home / "runs" / profile / "records" / f"{name}.json", record)


def example(home, profile="demo", synthetic=True):
    """A home in which a profile has run: two notebooks, a table and a figure, with hostile text in all of them."""
    folder = home / "figures" / profile
    rows = {EVIL: [{"value": 81.25, "low": 70.06, "high": 90.5}, {"why": f"{EVIL} not run"}],
            "other": [{"value": 60.0}, {"value": 55.5}]}  # fmt: skip
    facts = {"measure": "F1 (%)", "group": f"ours {EVIL}", "kind": "ours", "span": "over"}
    cells = [
        tables.CELL | facts | {"row": row, "column": column} | cell
        for row, line in rows.items()
        for column, cell in zip(["AU1", EVIL], line, strict=True)
    ]
    table = tables.Table(f"synthetic {EVIL}", pd.DataFrame(cells), number=1, provenance={"synthetic": synthetic})
    written = tables.write(folder / "table1_casme2", table)
    points = pd.DataFrame({"intensity": [0.0, 1.0], "seed": 1, "scorer": "3D-CNN", "score": [0.5, 0.7]})
    points = points.assign(**{"low": 0.4, "high": 0.8, "always-negative": 0.45})
    curve = figures.scores.intensity_curve(points, ["always-negative"], "Synthetic release.")
    written += figures.save(curve, folder / "curve", {"synthetic": synthetic})
    names = [str(path.relative_to(home)) for path in written]
    parameters = {
        "data": "synthetic" if synthetic else "licensed", "releases": ["casme2"], "recipe": "released",
        "overrides": {"epochs": 2}, "llm": f"tiny {EVIL}", "seeds": [1, 2],
    }  # fmt: skip
    frame = pd.DataFrame({"clip": [EVIL, "EP02"], "AU1": [1, 0]})
    shown = [
        output(text_plain=f"clip {EVIL}"),
        output(text_html=frame.to_html(), text_plain="a frame"),
        v4.new_output("stream", name="stdout", text=f"10 %\r90 %\r{EVIL}\n"),
        output(image_png=PNG, text_plain="<Figure>"),
        output(text_markdown=f"*said* {EVIL}"),
    ]
    provenance = {"git": GIT, "versions": {"aullm_lib": "0.1.0"}}
    results = {"files": names, "runs": []}
    write(
        home, "02_train_loso", book(f"Training {EVIL}", *shown), profile,
        parameters=parameters, results=results, **provenance,
    )  # fmt: skip
    write(home, "07_paper", book("Tables"), profile, parameters={"profile": profile}, results=results, **provenance)
    return folder / "report"


class Page(HTMLParser):
    """What a browser would see of a page, by the standard library's parser: tags, addresses, texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.ids, self.text, self.inside = [], [], set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids |= {value for name, value in attrs if name == "id"}
        if tag in ("dd", "td", "th", "small"):
            self.text.append(" ")
        if tag == "style":
            self.inside = ["style"]

    def handle_endtag(self, tag):
        if tag == "style":
            self.inside = []

    def handle_data(self, data):
        if not self.inside:
            self.text.append(data)

    def words(self):
        return " ".join("".join(self.text).split())

    def values(self, name, *tags):
        return [value for tag, key, value in self.attributes if key == name and (not tags or tag in tags)]


def pages(report):
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in sorted(report.glob("*.html"))}


def test_no_page_asks_for_anything_outside_or_can_run_anything(home):
    report = example(home)
    site.build("demo")
    found = pages(report)
    names = {"index.html", "replication.html", "02_train_loso.html", "07_paper.html"}
    assert set(found) == names == {p.name for p in report.iterdir()}
    for name, page in found.items():
        text = (report / name).read_text(encoding="utf-8")
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"script", "iframe", "object", "embed", "base", "form", "video", "audio", "source", "svg"}
        assert not [a for _, a, _ in page.attributes if a.startswith("on") or a in ("style", "srcset", "srcdoc")]
        assert all(value.startswith("data:image/") for value in page.values("src"))
        assert page.values("href", "link") == ["data:,"]
        for address in page.values("href", "a"):
            if address == "https://arxiv.org/abs/2507.21778":  # the paper
                continue
            if address.startswith("../"):  # files of the profile beside the site
                assert (report / address).exists(), (name, address)
                continue
            file, _, anchor = address.partition("#")
            assert not file or file in found, (name, address)
            assert not anchor or anchor in found[file or name].ids, (name, address)
        (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        assert not re.search(r"url\(|@import|expression|src\(", style)
        assert "://" not in text.replace("https://arxiv.org/abs/2507.21778", "")  # of no host, not even in a comment
        (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert policy.split("; ") == [
            "default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'",
            f"style-src 'sha256-{digest}'",
        ]  # fmt: skip


def test_text_from_data_is_escaped_wherever_it_comes_from(home):
    report = example(home)
    site.build("demo")
    for name, times in {"index.html": 7, "02_train_loso.html": 6}.items():
        text = (report / name).read_text(encoding="utf-8")
        assert "<script" not in text.lower()
        assert pages(report)[name].words().count(EVIL) >= times, name
    assert "90 %" not in pages(report)["02_train_loso.html"].words()  # a terminal would have overwritten it
    assert "if subjects < 4: show('<b>') # & more" in pages(report)["02_train_loso.html"].words()


@pytest.mark.parametrize(
    ("evil", "kept"),
    [
        ("<img src=x onerror=alert(1) alt=face>", '<img alt="face">'),
        ("<img src='https://example.org/x.png'>", "<img>"),
        (f"<img src='data:image/png;base64,{PNG}'>", f'<img src="data:image/png;base64,{PNG}">'),
        ("<a href='javascript:alert(1)'>a</a>", "<a>a</a>"),
        ("<a href=' data:text/html,x'>a</a>", "<a>a</a>"),
        ("<a href='da&#9;ta:text/html,x'>a</a>", "<a>a</a>"),
        ("<a href='&#1;DA&#13;&#10;TA&#9;:text/html,x'>a</a>", "<a>a</a>"),
        ("<a href='https://arxiv.org/abs/2507.21778'>a</a>", '<a href="https://arxiv.org/abs/2507.21778">a</a>'),
        ("<style>@import 'https://example.org/x.css'</style><p style='color:red'>p</p>", "<p>p</p>"),
        (
            "<table><tbody><tr><td colspan=2 style='background:url(//x)' onclick=x()>1</td></tr></tbody></table>",
            '<table><tbody><tr><td colspan="2">1</td></tr></tbody></table>',
        ),
        ("<svg><script>alert(1)</script></svg>", "&lt;svg&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;/svg&gt;"),
        ("<h2 id='a'>h</h2><p id='b'>p</p>", '<h2 id="a">h</h2><p>p</p>'),
        (
            "<figure id='a'>f</figure><section id='b'>s</section>",
            '<figure id="a">f</figure><section id="b">s</section>',
        ),
        ("<p lang='zh'>分</p><p lang='\"><b>'>p</p>", '<p lang="zh">分</p><p>p</p>'),
        (
            "<p>x 分析 <b>&lt;类&gt;</b></p>",
            '<p>x <span lang="zh">分析</span> <b>&lt;<span lang="zh">类</span>&gt;</b></p>',
        ),
        ("1 < 2 & 3 > 2", "1 &lt; 2 &amp; 3 &gt; 2"),
        ("<iframe src=//x>", "&lt;iframe src=&quot;//x&quot;&gt;&lt;/iframe&gt;"),
    ],
)
def test_foreign_html_keeps_its_text_and_loses_its_teeth(evil, kept):
    assert fragment.clean(evil).replace("&quot;", '"') == kept.replace("&quot;", '"')


@pytest.mark.parametrize(
    "draw", [lambda frame: frame.to_html(), lambda frame: frame.style.to_html(exclude_styles=True)]
)
@pytest.mark.parametrize(
    ("index", "names"),
    [(pd.Index([1, 2], name="seed"), ["seed"]), (pd.Index([1, 2]), [""]),
     (pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["set", "seed"]), ["set", "seed"])],
)  # fmt: skip
def test_a_data_frame_s_index_is_named_beside_its_columns_and_words_are_at_the_left(draw, index, names):
    prompt = "A sentence of more than forty characters, with spaces."
    frame = pd.DataFrame(
        {"n": [1.5, float("nan")], "span": ["1.0 [0.5, 1.5]", "–"], "w": ["x", "2"], "l": prompt}, index
    )
    soup = BeautifulSoup(fragment.clean(draw(frame)), "html.parser")
    assert [[cell.get_text(strip=True) for cell in line("th")] for line in soup.thead("tr")] == [[*names, *frame]]
    for line in soup("tr"):
        cells = line("td") or line("th")[-4:]
        assert [[c for c in cell.get("class", []) if c in ("words", "long")] for cell in cells] == [
            [], [], ["words"], ["words", "long"],
        ]  # fmt: skip


def test_tables_and_figures_have_anchors_a_list_of_them_and_links_to_their_files(home):
    report = example(home)
    (home / "figures" / "demo" / "curve.txt").write_text("Rising scores over intensity.\nFrom one seed.\n")
    text = f"## 1. One\n\nThe first.\n\n## 2. {EVIL}"
    write(home, "08_audit", book("Audit", text=text), parameters={}, results={}, git=None)
    site.build("demo")
    index = BeautifulSoup((report / "index.html").read_text(encoding="utf-8"), "html.parser")
    assert [a["href"] for a in index.select(".contents a")] == ["#what-was-run", "#tables", "#figures"]
    listed = {a["href"]: a.get_text() for a in index.select(".contents + details a")}
    assert listed == {
        "#table1_casme2": f"Table 1: synthetic {EVIL}", "#curve": "curve: Rising scores over intensity."
    }  # fmt: skip
    assert index.select_one("section#table1_casme2 h3") and index.select_one("figure#curve img")["alt"] == (
        "Rising scores over intensity."
    )
    files = {a.get_text(): a["href"] for a in index.select(".files a, figcaption a")}
    assert files == {
        "CSV": "../table1_casme2.csv", "LaTeX": "../table1_casme2.tex", "Markdown": "../table1_casme2.md",
        "provenance": "../curve.json", "full size": "../curve.png", "PDF": "../curve.pdf",
        "caption": "../curve.txt",
    }  # fmt: skip
    assert index.select_one("figure#curve > a")["href"] == "../curve.png"
    page = BeautifulSoup((report / "02_train_loso.html").read_text(encoding="utf-8"), "html.parser")
    assert page.select_one("a.full#picture-1")["href"] == "#picture-1"
    cells = [a["href"] for a in page.select("a.here")]
    audit = BeautifulSoup((report / "08_audit.html").read_text(encoding="utf-8"), "html.parser")
    listed = {a["href"][1:]: a.get_text() for a in audit.h1.find_next_sibling(class_="contents")("a")}
    assert listed == {h["id"]: h.get_text() for h in audit("h2")} and list(listed.values()) == ["1. One", f"2. {EVIL}"]
    assert len(cells) == 1 and page.find(id=cells[0][1:]).select_one("img")


def test_what_a_terminal_or_a_kernel_s_folder_says_is_left_out():
    warning = "/tmp/ipykernel_30999/3684580749.py:16: UserWarning: remarks on 1 clip\n  store = build(table)\n"
    bar = "clip.mp4:  31%|███▏      | 65/208 [00:00<00:00, 640.36it/s]\n"
    streams = [v4.new_output("stream", name="stderr", text=text) for text in (bar + warning + "kept\n", bar)]
    text = BeautifulSoup(fragment.of_notebook(book("t", *streams)), "html.parser")
    assert [pre.get_text() for pre in text("pre", class_="aside")] == ["UserWarning: remarks on 1 clip\nkept\n"]


def test_the_first_page_says_what_was_run_and_holds_every_table_and_figure(home):
    report = example(home)
    assert site.build("demo").resolve() == (report / "index.html").resolve()
    page = pages(report)["index.html"]
    words = page.words()
    for fact in (
        "Synthetic data: faces are rendered, and no number here is a result on CASME II or SAMM.",
        "Releases CASME II", "Recipe released", "Changed in it epochs 2", "Seeds 1, 2", "aullm_lib 0.1.0",
        "Code revision 0123456789, with changes", "Shows a clip, whole.", "81.2 [70.1, 90.5]", "60.0", "55.5",
        "figures/demo/curve.png, synthetic data", f"(a) {EVIL} not run",
    ):  # fmt: skip
        assert fact in words, fact
    assert "And more" not in words and "**" not in words
    embedded = [base64.b64decode(source.partition("base64,")[2]) for source in page.values("src")]
    assert embedded == [(home / "figures" / "demo" / "curve.png").read_bytes()]
    with Image.open(home / "figures" / "demo" / "curve.png") as curve:
        printed = [str(round(pixels / 200 * 96)) for pixels in curve.size]  # CSS pixels of its 200 dots an inch
    assert [[a["width"], a["height"]] for tag, a in page.tags if tag == "img"] == [printed]
    for name, one in pages(report).items():
        assert [h for h in one.values("href", "a") if h.endswith(".html")][:4] == [
            "index.html", "replication.html", "02_train_loso.html", "07_paper.html"
        ], name  # fmt: skip
        assert [a["href"] for tag, a in one.tags if a.get("aria-current") == "page"] == [name]
        assert "Synthetic data" in one.words()
        assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in one.tags
    assert "00_quickstart" in words and "make demo" in words  # what was not run, and how to


def test_code_is_folded_and_pictures_are_described(home):
    report = example(home)
    site.build("demo")
    page = pages(report)["02_train_loso.html"]
    assert [attributes for tag, attributes in page.tags if tag == "details"] == [{"class": "code"}] * 2
    assert "Parameters 1 line" in page.words() and "Code 2 lines" in page.words()
    assert page.values("alt", "img") == ["One clip of the release."]
    assert page.values("src", "img") == [f"data:image/png;base64,{PNG}"]


def states(**models):
    state = {
        key: {"model_name": name, "state": {"children": [f"IPY_MODEL_{c}" for c in children]}}
        for key, (name, children) in models.items()
    }
    return {"application/vnd.jupyter.widget-state+json": {"state": state}}


def test_a_widget_is_shown_by_its_picture_or_named_and_a_progress_bar_is_left_out():
    view = {model: {WIDGET: {"model_id": model}, "text/plain": f"{model}()"} for model in ("bar", "box", "both")}
    view["both"]["image/png"] = PNG
    made = book("t", *(v4.new_output("display_data", data) for data in view.values()))
    made.metadata["widgets"] = states(
        bar=("HBoxModel", ["b"]), b=("FloatProgressModel", []), box=("VBoxModel", ["s"]), s=("IntSliderModel", [])
    )
    made.cells[-1].outputs[-1].metadata["image/png"] = {"alt": "A <face>."}
    text = fragment.of_notebook(made)
    assert text.count("needs a kernel") == 1
    assert 'alt="A &lt;face&gt;."' in text
    assert text.count(f'src="data:image/png;base64,{PNG}"') == 1
    assert "bar()" not in text and "both()" not in text
    assert text.count('class="output"') == 2


def test_outputs_that_a_page_cannot_show_are_named_and_none_calls_a_script():
    outputs = [
        output(application_javascript="alert(1)"),
        output(**{"application_x-new": "x"}),
        output(**{"image_svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"}),
    ]
    text = fragment.of_notebook(book("t", *outputs, text="```mermaid\ngraph\n```"))
    assert text.count("which a page cannot show") == 2
    assert "alert(1)" not in text and "cdn" not in text
    assert "data:image/svg+xml;base64," in text  # as a picture, in which no script runs


def test_formulas_are_mathml_and_text_in_them_stays_text():
    """In text, as a block and as an output; one that cannot be read is shown as it is typed."""
    written = r"With $x^2$, $\text{<script>alert(1)</script>}$ and $\frac{1}$ in it." + "\n\n$$\\sum_{i=1}^N y_i$$"
    text = fragment.of_notebook(book("t", output(text_latex=r"$\displaystyle \frac{1}{2}$"), text=written))
    soup = BeautifulSoup(text, "html.parser")
    assert str(soup.math) == '<math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math>'
    assert [m.get_text() for m in soup("math", display="block")] == ["∑i=1Nyi"]
    bold = BeautifulSoup(fragment.of_notebook(book("t", text=r"$\mathbf V\mathbf{V}$")), "html.parser")
    assert [one.get_text() for one in bold("mi")] == ["\N{MATHEMATICAL BOLD CAPITAL V}"] * 2
    (fraction,) = soup.select(".output mfrac")
    assert [part.get_text() for part in fraction("mn")] == ["1", "2"]
    assert not soup("script") and "://" not in text
    unread = fragment.of_notebook(book("t", text=r"$x_1_2$ is none"))
    assert "$x_1_2$ is none" in unread and "<math" not in unread


@pytest.mark.parametrize(
    ("synthetic", "label"),
    [
        (True, "Synthetic data: faces are rendered"),
        (False, "Licensed data: annotations are quoted, so do not publish these pages"),
        (None, "Data not stated: take no number"),
    ],
)
def test_every_page_says_whose_data_it_shows(home, synthetic, label):
    report = example(home, synthetic=bool(synthetic))
    if synthetic is None:
        for path in [*(home / "runs").rglob("records/*.json"), *(home / "figures").rglob("*.json")]:
            path.unlink()
    site.build("demo")
    found = pages(report)
    assert all(label in page.words() for page in found.values())
    if synthetic is None:
        assert "left no record" in found["07_paper.html"].words()
        assert "Recorded by none of these notebooks" in found["index.html"].words()


def test_licensed_and_synthetic_data_are_told_apart(home):
    report = example(home, synthetic=False)
    write(home, "00_quickstart", book("Quickstart"), parameters=QUICK, results={}, git=None)
    site.build("demo")
    found = pages(report)
    assert f"Language model tiny (two layers, random weights); tiny {EVIL}" in found["index.html"].words()
    assert "Changed in it epochs 2 Language" in found["index.html"].words()
    assert "Licensed and synthetic data: annotations are quoted" in found["index.html"].words()
    assert "Licensed data: annotations" in found["02_train_loso.html"].words()
    assert "Synthetic data: faces are rendered" in found["00_quickstart.html"].words()


def test_the_same_inputs_give_the_same_bytes_and_an_earlier_report_goes(home):
    report = example(home)
    site.build("demo")
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    (report / "old.html").write_text("of an earlier run")
    site.build("demo")
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before
    assert not [path for path in report.parent.iterdir() if path.name.startswith(".")]


def test_a_full_disk_leaves_the_earlier_report_and_nothing_half_written(home, monkeypatch):
    report = example(home)
    site.build("demo")
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    whole = files.write_text

    def full(path, text, durable=False):
        if path.name == "07_paper.html":
            raise OSError(errno.ENOSPC, "no space")
        whole(path, text, durable)

    monkeypatch.setattr(files, "write_text", full)
    with pytest.raises(OSError, match="cannot write the report at figures/demo/report: the disk is full"):
        site.build("demo")
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before
    report.rename(report.with_name(".report.old"))  # as a kill between the two renames leaves it
    with pytest.raises(OSError, match="the disk is full"):
        site.build("demo")
    assert {path.name: path.read_bytes() for path in report.iterdir()} == before
    assert not [path for path in report.parent.iterdir() if path.name.startswith(".")]


def failed():
    made = book(
        "t", v4.new_output("error", ename="ValueError", evalue="no", traceback=[f"\x1b[31mValueError\x1b[0m{EVIL}"])
    )
    made.cells.append(v4.new_code_cell("rest()"))
    return made


def test_a_notebook_that_stopped_says_so(home):
    report = example(home)
    write(home, "04_ablations", failed(), parameters={}, results={})
    half = book("Half")
    half.cells.append(v4.new_code_cell("rest()"))
    write(home, "05_cross_domain", half, parameters={}, results={})
    site.build("demo")
    found = pages(report)
    for name in ("index.html", "04_ablations.html"):
        assert "stopped by an error, ValueError: what came after did not run" in found[name].words()
    for name in ("index.html", "05_cross_domain.html"):
        assert "unfinished: some cells did not run" in found[name].words()
    assert "<script" not in (report / "04_ablations.html").read_text()
    assert "stopped" not in found["02_train_loso.html"].words()


@pytest.mark.parametrize(
    ("profile", "command"),
    [
        ("demo", "make demo"),
        ("demo-llm", "make demo-llm"),
        ("paper", "make paper CASME2_ROOT=... SAMM_ROOT=..."),
        ("smoke", ".venv/bin/aullm batch smoke"),
    ],
)
def test_where_nothing_was_run_both_reports_say_so_and_how_to_begin(home, profile, command):
    index = site.build(profile)
    site_of_it = pages(index.parent)
    assert set(site_of_it) == {"index.html", "replication.html"}
    assert f"It runs with {command}." in site_of_it["index.html"].words()
    for words in (site_of_it["replication.html"].words(), (index.parents[1] / "replication.md").read_text()):
        assert "No run lies in" in words and command in words
        assert "02_train_loso was not run to its end" in words.replace("\\_", "_")


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("nope", "unknown profile 'nope'; there are demo, demo-full, demo-llm, paper, smoke, and cells of a grid"),
        ("../demo", "profile is '../demo'; expected letters, digits and hyphens"),
    ],
)
def test_what_is_no_profile_is_an_error_and_leaves_nothing(home, profile, message, caplog):
    assert main(["report", profile]) == 2
    assert message in caplog.text
    assert not list(home.rglob("report")) and not list(home.rglob("replication*"))


def test_a_notebook_without_executed_cells_is_not_taken_for_one(home, caplog):
    made = book("t")
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
    write(home, "02_train_loso", made, profile="demo")
    assert not (site.build("demo").parent / "02_train_loso.html").exists()
    (home / "runs" / "demo" / "notebooks" / "02_train_loso.ipynb").write_text("{")
    assert main(["report", "demo"]) == 2
    assert "02_train_loso.ipynb: not readable as a notebook" in caplog.text


def test_a_command_names_what_was_chosen_but_no_path(home):
    """Under another LLM or with other releases, what is missing would be another run."""
    Workspace("paper").record("02_train_loso", {"llm": "/data/Qwen2.5-1.5B", "releases": ["casme2"]})
    assert executed.command("paper") == "make paper CASME2_ROOT=... RELEASES=casme2 LLM=..."
    assert 'LLM=... ARGS="--only 04_ablations' in executed.not_run("paper", ["04_ablations"])


def test_a_grid_cell_has_a_report_of_its_own(home, caplog):
    example(home, profile="demo-seeds-1")
    caplog.set_level("INFO")
    assert main(["report", "demo-seeds-1"]) == 0
    assert str(home / "figures" / "demo-seeds-1" / "report" / "index.html") in caplog.text
    assert "make grid GRID=..., of which it is a cell" in (
        home / "figures" / "demo-seeds-1" / "report" / "index.html"
    ).read_text(encoding="utf-8")

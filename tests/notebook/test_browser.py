"""JupyterLab and the report in a real browser: Debian's Chromium, driven by Playwright, without its sandbox.

Screenshots and PDFs go to the folder that AULLM_ARTEFACTS names, otherwise to the test's own.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import sync_playwright
from test_site import EVIL, example

from aullm_lib.notebook import kernel, site
from aullm_lib.notebook.parameters import SOURCE
from aullm_lib.support import files

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PROMPT = "请分析融合后的人脸视频特征，对面部动作单元进行分类："
FORMULA = (
    r"$$\mathcal{L} = -\frac{1}{N}\sum_{i=1}^{N}\sum_{c=1}^{B} "
    r"y_{i,c}(1-p)^{\gamma_+}\log p + (1-y_{i,c})p_m^{\gamma_-}\log(1-p_m)$$"
)
SCREENS = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: make browser installs it")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def artefacts(tmp_path) -> Path:
    folder = Path(os.environ.get("AULLM_ARTEFACTS") or tmp_path / "artefacts").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Watched:
    """A page of its own, and everything that went wrong on it."""

    def __init__(self, context):
        self.page = context.new_page()
        self.requests, self.wrong = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.wrong.append(f"{request.url}: {request.failure}"))
        self.page.on(
            "console", lambda line: self.wrong.append(line.text) if line.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append(dialog.message), dialog.dismiss()))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of two hand-made notebooks and one that is executed here; with a table, a figure and hostile text."""
    home = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AULLM_HOME", str(home))
        folder = example(home)
        source = home / "small.ipynb"
        code = (
            "import pandas as pd\nimport matplotlib.pyplot as plt\n%matplotlib inline\n"
            f"frame = pd.DataFrame({{f'column {{i}}': [{EVIL!r}, 'x' * 60] for i in range(12)}})\n"
            "plt.figure(figsize=(9, 2)); plt.plot([1, 2]);\nprint('word ' * 80)\n"
            f"frame['prompt'] = {PROMPT!r} * 4\nframe"
        )
        text = f"# A small notebook\n\nWide table, long line, {EVIL}, {PROMPT}.\n\n## One\n\n{FORMULA}\n\n## Two"
        nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell(text), v4.new_code_cell(code)]), source)
        target = home / "runs" / "demo" / "notebooks" / "03_small.ipynb"
        kernel.execute(source, target, {}, home)
        patch.chdir(home)
        site.build("demo")
        yield folder


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_of_the_report_opens_cleanly_and_fits_the_screen(browser, report, artefacts, screen, scheme):
    context = browser.new_context(viewport=SCREENS[screen], color_scheme=scheme)
    try:
        watched = Watched(context)
        page = watched.page
        page.goto((report / "index.html").as_uri())
        names = [link.get_attribute("href") for link in page.locator("nav a").all()]
        first = ["index.html", "replication.html", "02_train_loso.html"]
        assert names == [*first, "03_small.html", "07_paper.html"]
        for name in names:
            page.locator(f'nav a[href="{name}"]').click()
            page.wait_for_url(f"**/{name}")
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{name} scrolls sideways by {wide} pixels"
            broken = page.evaluate("[...document.images].filter(i => !i.complete || !i.naturalWidth).length")
            assert broken == 0
            pictures = {"replication.html": 0, "07_paper.html": 0}.get(name, 1)
            assert page.evaluate("document.images.length") == pictures
            page.screenshot(path=artefacts / f"report-{Path(name).stem}-{screen}-{scheme}.png", full_page=True)
        assert watched.wrong == []
        outside = [u for u in watched.requests if not u.startswith(("data:", report.as_uri()))]
        assert outside == []
        assert len({u for u in watched.requests if u.startswith("file:")}) == len(names)  # pages, and nothing beside
        ink, paper = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert (brightness(ink) > brightness(paper)) == (scheme == "dark")
    finally:
        context.close()


@pytest.fixture
def phone(browser):
    """A context of a phone's size, without scripts."""
    context = browser.new_context(viewport=SCREENS["phone"], java_script_enabled=False)
    yield context
    context.close()


def brightness(colour):
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3]))


def test_hostile_text_stays_text_and_code_unfolds_without_a_script(phone, report):
    watched = Watched(phone)
    watched.page.goto((report / "03_small.html").as_uri())
    code = watched.page.locator("details.code pre")
    assert not code.is_visible()
    watched.page.locator("details.code summary").click()
    assert code.is_visible() and "plt.plot" in code.inner_text()
    assert watched.page.locator("td", has_text=EVIL).count() == 12
    assert watched.page.locator("script").count() == 0
    # the wide table scrolls in its own box
    box = watched.page.locator(".output:has(table)").bounding_box()
    assert box["width"] <= SCREENS["phone"]["width"] < watched.page.locator("table").bounding_box()["width"]
    assert watched.wrong == []


def test_every_link_of_the_list_leads_to_its_place_and_every_table_scrolls_in_its_box(phone, report):
    """On a phone: sections, tables, figures and cells; no column is pushed off the page by a Chinese prompt."""
    page = phone.new_page()
    places = 0
    for name in ("index", "replication", "03_small", "07_paper"):
        page.goto((report / f"{name}.html").as_uri())
        for link in page.locator("main a[href^='#']").all():
            target = page.locator(f"[id='{link.get_attribute('href')[1:]}']")
            assert target.count() == 1 and target.is_visible(), (name, link.get_attribute("href"))
            places += 1
        for table in page.locator("main table").all():
            box = table.locator("xpath=ancestor::div[1]").bounding_box()
            assert box["x"] + box["width"] <= SCREENS["phone"]["width"], name
    assert places > 20
    page.goto(f"{(report / 'index.html').as_uri()}#table1_casme2")
    assert 0 <= page.locator("#table1_casme2").bounding_box()["y"] < SCREENS["phone"]["height"]
    page.goto((report / "03_small.html").as_uri())
    prompts = page.locator("td.words.long span[lang=zh]")
    assert prompts.count() >= 2 and max(one.bounding_box()["width"] for one in prompts.all()) < 500
    captions = page.goto((report / "replication.html").as_uri()) and page.locator("table.grid caption span")
    rights = [box["x"] + box["width"] for one in captions.all() if (box := one.bounding_box())]
    assert rights and max(rights) <= SCREENS["phone"]["width"]  # they stay where the table scrolls


def test_formulas_are_set_without_a_script(phone, report):
    """A fraction is as high as two lines, and a formula that is wider than a phone scrolls by itself."""
    page = phone.new_page()
    page.goto((report / "03_small.html").as_uri())
    top, below = (part.bounding_box() for part in page.locator("math mfrac > *").all()[:2])
    assert top["y"] + top["height"] <= below["y"] + 1 and abs(top["x"] - below["x"]) < 20
    assert page.locator("math").bounding_box()["width"] <= SCREENS["phone"]["width"]
    assert page.locator("math mo", has_text="∑").first.bounding_box()["height"] > 15


def test_a_picture_opens_in_its_full_size(phone, report):
    """A notebook's in its page, where it then scrolls in its box; a figure's as a file."""
    page = phone.new_page()
    page.goto((report / "03_small.html").as_uri())
    picture = page.locator("a.full img")
    small = picture.bounding_box()["width"]
    assert small <= SCREENS["phone"]["width"]
    picture.click()
    assert picture.bounding_box()["width"] > 2 * small
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS["phone"]["width"]
    page.goto((report / "index.html").as_uri())
    page.locator("figure a:has(img)").first.click()
    page.wait_for_url("**/curve.png")


def test_the_report_prints(browser, report, artefacts):
    """On A4: no folded code, no navigation, nothing cut off at the right."""
    context = browser.new_context(viewport={"width": 680, "height": 1000}, color_scheme="dark")  # 180 mm at 96 dpi
    try:
        page = context.new_page()
        for name in ("index", "03_small"):
            page.goto((report / f"{name}.html").as_uri())
            content = page.pdf(path=artefacts / f"report-{name}.pdf", prefer_css_page_size=True)
            assert content.startswith(b"%PDF-") and len(re.findall(rb"/Type\s*/Page\b", content)) >= 1
            page.emulate_media(media="print", color_scheme="dark")
            assert not page.locator("nav").is_visible()
            assert not any(one.is_visible() for one in page.locator("details.code").all())
            rights = page.evaluate("[...document.images].map(i => i.getBoundingClientRect().right)")
            assert rights and max(rights) <= 680
            assert (
                page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 27, 27)"
            )  # ink, not light on white
            page.emulate_media(media="screen")
    finally:
        context.close()


SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page, not only those in sight
}
SMALLER = {
    "subjects": 2, "clips_per_subject": 3, "curve_subjects": 2, "curve_clips_per_subject": 3,
    "curve_intensities": [1.0], "curve_overrides": {"epochs": 1, "batch_size": 16, "lr": 0.001},
}  # fmt: skip
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(prompt => prompt.innerText)"
ALL_RAN = f"() => !({PROMPTS}).some(text => text.includes('*'))"


@pytest.fixture
def lab(tmp_path, home):
    """JupyterLab on a smaller quickstart, on a free port that only this machine sees: its address and the notebook."""
    book = nbformat.read(SOURCE / "00_quickstart.ipynb", as_version=4)
    (parameters,) = (cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += "".join(f"\n{name} = {value!r}" for name, value in SMALLER.items())
    path = tmp_path / "notebooks" / "00_quickstart.ipynb"
    path.parent.mkdir()
    nbformat.write(book, path)
    state = Path(tempfile.mkdtemp(prefix="lab-"))  # the kernel's sockets lie there, and their names must be short
    for name, values in SETTINGS.items():
        files.write_json(state / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings", values)
    folders = {f"JUPYTER_{name}_DIR": str(state / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    folders |= {f"JUPYTERLAB_{name}_DIR": str(state / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
        f"--ServerApp.root_dir={path.parent}", "--ServerApp.terminals_enabled=False", "--KernelManager.transport=ipc",
        "--LabApp.extension_manager=readonly", "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with (tmp_path / "lab.log").open("w") as log:
        environment = os.environ | folders | {"JUPYTER_TOKEN": token, "OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        until = time.monotonic() + 120
        while not (found := [p for p in (state / "runtime").glob("jpserver-*.json") if p.stat().st_size]):
            assert server.poll() is None and time.monotonic() < until, (tmp_path / "lab.log").read_text()
            time.sleep(0.1)
        yield f"{files.read_json(found[0])['url']}lab/tree/{path.name}?token={token}&reset", path
    finally:
        server.terminate()
        try:
            server.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):  # a kernel that its server did not end
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            shutil.rmtree(state)


def run_all(page):
    """Run > Run All Cells; once more if JupyterLab forgot it, as it does in the moment in which the kernel connects."""
    for _ in range(3):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with contextlib.suppress(PlaywrightTimeout):
            page.wait_for_function(f"() => !({PROMPTS}).every(text => text === '[ ]:')", timeout=10_000)
            return
    raise AssertionError("JupyterLab ran no cell")


def look(picture, said):
    """The explorer's picture, as its pixels, and its text."""
    pixels = picture.evaluate(
        "async image => { await image.decode(); const canvas = document.createElement('canvas');"
        "canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;"
        "canvas.getContext('2d').drawImage(image, 0, 0); return canvas.toDataURL(); }"
    )
    return pixels, said.inner_text()


def press(page, slider, key):
    """A key on the handle of a slider, by the slider's label."""
    page.locator(".widget-slider", has=page.get_by_text(slider, exact=True)).locator(".noUi-handle").press(key)


def test_jupyterlab_runs_the_quickstart_and_its_explorer_answers(browser, lab, home, artefacts):
    address, path = lab
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    watched = Watched(context)
    page = watched.page
    try:
        page.set_default_timeout(60_000)
        page.goto(address)
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        run_all(page)
        page.wait_for_function(ALL_RAN, timeout=300_000)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        page.keyboard.press("Control+s")
        page.locator(".jp-mod-current.jp-mod-dirty").wait_for(state="detached")
        saved = nbformat.read(path, as_version=4)
        code = [cell for cell in saved.cells if cell.cell_type == "code"]
        errors = [output for cell in code for output in cell.outputs if output.output_type == "error"]
        assert [f"{error.ename}: {error.evalue}" for error in errors] == []
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        assert (home / "runs" / "smoke" / "records" / "00_quickstart.json").is_file()

        explorer = page.locator(".widget-vbox:has(> img)")
        picture, said = explorer.locator("> img"), explorer.locator("> .widget-html")
        seen = [look(picture, said)]

        clip = page.get_by_label("Clip", exact=True)
        other = clip.locator("option:not(:checked)").first.inner_text()
        clip.select_option(label=other)
        name, truth = re.fullmatch(r"(\S+) \((.*)\)", other.replace("\xa0", " ")).groups()
        said.filter(has_text=f"/{name}, frame").wait_for()
        seen.append(look(picture, said))
        assert f"Annotated: {truth.replace('no AU', 'none')}." in seen[-1][1]

        frame = int(re.search(r"frame (\d+) of", seen[-1][1])[1])
        press(page, "Frame", "ArrowLeft")
        said.filter(has_text=f"frame {frame - 1} of").wait_for()
        seen.append(look(picture, said))

        probabilities = dict(re.findall(r"(AU\d+) ([01]\.\d\d)", seen[-1][1]))
        assert probabilities
        for key, threshold, present in (("Home", "0.00", ", ".join(probabilities)), ("End", "1.00", "none")):
            press(page, "Threshold", key)
            said.filter(has_text=f"Predicted at the threshold {threshold}: {present}.").wait_for()
            seen.append(look(picture, said))
        assert len({pixels for pixels, _ in seen}) == len(seen)  # each choice is another picture
        assert [text for text in watched.wrong if "terminals plugin" not in text] == []
        assert [
            url for url in watched.requests if not url.startswith(("data:", "blob:", address.partition("lab/")[0]))
        ] == []
    finally:
        page.screenshot(path=artefacts / "lab.png")
        context.close()

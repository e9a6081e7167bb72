"""Every figure at its print size: a column or a page wide, type of 6 points or more, no text cut or over another."""

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from aullm_lib import predict
from aullm_lib.explain import sanity
from aullm_lib.explain.localisation import MEASURES, NO_MODEL, RANDOMISED
from aullm_lib.explain.probes import BEFORE, VISUAL
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.model import AULLM
from aullm_lib.recipe import Recipe
from aullm_lib.report.figures import canvas, clips, fig1, fig2, fig3, maps, scores, view

RNG = np.random.default_rng(0)
AUS = tuple(f"AU{n}" for n in (1, 2, 4, 7, 12, 14, 15, 17))
RELEASES = ("synthetic release in the layout of CASME II", "synthetic release in the layout of SAMM")
CROSS = ("synthetic release in the layout of CASME II → SAMM", "synthetic release in the layout of SAMM → CASME II")
NOTE = "Synthetic release: the faces are rendered, not CASME II or SAMM\nMore, which only the caption has."
LLMS = ("Qwen2.5-1.5B", "DeepSeek-R1-Distill-Qwen-1.5B", "Llama-3.2-1B")
FACE = RNG.integers(0, 255, (6, 64, 64), np.uint8)
CLIP = "casme2/sub01/EP02_01f"


def interval(index, **more):
    values = RNG.uniform(40, 90, len(index))
    return pd.DataFrame({"score": values, "low": values - 9, "high": values + 8} | more, index=index)


def per_au(count):
    index = [*AUS[:count], "mean"]
    return interval(index).div(100).set_axis(["f1_macro", "f1_macro_low", "f1_macro_high"], axis=1)


def table(release="casme2", clips=129):
    labels = {au: RNG.integers(0, 2, clips) for au in (*AUS, "AU20", "AU24", "AU25", "AU26")}
    labels |= {"AU4": np.ones(clips, int), "n_frames": RNG.integers(4, 140, clips)}
    return pd.DataFrame(labels).assign(dataset=release, synthetic=True)


def shortcuts(aus):
    names = ["clip length", "onset frame's number", "brightness, apex − onset"]
    names += [f"file size, largest : onset {k}" for k in range(8)]
    index = pd.MultiIndex.from_product([aus, names], names=["au", "fact"])
    return pd.DataFrame({"area": RNG.random(len(index)), "shortcut": RNG.random(len(index)) > 0.5}, index)


def curve():
    names = ("threshold 0.5", "threshold chosen per AU on the other subjects",
             "threshold tuned on the test labels (released script)")  # fmt: skip
    rows = [(x, seed, name) for x in (0.0, 0.5, 1.0) for seed in (1, 2) for name in names]
    points = pd.DataFrame(rows, columns=["intensity", "seed", "scorer"])
    points = points.join(interval(points.index).div(100))
    return points.assign(**{name: 0.4 + 0.05 * k for k, name in enumerate(scores.TRIVIAL)})


def differences(against, names):
    index = pd.MultiIndex.from_tuples([(data, against, name) for data in (*RELEASES, *CROSS) for name in names],
                                      names=["data", "against", "method"])  # fmt: skip
    values = RNG.uniform(-20, 20, len(index))
    return pd.DataFrame({"difference": values, "low": values - 9, "high": values + 9, "supported": "yes"}, index)


def controls():
    variants = {"all": "", CHANCE: "", "no-llm": "no LLM", "efp-small": "the EFP with as many parameters as EFP-"}
    keys = [("AU-LLM, tiny", data, variant) for data in RELEASES for variant in variants]
    frame = pd.DataFrame(index=pd.MultiIndex.from_tuples(keys, names=["model", "data", "variant"]))
    groups = ["reference", "reference", "LLM taken away or replaced", "other parts"] * 2
    frame = frame.assign(group=groups, what=[*variants.values()] * 2, score=70.0, difference=-3.0, low=-9.0, high=2.0,
                         supported="no", seeds=2)  # fmt: skip
    frame["of seeds"] = [[68.0, 72.0]] * len(frame)
    return frame


def claims():
    keys = [(f"C{n}", data, f"AU-LLM, {llm}", "weights of the LLM: random, with LoRA") for n in (1, 2, 3)
            for data in ("synthetic, as CASME II", "synthetic, as CASME II → SAMM") for llm in LLMS]  # fmt: skip
    index = pd.MultiIndex.from_tuples(keys, names=["claim", "data", "model", "against"])
    values = RNG.uniform(-20, 20, len(index))
    return pd.DataFrame({"difference": values, "low": values - 9, "high": values + 9, "detectable": 12.0,
                         "published": 3.0, "decides": True, "synthetic": True,
                         "verdict": ["supported", "not supported", "cannot tell"] * 6}, index)  # fmt: skip


def localised(subjects):
    keys = [(model, method) for model in ("AU-LLM", "AU-LLM" + RANDOMISED) for method in ("Grad-CAM", "occlusion",
            "integrated gradients")] + [("3D-CNN", "Grad-CAM"), (NO_MODEL, "frame difference")]  # fmt: skip
    rows = [(*key, f"s{s}", au, *RNG.random(len(MEASURES))) for key in keys for s in range(subjects) for au in AUS]
    lines = [(*key, curve, share, RNG.random()) for key in keys for curve in ("deletion", "insertion")
             for share in (0, 0.5, 1)]  # fmt: skip
    frame = sanity.summary(pd.DataFrame(rows, columns=["model", "method", "subject", "au", *MEASURES]))
    return frame, pd.DataFrame(lines, columns=["model", "method", "curve", "share", "probability"])


def signal():
    frame = pd.DataFrame({"fold": ["a", "b"] * 4, "epoch": [0, 0, 1, 1, 8, 8, 22, 22]})
    columns = [f"{part}_{what}" for part in ("token", "hidden") for what in ("norm", "spread", "signal")]
    return frame.assign(**{name: RNG.uniform(0.02, 40, 8) for name in (*columns, "embedding_norm")})


def ablations():
    rows = pd.DataFrame([(llm, variant) for llm in LLMS for variant in fig2.BARS], columns=["llm", "variant"])
    rows = rows.join(interval(rows.index, published=77.0))
    return {RELEASES[0]: rows, RELEASES[1]: rows.assign(score=rows["score"].where(rows.index % 4 > 0))}


def parts(tiny_llm):
    model = AULLM(Recipe.paper(), 8, llm=tiny_llm).eval()
    return fig1.parts(model, torch.zeros(1, 6, 64, 64, dtype=torch.uint8))


def row(**maps):
    heat = {"plain": RNG.random((5, 64, 64)), "ours": RNG.random((5, 64, 64))} | maps
    return fig3.Row(f"{CLIP}: AU4 + AU15 + AU17 (model of fold casme2-sub01)", FACE, **heat, se=RNG.random((4, 64)),
                    mask=RNG.random((64, 64)) > 0.5)  # fmt: skip


def user_clip():
    probabilities = pd.DataFrame({"name": "", "probability": RNG.random(8), "lowest": 0.1, "highest": 0.9}, list(AUS))
    prediction = predict.ClipPrediction(
        source=Path("clip.mp4"), remarks=("12 frames were skipped",), limits=("A probability is no intensity. " * 4,),
        synthetic=True, models=8, probabilities=probabilities, n_frames=29, numbers=(112, 118, 123, 129, 135, 140),
        frames=FACE, heat=RNG.random((8, 6, 64, 64)), confidence=1.0, success=True,
        seen=np.zeros((480, 640), np.uint8), matrix=np.array([[0.2, 0, -40], [0, 0.2, -20]]),
    )  # fmt: skip
    return clips.user_clip(prediction, annotated=["AU4", "AU9"])


def timeline():
    starts = np.repeat(np.arange(0, 300, 5), 8)
    rows = pd.DataFrame({"start_frame": starts, "end_frame": starts + 9, "au": [*AUS] * 60, "start_s": starts / 25,
                         "end_s": starts / 25 + 0.4, "probability": RNG.random(480)})  # fmt: skip
    rows.loc[rows["start_frame"] > 200, "probability"] = np.nan
    return clips.timeline(predict.Timeline(
        source=Path("long.mp4"), remarks=(), limits=("A probability is no intensity. " * 4,), synthetic=True, models=1,
        table=rows, length=10, stride=5, fps=25.0, path=None, complete=True, thresholds=pd.Series(0.5, list(AUS)),
        settings={}, boxes=np.zeros((60, 4)), matrices=np.zeros((60, 2, 3)),
    ))  # fmt: skip


def explored(shown="all four", **missing):
    return view.draw(view.View(
        title=CLIP, frame=3, n_frames=60, sample=2, samples=6, raw=np.zeros((480, 640), np.uint8),
        matrix=np.array([[0.2, 0, -40], [0, 0.2, -20]]), aligned=FACE[0], sampled=FACE[0],
        filtered=FACE[0] / 100.0, limit=1.0, heat=RNG.random((64, 64)), au="AU4", truth=("AU4", "AU9"),
        probabilities=pd.Series(RNG.random(8), list(AUS)), threshold=0.5, missing=missing, note=NOTE,
    ), shown)  # fmt: skip


SHEET = dict.fromkeys(AUS, (CLIP, FACE[:3]))
SIDES = {f"{CLIP}: {au}, probability 0.68 (model of fold casme2-sub01)": (FACE[0], {
    maps.label(model, method, short=True): RNG.random((64, 64))
    for model in ("AU-LLM", "AU-LLM" + RANDOMISED, NO_MODEL) for method in ("Grad-CAM", "integrated gradients", "map")
}, FACE[1] > 100) for au in AUS[:2]}  # fmt: skip
LOG = pd.DataFrame({"fold": ["a", "b"] * 22, "epoch": np.repeat(range(1, 23), 2), "loss": RNG.uniform(0.2, 2, 44)})
LINES = {BEFORE: np.full((6, 6), -1.0), "a": np.ones((6, 6)), "b": np.ones((6, 6))}
BINS = pd.DataFrame({"au": AUS, "bin": 0, "mean_probability": 0.1, "frequency": 0.2, "count": 9})
DYNAMICS = pd.DataFrame({"sd": RNG.random(12), "shuffled": RNG.random(12), "dead": 0.1, "subject": [*"abc"] * 4})
PRESS = {
    "film": lambda _: clips.film({"onset": FACE, "apex − onset": [None, *(FACE[1:] - 100.0)]},
                                 ["AU15\nLip Corner Depressor"] * 6, signed=["apex − onset"], note=NOTE),
    "film of eight": lambda _: clips.film({"onset": [FACE[0]] * 8}, ["AU15\nLip Corner Depressor"] * 8, note=NOTE),
    "contact_sheet": lambda _: clips.contact_sheet(SHEET, NOTE),
    "alignment": lambda _: clips.alignment({f"{CLIP}{k}": (FACE[0], np.eye(2, 3), FACE[0]) for k in range(8)}, NOTE),
    "alignment of one": lambda _: clips.alignment({CLIP: (FACE[0], np.eye(2, 3), FACE[0])}, NOTE),
    "user_clip": lambda _: user_clip(),
    "timeline": lambda _: timeline(),
    "figure1": lambda llm: fig1.figure1(parts(llm), frames=FACE, probabilities=pd.Series(0.4, list(AUS)),
                                        truth=["AU4"], note=NOTE),
    "figure2": lambda _: fig2.figure2(ablations(), dict.fromkeys(RELEASES, 49.0), NOTE),
    "figure3": lambda _: fig3.figure3([row(), row(ours=np.ones((5, 64, 64)))], NOTE),
    "side_by_side": lambda _: maps.side_by_side(SIDES, NOTE),
    "localisation": lambda _: maps.localisation(localised(8)[0], NOTE),
    "localisation of few": lambda _: maps.localisation(localised(3)[0], NOTE),
    "curves": lambda _: maps.curves(localised(3)[1], localised(3)[0], "AU-LLM", NOTE),
    "led": lambda _: maps.led(LINES, np.arange(3) / 4, dict.fromkeys(LINES, np.ones(3)), NOTE),
    "se": lambda _: maps.se(DYNAMICS, NOTE),
    "attention": lambda _: maps.attention(["Ġassistant"] * 30 + [VISUAL], RNG.dirichlet(np.ones(31), 24), NOTE),
    "per_au": lambda _: scores.per_au({key: {name: per_au(n) for name in (*LLMS, "LED SSSNet")}
                                       for key, n in zip(RELEASES, (8, 4), strict=True)},
                                      {key: per_au(n) for key, n in zip(RELEASES, (8, 4), strict=True)}, NOTE),
    "per_au across domains": lambda _: scores.per_au({key: {"AU-LLM, tiny": per_au(4)} for key in CROSS},
                                                     {key: per_au(4) for key in CROSS}, NOTE),
    "au_counts": lambda _: scores.au_counts({"casme2": table(), "mmew": table()}, {"casme2": {1: 26, 4: 130}}, NOTE),
    "cooccurrence": lambda _: scores.cooccurrence({name: table(name) for name in ("casme2", "samm", "mmew")}, NOTE),
    "cooccurrence of one": lambda _: scores.cooccurrence({"casme2": table()}, NOTE),
    "shortcuts": lambda _: scores.shortcuts({"casme2": shortcuts(AUS), "samm": shortcuts(AUS[1:5])}, NOTE),
    "lengths": lambda _: scores.lengths({"casme2": table(), "samm": table(), "casme3": table()}, NOTE),
    "lengths of one": lambda _: scores.lengths({"casme2": table()}, NOTE),
    "losses": lambda _: scores.losses({f"{name}: AU-LLM, tiny-qwen2": LOG for name in RELEASES}, NOTE),
    "losses of three seeds": lambda _: scores.losses({f"{name}: samm-all-tiny-released-seed{seed}-2eaf6779b2": LOG
                                                     for seed in (1, 2, 3) for name in RELEASES[:2]}, NOTE),
    "losses of one": lambda _: scores.losses({f"{RELEASES[0]}: AU-LLM, tiny-qwen2": LOG}, NOTE),
    "signal": lambda _: scores.signal(signal(), RELEASES[0], NOTE),
    "intensity_curve": lambda _: scores.intensity_curve(curve(), note=NOTE),
    "intensity_curve of one": lambda _: scores.intensity_curve(curve().query("scorer == 'threshold 0.5'"), note=NOTE),
    "tuning": lambda _: scores.tuning(
        pd.DataFrame([(data, scorer, x, 3.0, 2.0, 4.0) for data in ("CASME II", "SAMM")
                      for scorer, xs in (("uninformative", (0.25, 0.5, 0.75, 1, 2, 4)), ("skilled", range(-3, 4)))
                      for x in xs], columns=["data", "scorer", "x", "gain", "low", "high"]),
        {"CASME II": 3.0, "SAMM": 10.0}, NOTE),
    "methods": lambda _: scores.methods(
        {name: interval(["Optical flow + SVM", "LED SSSNet"], published=60.0) for name in RELEASES},
        {RELEASES[0]: dict.fromkeys(scores.TRIVIAL, 45.0)}, NOTE),
    "methods of one": lambda _: scores.methods({RELEASES[0]: interval(["Optical flow + SVM"], published=60.0)},
                                               {RELEASES[0]: dict.fromkeys(scores.TRIVIAL, 45.0)}, NOTE),
    "differences": lambda _: scores.differences(differences("AU-LLM, DeepSeek-R1-Distill-Qwen-1.5B",
                                                            ["Optical flow + SVM", "LED SSSNet"]), NOTE),
    "controls": lambda _: scores.controls(controls(), NOTE),
    "reliability": lambda _: scores.reliability(BINS, pd.Series(0.07, list(AUS)), NOTE),
    "claims": lambda _: scores.claims(claims(), NOTE),
    "draw": lambda _: explored(),
    "draw without a model": lambda _: explored(**{"heat map": "the run kept no trained weights (keep_weights=True)",
                                                  "LED-filtered": "the filter begins with the second sample"}),
    "draw one panel": lambda _: explored("heat map"),
}  # fmt: skip
"""The function, and of which data -> how it is drawn from them, given a tiny LLM."""


def drawn(figure, monkeypatch):
    """Every text that is drawn, once it is laid out."""
    texts, draw = [], Text.draw
    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", lambda text, renderer: (texts.append(text), draw(text, renderer))[1])
        figure.savefig(io.BytesIO(), dpi="figure")
    return [text for text in dict.fromkeys(texts) if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("name", list(PRESS))
def test_a_figure_fits_a_page_and_can_be_read(name, tiny_llm, monkeypatch):
    figure = PRESS[name](tiny_llm)
    assert figure.get_figwidth() in (3.5, 7)
    assert figure.get_figheight() < 9
    texts = drawn(figure, monkeypatch)
    boxes = {text: text.get_window_extent() for text in texts}
    pixel = figure.dpi / 72  # a point
    for text, box in boxes.items():
        assert text.get_fontsize() >= 6, text
        assert box.x0 > -pixel and box.y0 > -pixel, text
        assert box.x1 < figure.bbox.x1 + pixel and box.y1 < figure.bbox.y1 + pixel, text
    for one, other in combinations(texts, 2):
        a, b = boxes[one], boxes[other]
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide < pixel or high < pixel, (one, other)  # extents have a margin of their own
    shown = " ".join(" ".join(text.get_text().split()) for text in texts)
    assert "synthetic" in shown.lower() and "only the caption has" not in shown
    if name not in ("user_clip", "timeline"):  # whose limits all stay in them
        assert "only the caption has" in figure.get_label()


def test_every_figure_is_among_them():
    modules = (clips, fig1, fig2, fig3, maps, scores, view)
    functions = {name for module in modules for name, value in vars(module).items()
                 if hasattr(value, "__wrapped__") and value.__module__ == module.__name__}  # fmt: skip
    assert functions == {name.partition(" ")[0] for name in PRESS}


# What is seen


def test_a_map_without_spread_is_greyed_and_says_so(monkeypatch):
    flat = np.full((64, 64), 0.7) + 0.01 * RNG.random((64, 64))
    figure = maps.side_by_side({"a": (FACE[0], {"flat": flat, "none": 0 * flat, "peak": RNG.random((64, 64))}, None)})
    texts = [text.get_text() for text in drawn(figure, monkeypatch)]
    assert texts.count("no\nspread") == 2
    pictures = [axis.images[0].get_array() for axis in figure.axes if axis.images][1:4]
    for picture in pictures[:2]:
        assert picture.ndim == 2 and picture.min() >= 210  # pale, of one hue with the page
    assert pictures[2].ndim == 3
    assert canvas.shares(flat) is None and canvas.shares(np.array([0.0, 2.0])).tolist() == [0, 1]

"""Figures 1 and 3 and those of the maps: they show what they are given, at their size, and repeat to the byte."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.text import Text
from transformers import AutoModel

from aullm_lib import engine, explain, trained
from aullm_lib.experiment import Experiment
from aullm_lib.explain import probes, sanity
from aullm_lib.explain.localisation import MEASURES, NO_MODEL, RANDOMISED
from aullm_lib.explain.probes import BEFORE, PART, VISUAL
from aullm_lib.llm import load
from aullm_lib.model import AULLM
from aullm_lib.recipe import Recipe
from aullm_lib.report import figures
from aullm_lib.report.figures import canvas, fig1, fig3, maps
from aullm_lib.report.figures.style import ORANGE
from aullm_lib.runs import Run
from aullm_lib.support.tiny import build_tiny

EVIL = "a$x_1$b<c>&\\frac{"
M_RANDOM = "M" + RANDOMISED
RNG = np.random.default_rng(0)


def words(figure):
    """Every text of a figure, and its caption."""
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()] + [figure.get_label()]


def row(**changes):
    values = {
        "frames": RNG.integers(0, 255, (6, 8, 8), np.uint8), "plain": RNG.random((5, 8, 8)),
        "ours": RNG.random((5, 8, 8)), "se": RNG.random((4, 64)), "mask": RNG.random((8, 8)) > 0.5,
    }  # fmt: skip
    return fig3.Row("AU12 " + EVIL, **values | changes)


def scored():
    """Rows of two models and none, over two AUs and six subjects."""
    keys = [("M", "Grad-CAM"), ("M", "occlusion"), ("N", "Grad-CAM"), (M_RANDOM, "Grad-CAM"), (NO_MODEL, "centre")]
    values = [
        (model, method, f"s{s}", au, RNG.random(), 0.2 + 0.1 * g, 0.3, 0.6, 0.05)
        for g, (model, method) in enumerate(keys) for s in range(6) for au in ("AU4", "AU12")
    ]  # fmt: skip
    columns = ["model", "method", "subject", "au", *MEASURES]
    lines = [
        (*key, curve, share, 0.1 + 0.1 * g + share / 5)
        for g, key in enumerate(keys) for curve in ("deletion", "insertion") for share in (0, 0.5, 1)
    ]  # fmt: skip
    curves = pd.DataFrame(lines, columns=["model", "method", "curve", "share", "probability"])
    return sanity.summary(pd.DataFrame(values, columns=columns)), curves


def test_the_clips_of_figure_3_are_the_papers_or_the_closest():
    table = pd.DataFrame(
        {"AU4": [1, 1, 0, 1, 0, 0], "AU12": [0, 1, 1, 0, 1, 0], "AU15": [0, 0, 0, 1, 0, 0], "AU17": [0, 0, 0, 1, 0, 0]},
        index=list("abcdef"),
    ).assign(subject=["s1", "s1", "s1", "s2", "s3", "s3"])
    aus = (4, 12, 15, 17)
    assert fig3.chosen(table, aus, ["s1", "s2", "s3"]) == {"c": [12], "d": [4, 15, 17]}
    assert fig3.chosen(table, aus, ["s1", "s3"]) == {"c": [12], "a": [4]}
    assert fig3.chosen(table, (12, 17), ["s3"]) == {"e": [12]}
    assert fig3.chosen(table, aus, ["s2"]) == {"d": [4, 15, 17]}  # has no AU12, and is there once
    assert fig3.chosen(table, aus, []) == {}
    assert fig3.chosen(table, (1,), ["s1"]) == {}


def test_joined_maps_are_the_largest_of_each_scaled_to_its_top():
    maps = np.array([[[[0.0, 2.0], [4.0, 0.0]]], [[[0.1, 0.0], [0.1, 0.2]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert fig3.joined(maps).tolist() == [[[0.5, 0.5], [1.0, 1.0]]]


def test_figure_3_shows_frames_both_models_maps_and_se_weights():
    one, other = row(), row(mask=None)
    figure = fig3.figure3([one, other], "note " + EVIL)
    assert figure.get_figwidth() == 7
    panels = [axis for axis in figure.axes if axis.images and len(axis.images[0].get_array()) == 8]
    shown = [np.asarray(axis.images[0].get_array()) for axis in panels]
    still = np.zeros((1, 8, 8))  # frame 0 has no map
    rows = [
        (clip, None if maps is None else np.concatenate([still, maps / max(maps.max(), 1e-9)]))
        for clip in (one, other) for maps in (None, clip.plain, clip.ours)
    ]  # fmt: skip
    expected = [
        frame if maps is None else canvas.overlaid(frame, maps[t])
        for clip, maps in rows for t, frame in enumerate(clip.frames)
    ]  # fmt: skip
    assert len(shown) == len(expected) == 2 * 3 * 6
    for image, want in zip(shown, expected, strict=True):
        np.testing.assert_allclose(image, want)
    assert [bool(axis.collections) for axis in panels] == [False] * 6 + [True] * 12 + [False] * 18  # the mask's outline
    se = [axis.images[0] for axis in figure.axes if axis.images and len(axis.images[0].get_array()) == 64]
    assert len(se) == 2 and se[0].get_cmap().name == canvas.HEAT
    assert (se[0].get_array() == one.se.T[np.argsort(-one.se.mean(0))]).all()  # the largest mean weight above
    text = words(figure)
    assert {"(a) frames", "(b) plain 3D-CNN", "(c) AU-LLM's backbone", "(d) SE weights over time"} <= set(text)
    assert "share of the map's maximum" in text and text.count("weight") == 2  # the colour bars
    assert not any("dead" in t for t in text) and sum(EVIL in t for t in text) == 4  # titles, line and caption
    assert fig3.RULE in text[-1]


def test_figure_3_says_that_relus_are_dead_and_goes_without_se():
    half = np.full((4, 64), 0.5)
    half[0] = RNG.random(64)
    text = " ".join(" ".join(words(fig3.figure3([row(se=half)]))).split())
    assert "all ReLUs are dead in 75% of the steps in (d); there all its weights are 0.5" in text
    text = words(fig3.figure3([row(se=None)]))
    assert "(d) SE weights over time" not in text and "weight" not in text


def test_localisation_shows_every_map_with_its_interval_and_chance():
    scores, _ = scored()
    figure = maps.localisation(scores, "note " + EVIL)
    assert figure.get_figwidth() == 7 and len(figure.axes) == 6
    order = [("M", "Grad-CAM"), ("M", "occlusion"), ("N", "Grad-CAM"), (M_RANDOM, "Grad-CAM"), (NO_MODEL, "centre")]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["Grad-CAM, M", "occlusion, M", "Grad-CAM, N", "Grad-CAM, M, randomised weights", "centre"]
    for k, (measure, au) in enumerate((m, au) for m in MEASURES[:2] for au in ("AU4", "AU12", "all")):
        lines = figure.axes[k].lines
        for y, key in enumerate(order):
            expected = 100 * scores.loc[(*key, au)]
            (span,) = [line.get_xdata() for line in lines if list(line.get_ydata()) == [y, y]]
            assert list(span) == pytest.approx([expected[f"{measure}_low"], expected[f"{measure}_high"]])
            (dot,) = [line for line in lines if list(line.get_ydata()) == [y]]
            assert dot.get_xdata()[0] == pytest.approx(expected[measure])
            assert (dot.get_markerfacecolor() == "white") == key[0].endswith(RANDOMISED)
        assert 5 in [pytest.approx(line.get_xdata()[0]) for line in lines if line.get_linestyle() == "--"]  # chance
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["0", "50", "100"]
    assert [axis.get_title() for axis in figure.axes[:3]] == ["AU4\n6 clips", "AU12\n6 clips", "all\n12 maps"]
    assert {"pointing game", "energy-based pointing game"} <= set(words(figure))
    assert any(text.startswith("chance level") for text in words(figure))
    assert "only in the panel of all" not in figure.get_label()


def test_localisation_has_no_panel_of_its_own_for_an_au_of_few_subjects():
    scores, _ = scored()
    level = scores.index.get_level_values("au")
    rare = maps.localisation(scores.assign(subjects=scores["subjects"].where(level != "AU4", 5)), "n")
    assert [axis.get_title() for axis in rare.axes[:2]] == ["AU12\n6 clips", "all\n12 maps"]
    assert "Shown by fewer than 6 subjects, and only in the panel of all: AU4." in rare.get_label()
    pooled = maps.localisation(scores.assign(subjects=5), "n")
    titles = ["pointing game\nall, 12 maps", "energy-based pointing game\nall, 12 maps"]
    assert [axis.get_title() for axis in pooled.axes] == titles


def test_curves_are_the_models_own_and_those_of_no_model():
    scores, lines = scored()
    figure = maps.curves(lines, scores, "M")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Grad-CAM (0.30, 0.60)", "occlusion (0.30, 0.60)", "centre (0.30, 0.60)"]
    for axis in figure.axes:
        assert [list(line.get_ydata()) for line in axis.lines] == [
            pytest.approx([0.1 + 0.1 * g, 0.2 + 0.1 * g, 0.3 + 0.1 * g]) for g in (0, 1, 4)
        ]
        assert axis.get_ylim()[1] > lines["probability"].max()


def test_a_sheet_shows_every_map_over_its_frame():
    frame, heat = RNG.integers(0, 255, (8, 8), np.uint8), RNG.random((8, 8))
    figure = maps.side_by_side({"one " + EVIL: (frame, {"a": heat, "b": np.zeros((8, 8))}, heat > 0.5)}, "n")
    panels = [axis for axis in figure.axes if axis.images]
    shown = [axis.images[0].get_array() for axis in panels]
    assert len(shown) == 3 and figure.get_figwidth() == 7
    grey = frame[..., None].repeat(3, 2) / 255
    np.testing.assert_allclose(shown[0], 0.6 * grey)
    assert np.abs(shown[1] - shown[0]).max() > 0.1 and all(axis.collections for axis in panels)
    assert shown[2].ndim == 2 and "no\nspread" in words(figure)  # an empty map


def test_led_is_drawn_before_and_after():
    matrices = {
        BEFORE: np.triu(np.full((6, 6), 2.0)),
        "a": np.triu(np.full((6, 6), 1.0)),
        "b": np.triu(np.full((6, 6), 4.0)),
    }
    cycles = np.linspace(0, 0.5, 5)
    figure = maps.led(matrices, cycles, {name: m[0, 0] * cycles / 4 for name, m in matrices.items()}, "n")
    shown = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert (shown[0] == matrices[BEFORE]).all() and (shown[1] == 2.5 * (matrices[BEFORE] > 0)).all()
    ends = sorted(line.get_ydata()[-1] for axis in figure.axes for line in axis.lines)
    assert ends == pytest.approx([0.125, 0.25, 0.3125, 0.5])  # a fold, before, the folds' mean, the other fold
    assert "after, mean of 2 folds" in words(figure)


def varied(clips=12):
    values = {"sd": 0.01 * RNG.random(clips), "shuffled": 0.01 * RNG.random(clips), "dead": [0.5, 0.0] * (clips // 2)}
    return pd.DataFrame(values).assign(subject=[f"s{k % 3}" for k in range(clips)])


def test_se_over_time_is_drawn_per_clip_and_per_subject():
    frame = varied()
    figure = maps.se(frame, "n")
    _, clips, subjects = figure.axes[0].lines
    np.testing.assert_allclose(np.column_stack(clips.get_data()), 100 * frame[["shuffled", "sd"]])
    means = [100 * frame.loc[frame["subject"] == s, ["shuffled", "sd"]].mean() for s in ("s0", "s1", "s2")]
    np.testing.assert_allclose(np.column_stack(subjects.get_data()), means)
    text = " ".join(" ".join(words(figure)).split())
    mean = 100 * frame[["sd", "shuffled"]].mean()
    assert f"On average {mean['sd']:.2f} in the clip's order and {mean['shuffled']:.2f} shuffled" in text
    assert "dead in 25% of the steps" in text
    still = maps.se(frame.assign(sd=0.0, shuffled=0.0, dead=1.0), "n")  # nothing to scale the axes by
    assert still.axes[0].get_xlim() == (0, 1) and "dead in 100%" in " ".join(" ".join(words(still)).split())


def test_attention_is_coloured_as_a_multiple_of_uniform_attention():
    weights = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    figure = maps.attention(["a", "b", VISUAL], weights, "n")
    image = figure.axes[0].images[0]
    np.testing.assert_allclose(image.get_array(), np.maximum(3 * weights.T, 1 / 3))
    assert image.norm(1.0) == pytest.approx(0.5) and (image.norm.vmin, image.norm.vmax) == pytest.approx((1 / 3, 3))
    assert any("Attention is 0.3 to 2.4 times uniform attention" in " ".join(text.split()) for text in words(figure))
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["0.333×", "1×", "3×"]


def test_attention_is_drawn_only_where_it_differs_from_uniform():
    weights = np.array([[0.25, 0.25, 0.25, 0.25], [0.25, 0.35, 0.15, 0.25]])
    assert maps.differing(weights).tolist() == [False, True, True, False]
    figure = maps.attention(["a", "b", "c", VISUAL], weights, "n")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["2 b", "3 c"]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), [[1, 1.4], [1, 0.6]])
    assert "2 of 4 tokens" in figure.get_label()
    nearly = np.array([[0.333, 0.334, 0.333]])
    assert not maps.differing(nearly).any()
    with pytest.raises(ValueError, match="nothing to draw"):
        maps.attention(["a", "b", VISUAL], nearly)


def test_tokens_have_their_text_or_only_their_number_where_the_font_lacks_it():
    prompt = Recipe.released().prompt  # in Chinese
    tokens = ["<s>", *prompt[:2], PART, "$x$", " facial", " ", VISUAL]
    figure = maps.attention(tokens, RNG.dirichlet(np.ones(len(tokens)), 2), "n")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["1 <s>", "2", "3", "4 …", "5 $x$", "6 facial", "7 ␣", f"8 {VISUAL}"]
    said = "A token that the font cannot show has only its number."
    assert any(said in " ".join(text.split()) for text in words(figure))
    plain = maps.attention(["a", VISUAL], np.array([[0.4, 0.6]]), "n")
    assert not any("only its number" in " ".join(text.split()) for text in words(plain))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(build_tiny(tmp_path_factory.mktemp("llm") / "tiny", hidden=32, heads=2, kv_heads=1))


@pytest.mark.parametrize(
    "variant", ["all", "3d-cnn", "efp-", "prompt-learning", "mid", "frame-difference", "frozen-llm"]
)
def test_figure_1_counts_every_parameter_once_and_has_the_real_shapes(tiny, variant):
    torch.manual_seed(0)
    model = AULLM(Recipe.released(efp_hidden=20), 3, llm=tiny, variant=variant).eval()
    clips = torch.randint(0, 256, (2, 6, 64, 64), dtype=torch.uint8)
    found = {part.name: part for part in fig1.parts(model, clips)}
    assert sum(part.trained for part in found.values()) == sum(p.numel() for p in model.parameters())
    frozen = 0 if model.llm is None else sum(p.numel() for p in AutoModel.from_config(tiny[0].config).parameters())
    assert sum(part.frozen for part in found.values()) == frozen
    with torch.no_grad():
        features = model.backbone(clips)
        cnn = next(part for part in found.values() if "F_mid" in part.out)
        assert cnn.out["F_mid"] == features.mid.shape[1:] == (64, 2, 9, 9)
        assert cnn.out.get("F_high", ()) == (tuple(features.high.shape[1:]) if variant != "mid" else ())
        assert found["head"].out["logits"] == model(clips).shape[1:]
        assert ("LLM" in found, "LED" in found) == (
            model.llm is not None,
            variant not in ("3d-cnn", "frame-difference"),
        )
        if model.efp is not None:
            part = found["projector" if variant == "efp-" else "EFP"]
            assert part.out["visual token"] == model.token(clips).shape[1:]
    assert not any(module._forward_hooks for module in model.backbone.modules())
    table = fig1.table(found.values())
    assert table["trained"].sum() == sum(part.trained for part in found.values())
    drawn = words(fig1.figure1(list(found.values()), note="n"))
    assert {"F_mid\n64×2×9×9", "clip\n6×64×64"} <= set(drawn)
    assert ("F_high\n256" in drawn) == (variant != "mid")


def test_figure_1_shows_the_tokens_in_their_order_and_the_clips_probabilities(tiny):
    torch.manual_seed(0)
    model = AULLM(Recipe.paper(efp_hidden=20), 3, llm=tiny).eval()
    clips = torch.randint(0, 256, (1, 6, 64, 64), dtype=torch.uint8)
    given = probes.attention(model, clips, tiny[1]).tokens
    parts = fig1.parts(model, clips)
    (tokens,) = [part.tokens for part in parts if part.tokens]
    assert tokens == tuple(token == VISUAL for token in given)
    probabilities = pd.Series([0.1, 0.8, 0.3], index=["AU1", "AU4", "AU12"])
    figure = fig1.figure1(
        parts,
        frames=clips[0].numpy(),
        probabilities=probabilities,
        truth=["AU4"],
        note=EVIL,
    )
    assert figure.get_figwidth() == 7
    assert f"visual token, {len(given) - 1} prompt tokens" in words(figure)
    assert sum(len(axis.images) for axis in figure.axes) == 6
    bars = next(axis.patches for axis in figure.axes if axis.get_xlabel() == "probability")
    assert [bar.get_width() for bar in bars] == [0.1, 0.8, 0.3]
    assert [to_hex(bar.get_facecolor()).upper() == ORANGE for bar in bars] == [False, True, False]
    assert [fig1._short(n) for n in (520, 7168, 74_016_000, 1_543_714_304)] == [
        "520",
        "7.17 k",
        "74 M",
        "1.54 B",
    ]


@pytest.fixture(scope="module")
def trained_runs(hand_store, tiny_llm, tmp_path_factory):
    """The whole model and the plain 3D-CNN, with weights."""
    recipe = Recipe.released(size=32, epochs=2, batch_size=4, lr=1e-3, efp_hidden=16)
    kept = {"out": tmp_path_factory.mktemp("runs"), "keep_weights": True, "device": "cpu"}
    made = {"aus": (1, 4, 12), "recipe": recipe, "llm": tiny_llm}
    experiments = [Experiment(name=variant, variant=variant, **made) for variant in ("all", "3d-cnn")]
    return [Run(engine.run(one, hand_store, **kept)) for one in experiments]


def test_figure_1_of_a_clip_has_what_the_fold_said_that_had_not_seen_its_subject(hand_store, tiny_llm, trained_runs):
    (full, _), clip_id = trained_runs, hand_store.ids[6]
    _, model = explain.held_out(full, clip_id, load(tiny_llm), device="cpu")
    said = torch.sigmoid(model(hand_store.sample([clip_id], 6)))[0].tolist()
    for face in (True, False):
        figure = fig1.of_clip(full, model, hand_store, clip_id, face=face)
        bars = next(axis.patches for axis in figure.axes if axis.get_xlabel() == "probability")
        assert [bar.get_width() for bar in bars] == pytest.approx(said, abs=1e-5)
        labels = hand_store.table.loc[clip_id, ["AU1", "AU4", "AU12"]].tolist()
        assert [to_hex(bar.get_facecolor()).upper() == ORANGE for bar in bars] == [label == 1 for label in labels]
        assert sum(len(axis.images) for axis in figure.axes) == 6 * face
        assert f"{clip_id}, model of fold hand-s1. {full.path.name}." in " ".join(words(figure)[-1].split())


def test_example_maps_are_those_of_their_pairs(hand_store):
    every = pd.DataFrame(
        [(hand_store.ids[0], "AU4", 0.25, "hand-s0"), (hand_store.ids[5], "AU12", 0.75, "hand-s1")],
        columns=["clip_id", "au", "probability", "fold"],
    )
    of = {("M", "Grad-CAM"): torch.rand(2, 5, 8, 8), ("N", "occlusion"): torch.rand(2, 5, 8, 8)}
    masks = torch.rand(2, 8, 8) > 0.5
    made = maps.examples(every.iloc[[1]], of, masks, hand_store, 6)
    ((title, (frame, shown, mask)),) = made.items()
    assert title == f"{hand_store.ids[5]}: AU12, probability 0.75 (model of fold hand-s1)"
    assert (frame == hand_store.sample([hand_store.ids[5]], 6)[0, 3].numpy()).all()
    assert all((one == tensor[1].numpy()).all() for one, tensor in zip(shown.values(), of.values(), strict=True))
    assert (mask == masks[1].numpy()).all() and len(shown) == 2
    assert next(iter(maps.examples(every, of, None, hand_store, 6).values()))[2] is None
    assert maps.examples(every.iloc[:0], of, masks, hand_store, 6) == {}


def test_the_rows_are_explained_by_the_folds_that_did_not_train_on_them(hand_store, tiny_llm, trained_runs):
    full, plain = trained_runs
    llm, clip_id = load(tiny_llm), hand_store.ids[6]
    (made,) = fig3.explained(full, plain, hand_store, {clip_id: [4, 12]}, llm=llm)
    assert made.title == f"{clip_id}: AU4 + AU12 (model of fold hand-s1)" and made.mask is None
    x = hand_store.sample([clip_id] * 2)
    assert (made.frames == x[0].numpy()).all()
    for run, made_maps in ((full, made.ours), (plain, made.plain)):
        expected = explain.grad_cam(trained.load(run, "hand-s1", llm), x, torch.tensor([1, 2])).numpy()
        np.testing.assert_allclose(made_maps, fig3.joined(expected), rtol=1e-4, atol=1e-6)
    weights = probes.frame_weights(trained.load(full, "hand-s1", llm), x[:1])[0]
    np.testing.assert_allclose(made.se, weights.numpy(), rtol=1e-5)


def test_everything_is_the_same_bytes_twice_with_embedded_fonts(tmp_path, tiny):
    scores, lines = scored()
    clip = row()
    torch.manual_seed(0)
    model = AULLM(Recipe.paper(efp_hidden=20), 3, llm=tiny).eval()
    parts = fig1.parts(model, torch.zeros(1, 6, 64, 64, dtype=torch.uint8))
    heat, dynamics = RNG.random((8, 8)), varied()
    makers = {
        "fig3": lambda: fig3.figure3([clip], EVIL),
        "fig1": lambda: fig1.figure1(parts, note=EVIL),
        "localisation": lambda: maps.localisation(scores, EVIL),
        "curves": lambda: maps.curves(lines, scores, "M", EVIL),
        "sheet": lambda: maps.side_by_side({EVIL: (clip.frames[0], {"a": heat}, heat > 0.5)}, EVIL),
        "led": lambda: maps.led(
            {BEFORE: np.eye(6), "a": np.eye(6)}, np.arange(3), {BEFORE: np.ones(3), "a": np.ones(3)}, EVIL
        ),
        "se": lambda: maps.se(dynamics, EVIL),
        "llm": lambda: maps.attention([EVIL, VISUAL], np.array([[0.4, 0.6]]), EVIL),
    }
    for name, make in makers.items():
        one = make()
        first = {p.name: p.read_bytes() for p in figures.save(one, tmp_path / "1" / name, {"synthetic": False})}
        again = {p.name: p.read_bytes() for p in figures.save(make(), tmp_path / "2" / name, {"synthetic": False})}
        assert first == again
        assert any(EVIL in text for text in words(one))
        assert b"/FontFile2" in first[f"{name}.pdf"] and b"/Type3" not in first[f"{name}.pdf"]
        assert json.loads(first[f"{name}.json"]) == {"synthetic": False}


def test_notes_stay_inside_their_figures():
    scores, lines = scored()
    note = "who holds the copyright " * 30
    for figure in (
        fig3.figure3([row()], note),
        maps.localisation(scores, note),
        maps.curves(lines, scores, "M", note),
    ):
        figure.draw_without_rendering()
        text = next(t for t in figure.findobj(Text) if "copyright" in t.get_text())
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1


def test_names_of_runs_stay_whole_in_notes(tiny):
    scores, lines = scored()
    model = AULLM(Recipe.paper(efp_hidden=20), 3, llm=tiny).eval()
    name = "casme2-to-samm-all-tiny-released-seed1-5f1530de7f"
    note, frame = f"{name}. " * 9, np.zeros((8, 8), np.uint8)
    for figure in (
        fig3.figure3([row()], note),
        maps.attention(["a", VISUAL], np.array([[0.4, 0.6]]), note),
        maps.se(varied(), note),
        fig1.figure1(fig1.parts(model, torch.zeros(1, 6, 64, 64, dtype=torch.uint8)), note=note),
        maps.localisation(scores, note),
        maps.curves(lines, scores, "M", note),
        maps.side_by_side({"one": (frame, {"a": np.ones((8, 8))}, None)}, note),
    ):
        (text,) = (text for text in words(figure)[:-1] if name in text)
        assert text.split().count(f"{name}.") == 9 and "\n" in text

"""The explorer shows what is stored, predicted and mapped for a clip by the fold that did not train on its subject."""

import base64
import dataclasses
import html
import io
import json
import time
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_table
from nbconvert import HTMLExporter
from PIL import Image

from aullm_lib import engine, explain, preprocess, trained
from aullm_lib.led import LED
from aullm_lib.notebook import explorer
from aullm_lib.notebook.explorer import Explorer
from aullm_lib.notebook.viewing import Release
from aullm_lib.report.figures import view
from aullm_lib.runs import Run
from aullm_lib.support import images


@pytest.fixture(scope="module")
def world(hand_table, hand_store, tmp_path_factory) -> SimpleNamespace:
    """The hand-made release, whose faces are taken for real, with a run that kept its weights."""
    from aullm_lib.experiment import Experiment
    from aullm_lib.recipe import Recipe

    recipe = Recipe.paper(size=32, epochs=3, batch_size=4, lr=1e-3)
    experiment = Experiment(name="e", aus=(1, 4, 12), recipe=recipe, variant="backbone")
    run = Run(engine.run(experiment, hand_store, out=tmp_path_factory.mktemp("runs"), keep_weights=True))
    subjects = ["s0", "s1", "s2"]
    return SimpleNamespace(table=hand_table, store=hand_store, run=run, subjects=subjects)


@pytest.fixture
def release(world) -> Release:
    return Release(world.table, world.store, world.run, world.subjects)


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


# What there is to see


def test_a_view_holds_what_is_stored_predicted_and_filtered(world, release):
    said = world.run.predictions()
    for clip_id in world.store.ids[::5]:
        (fold,) = set(said[said["clip_id"] == clip_id]["fold"])
        assert fold.endswith(world.store.table.loc[clip_id, "subject"])  # that subject was held out
        frames = world.store.sample([clip_id])  # 1 6 s s
        positions = [int(np.floor(i * (len(world.store[clip_id]) - 1) / 5 + 0.5)) for i in range(6)]
        model = trained.load(world.run, fold)
        with torch.no_grad():
            filtered = model.backbone.led(frames.float())[0].numpy()
        maps = explain.grad_cam(model, frames, 1)[0].numpy()
        for frame in range(len(world.store[clip_id])):
            seen = release.look(clip_id, frame, "AU4")
            sample = min(range(6), key=lambda i: abs(positions[i] - frame))
            assert (seen.sample, seen.frame, seen.n_frames) == (sample, frame, len(world.store[clip_id]))
            assert np.array_equal(seen.raw, images.read(world.table.loc[clip_id, "frames"][frame]))
            assert np.array_equal(seen.aligned, world.store[clip_id][frame])
            assert np.array_equal(seen.sampled, frames[0, sample])
            known = said[said["clip_id"] == clip_id].set_index("au")["probability"]
            pd.testing.assert_series_equal(seen.probabilities, known, check_names=False)
            assert list(seen.truth) == [au for au in ("AU1", "AU4", "AU12") if world.table.loc[clip_id, au]]
            assert f"of the fold {fold}, which did not train on this subject" in seen.note
            if sample == 0:
                assert seen.filtered is None and "second sample" in seen.missing["LED-filtered"]
                assert "heat map" in seen.missing
            else:
                np.testing.assert_allclose(seen.filtered, filtered[sample], atol=1e-6)
                assert seen.limit == pytest.approx(np.quantile(np.abs(filtered[1:]), 0.98))
                np.testing.assert_allclose(seen.heat, maps[sample - 1] / max(maps.max(), 1e-30), atol=1e-6)


def test_a_map_is_made_once_a_clip_and_unit(release, monkeypatch):
    made = []
    true = explain.grad_cam
    monkeypatch.setattr(explain, "grad_cam", lambda model, clips, unit: made.append(unit) or true(model, clips, unit))
    one, other = release.ids[:2]
    for clip_id, unit in [(one, "AU1"), (one, "AU12"), (one, "AU1"), (other, "AU1"), (one, "AU12")]:
        for frame in (2, 5):
            release.look(clip_id, frame, unit)
    assert made == [0, 2, 0]


def test_a_model_on_a_gpu_is_given_its_samples_there(world, release, monkeypatch):
    """The device "meta" stands for one; its filter and its map are answered from the CPU."""
    clip_id = release.ids[0]
    want, given = release.look(clip_id, 6, "AU4"), []
    there, here = (trained.load(world.run, release.fold(clip_id)) for _ in range(2))
    there.to("meta")

    def led(samples):
        assert samples.device.type == "meta"
        return here.backbone.led(world.store.sample([clip_id]))

    def grad_cam(model, samples, unit):
        given.append(model)
        return true(here, samples, unit)

    true = explain.grad_cam
    monkeypatch.setattr(there.backbone.led, "forward", led)
    monkeypatch.setattr(explain, "grad_cam", grad_cam)
    monkeypatch.setattr(trained.Ensemble, "models", lambda self: iter([there]))
    monkeypatch.setattr(there, "to", lambda device: there)
    seen = Release(world.table, world.store, world.run, world.subjects).look(clip_id, 6, "AU4")
    assert given == [there]
    assert np.array_equal(seen.filtered, want.filtered) and np.array_equal(seen.heat, want.heat)


def test_every_clip_may_be_chosen_whatever_it_shows(world, release):
    assert release.subjects == world.subjects
    assert [c for s in release.subjects for c in release.clips(s)] == world.store.ids
    for clip_id in world.store.ids:
        release.look(clip_id, release.apex(clip_id), "AU12")
        row = world.table.loc[clip_id]
        assert release.apex(clip_id) == (row["n_frames"] // 2 if pd.isna(row["apex"]) else row["apex"] - row["onset"])


def test_without_a_run_or_its_weights_the_rest_is_there(world, experiment, tmp_path):
    bare = Release(world.table, world.store, publishable=world.subjects)
    seen = bare.look(bare.ids[0], 8, "AU4")
    assert seen.probabilities is None and seen.heat is None and seen.missing["heat map"] == "no trained run"
    initial = LED(frames=6)(world.store.sample(bare.ids[:1]).float())[0].detach().numpy()
    np.testing.assert_allclose(seen.filtered, initial[seen.sample], atol=1e-6)
    assert "no trained run" in texts(view.draw(seen)) and "no trained run" in view.words(seen)

    run = Run(engine.run(experiment, world.store, out=tmp_path))
    light = Release(world.table, world.store, run, world.subjects)
    seen = light.look(light.ids[0], 8, "AU4")
    assert seen.probabilities is not None and "kept no trained weights" in seen.missing["heat map"]
    assert seen.note.startswith("Probabilities are those of the fold")


def test_a_variant_without_a_filter_says_so(world, experiment, tmp_path):
    raw = dataclasses.replace(experiment, variant="3d-cnn")
    run = Run(engine.run(raw, world.store, out=tmp_path, keep_weights=True))
    seen = Release(world.table, world.store, run, world.subjects).look(world.store.ids[0], 5, "AU4")
    assert seen.filtered is None and seen.missing["LED-filtered"] == "this variant has no temporal filter"


def test_colour_stores_are_seen_in_grey_by_the_filter(world, tmp_path):
    store = preprocess.build(world.table, tmp_path / "rgb", size=32, rgb=True)
    seen = Release(world.table, store, publishable=world.subjects).look(store.ids[0], 8, "AU4")
    assert seen.aligned.shape == (32, 32, 3) and seen.filtered.shape == (32, 32)
    assert np.abs(seen.sampled.astype(int) - world.store.sample(store.ids[:1])[0, seen.sample].numpy()).max() <= 1
    view.draw(seen).savefig(io.BytesIO())


# Whose faces


def test_only_faces_that_may_be_shown_are_there(world):
    with pytest.raises(ValueError, match=r"no clip whose face may be shown; name the subjects .* in publishable"):
        Release(world.table, world.store)
    one = Release(world.table, world.store, world.run, ["s1"])
    assert one.subjects == ["s1"] and set(one.ids) == {c for c in world.store.ids if "/s1/" in c}
    hidden = next(c for c in world.store.ids if "/s0/" in c)
    with pytest.raises(ValueError, match=f"{hidden} is not among the clips that may be shown"):
        one.look(hidden, 0, "AU4")
    assert "hand, shown under the user’s licence" in one.look(one.ids[0], 0, "AU4").note
    lab = Explorer({"hand": one}, live=True)
    assert control(lab, "Subject").options == ("s1",)


@pytest.mark.parametrize("subject", ["sub12", "sub22"])
def test_casme2s_two_subjects_never_appear(tmp_path, subject):
    table = make_table(tmp_path / "frames", subjects=2, clips=1)
    table = table.assign(dataset="casme2", subject=[subject, "sub01"])
    table.index = pd.Index(table["dataset"] + "/" + table["subject"] + "/" + table["clip"], name="clip_id")
    store = preprocess.build(table, tmp_path / "s", size=16)
    assert Release(table, store).ids == ["casme2/sub01/c0"]
    assert "Copyright Xiaolan Fu" in Release(table, store).look("casme2/sub01/c0", 0, "AU1").note
    with pytest.raises(ValueError, match=f"names {subject}.*licence of CASME II"):
        Release(table, store, publishable=[subject])


def test_bad_choices_are_named(world, release, hand_table, tmp_path):
    clip_id = release.ids[0]
    with pytest.raises(ValueError, match=r"frame=99, and it has 0 to 8"):
        release.look(clip_id, 99, "AU4")
    with pytest.raises(ValueError, match="au='AU9': choose one of AU1, AU4, AU12"):
        release.look(clip_id, 0, "AU9")
    other = preprocess.build(hand_table, tmp_path / "other", size=24)
    with pytest.raises(ValueError, match="was trained on other clips"):
        Release(world.table, other, world.run, world.subjects)
    with pytest.raises(ValueError, match="at least one"):
        Explorer({})
    with pytest.raises(ValueError, match="shown='both': choose one of all four"):
        view.draw(release.look(clip_id, 0, "AU4"), "both")


# The figure


@pytest.mark.parametrize("shown", view.SHOWN)
def test_each_panel_alone_and_all_four(release, shown):
    seen = release.look(release.ids[3], 8, "AU4")
    figure = view.draw(seen, shown)
    assert sum(len(axis.images) for axis in figure.axes) == (4 if shown == "all four" else 1)
    said = " ".join(texts(figure).split())
    assert seen.title in said and " ".join(seen.note.split()) in said
    again = view.draw(release.look(release.ids[0], 0, "AU1"), shown, figure)
    assert again is figure and seen.title not in texts(figure)


def test_bars_threshold_and_marks_are_the_numbers(release):
    seen = dataclasses.replace(
        release.look(release.ids[0], 4, "AU4"), truth=("AU4", "AU9"), threshold=0.6,
        probabilities=pd.Series({"AU1": 0.7, "AU4": 0.6, "AU12": 0.2}),
    )  # fmt: skip
    axis = next(axis for axis in view.draw(seen).axes if axis.get_xlabel().startswith("probability"))
    assert [bar.get_width() for bar in axis.patches] == [0.7, 0.6, 0.2]
    assert axis.lines[0].get_xdata() == [0.6, 0.6]
    assert [text.get_text() for text in axis.texts] == ["present ✗", "present ✓", "absent ✓"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["AU1", "● AU4", "AU12"]
    assert axis.get_title() == "● annotated (and AU9)"
    assert view.predicted(seen) == ["AU1", "AU4"]
    assert "Annotated: AU4, AU9. Predicted at the threshold 0.60: AU1, AU4." in view.words(seen)


def test_names_are_drawn_as_they_are(release):
    seen = dataclasses.replace(release.look(release.ids[0], 4, "AU4"), title="hand/$x_1^/<b>")
    figure = view.draw(seen)
    figure.savefig(io.BytesIO())  # a formula that is none would fail
    assert "hand/$x_1^/<b>: frame 5" in texts(figure)


# Controls


def control(lab, name):
    (found,) = [w for column in lab.box.children[0].children for w in column.children if w.description == name]
    return found


@pytest.fixture
def lab(world, release) -> Explorer:
    return Explorer({"one": release, "two": Release(world.table, world.store, None, ["s2"])}, live=True)


def test_every_control_has_a_label_and_moves_the_figure(lab):
    names = ["Release", "Subject", "Clip", "Action unit", "Show", "Frame", "Threshold"]
    assert [w.description for column in lab.box.children[0].children for w in column.children] == names
    picture, said = lab.box.children[1:]
    seen = {picture.value}
    clip_id = lab.releases["one"].clips("s1")[2]
    for name, value in [("Subject", "s1"), ("Clip", clip_id), ("Action unit", "AU12"), ("Frame", 2), ("Threshold", 0.1),
                        ("Show", "aligned"), ("Release", "two")]:  # fmt: skip
        control(lab, name).value = value
        assert picture.value not in seen, name
        seen.add(picture.value)
    assert said.value == html.escape(view.words(lab.releases["two"].look(lab.clip_id, lab.frame, lab.au, 0.1)))
    assert control(lab, "Subject").options == ("s2",) and lab.clip_id in lab.releases["two"].ids
    assert control(lab, "Frame").max == len(lab.releases["two"].store[lab.clip_id])
    assert control(lab, "Frame").value == lab.frame + 1
    assert (lab.threshold, lab.shown) == (0.1, "aligned")


def test_the_choices_that_follow_a_subject_and_a_clip(lab):
    there = lab.releases["one"]
    unit = control(lab, "Action unit").value
    control(lab, "Subject").value = "s2"
    assert lab.clip_id == there.clips("s2")[0] and lab.au == unit
    assert [value for _, value in control(lab, "Clip").options] == there.clips("s2")
    titles = [title for title, _ in control(lab, "Clip").options]
    assert titles[0] == f"c0 ({', '.join(there.truth(lab.clip_id)) or 'no AU'})"
    control(lab, "Clip").value = there.clips("s2")[1]
    assert lab.frame == there.apex(there.clips("s2")[1])


def test_one_change_draws_one_figure(lab, monkeypatch):
    drawn = []
    true = view.draw
    monkeypatch.setattr(view, "draw", lambda *a: drawn.append(a) or true(*a))
    for name, value in [("Subject", "s2"), ("Frame", 1), ("Release", "two"), ("Release", "one")]:
        control(lab, name).value = value
        assert len(drawn) == 1, name
        drawn.clear()


def test_the_figure_is_used_again_and_quick(lab):
    control(lab, "Frame").value = 2
    figure, numbers = lab._figure, plt.get_fignums()
    started = time.process_time()
    for value in (3, 4, 5, 6, 7):
        control(lab, "Frame").value = value
    assert (time.process_time() - started) / 5 < 0.6
    assert lab._figure is figure and plt.get_fignums() == numbers == []


def test_what_cannot_be_drawn_is_said_and_escaped(lab, monkeypatch):
    def gone(path, rgb):
        raise images.BadImage("/x/<b>.png: no such file")

    monkeypatch.setattr(images, "read", gone)
    control(lab, "Frame").value = 3
    assert lab.box.children[2].value == "/x/&lt;b&gt;.png: no such file"


# Where nothing is live


def test_without_a_front_end_there_is_a_figure_with_its_text(release):
    lab = Explorer({"one": release})
    assert not lab.live and lab.box is None  # pytest is no front end
    data, metadata = lab._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/png"} and metadata["image/png"]["alt"] == data["text/plain"]
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert image.format == "PNG" and image.width > 800
    assert data == Explorer({"one": release})._repr_mimebundle_()[0]  # the same bytes
    live = Explorer({"one": release}, live=True)._repr_mimebundle_()[0]
    assert set(live) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert live["image/png"] == data["image/png"]


def kernel(metadata):
    return lambda: SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda channel: {"metadata": metadata}))


def test_a_front_end_is_told_by_what_it_sends(monkeypatch):
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", kernel({"cellId": "1", "deletedCells": []}))
    assert explorer.live_front_end()
    monkeypatch.setattr(IPython, "get_ipython", kernel({}))
    assert not explorer.live_front_end()
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    assert not explorer.live_front_end()


@pytest.mark.filterwarnings("ignore")  # the notebook machinery's own
def test_an_executed_notebook_shows_the_figure_as_html(world, tmp_path):
    """Through a real kernel, as papermill runs it."""
    frames = json.dumps({k: [str(p) for p in v] for k, v in world.table["frames"].items()})
    code = f"""
from pathlib import Path
import json, pandas as pd
from aullm_lib import clips, runs
from aullm_lib.notebook import explorer, viewing
store = clips.ClipStore({str(world.store.path)!r})
frames = {{k: tuple(map(Path, v)) for k, v in json.loads({frames!r}).items()}}
table = store.table.assign(frames=pd.Series(frames))
explorer.Explorer({{"hand": viewing.Release(table, store, runs.Run({str(world.run.path)!r}), {world.subjects!r})}})
"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
    (output,) = [o for o in book.cells[0].outputs if o.output_type == "execute_result"]
    assert set(output.data) == {"text/plain", "image/png"}
    for template in ("lab", "classic"):
        page, _ = HTMLExporter(template_name=template).from_notebook_node(book)
        assert output.data["image/png"][:99] in page
    assert f'alt="{html.escape(output.data["text/plain"])}"' in page  # which the first does not take from the output

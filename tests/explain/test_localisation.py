"""How maps are measured: each measure against a naive one, the truth in stored pixels, intervals, the sanity check."""

from functools import partial

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from aullm_lib import datasets, engine, explain, preprocess
from aullm_lib.experiment import Experiment
from aullm_lib.explain import localisation, sanity
from aullm_lib.explain.localisation import NO_MODEL, RANDOMISED
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run

AUS = (1, 4, 12)


@pytest.fixture(scope="module")
def run(hand_store, session_folder):
    recipe = Recipe.released(size=32, epochs=3, batch_size=4, lr=1e-3, efp_hidden=16)
    experiment = Experiment(name="measured", aus=AUS, recipe=recipe, variant="backbone")
    return Run(engine.run(experiment, hand_store, out=session_folder, keep_weights=True, device="cpu"))


@pytest.fixture(scope="module")
def pairs(run):
    return localisation.examples(run, aus=[4, 12])


@pytest.fixture(scope="module")
def masks(pairs):
    """AU4 acts in the upper half of the hand-made release, AU12 in the lower one."""
    upper = torch.arange(32)[:, None].expand(32, 32) < 16
    return torch.stack([upper if au == "AU4" else ~upper for au in pairs["au"]])


def whole(model, clips, unit):
    return torch.ones(len(clips), 5, 32, 32)


def upper(model, clips, unit):
    """Knows AU4's place and points there, whatever the AU."""
    return (torch.arange(32.0)[:, None] < 16).float().expand(len(clips), 5, 32, 32)


def test_examples_are_what_clips_show_each_with_the_fold_that_did_not_train_on_it(run, hand_store):
    result = localisation.examples(run)
    labels = hand_store.table[[f"AU{n}" for n in AUS]]
    assert len(result) == labels.to_numpy().sum()
    for row in result.itertuples():
        assert labels.loc[row.clip_id, row.au] == 1
        assert row.fold == f"hand-{row.subject}" and row.clip_id.split("/")[1] == row.subject
        assert f"AU{AUS[row.au_index]}" == row.au
    few = localisation.examples(run, aus=[12], at_most=2, seed=3)
    assert list(few["au"]) == ["AU12"] * 2 and set(few["clip_id"]) <= set(result["clip_id"])
    assert few.equals(localisation.examples(run, aus=[12], at_most=2, seed=3))
    drawn = {tuple(localisation.examples(run, aus=[12], at_most=2, seed=seed)["clip_id"]) for seed in range(8)}
    assert len(drawn) > 1
    with pytest.raises(ValueError, match="AU7 is none of AU1, AU4, AU12"):
        localisation.examples(run, aus=[7])


@pytest.mark.parametrize(("release", "options"), [("casme2", {}), ("casme2", {"images": "raw_selected"}), ("samm", {})])
def test_a_mask_goes_the_way_of_the_frames(tmp_path_factory, session_folder, release, options):
    root = datasets.synthesize(session_folder / f"truth-{release}", release, subjects=1, clips_per_subject=2, seed=4)
    table = datasets.load(release, root, **options)
    store = preprocess.build(table, tmp_path_factory.mktemp("store") / "s", size=48)
    assert localisation.has_truth(root)
    wanted = [
        (clip, au) for clip in store.ids for au in store.table.columns if au[:2] == "AU" and store.table.loc[clip, au]
    ]
    pairs = pd.DataFrame(wanted, columns=["clip_id", "au"])
    result = localisation.truth(store, root, pairs)
    assert result.shape == (len(pairs), 48, 48) and result.dtype == torch.bool
    kind = "masks_cropped" if store.release["cropped"] else "masks"
    assert store.release["cropped"] == (release == "casme2" and not options)
    for mask, (clip_id, au) in zip(result.numpy(), wanted, strict=True):
        _, subject, clip = clip_id.split("/")
        drawn = cv2.imread(str(root / "SYNTHETIC" / kind / subject / clip / f"{au}.png"), cv2.IMREAD_UNCHANGED) > 0
        inverse = np.linalg.inv(np.vstack([store.matrix(clip_id), (0, 0, 1)]))
        expected = np.zeros_like(mask)
        for i in range(48):
            for j in range(48):
                x, y = np.rint(inverse[:2] @ (j, i, 1)).astype(int)
                inside = 0 <= y < drawn.shape[0] and 0 <= x < drawn.shape[1]
                expected[i, j] = inside and drawn[y, x]
        assert (mask & expected).sum() > 0.85 * (mask | expected).sum() > 0
    with pytest.raises(FileNotFoundError, match=r"AU9\.png: no ground truth of AU9 in .*synthetic"):
        localisation.truth(store, root, pairs.assign(au="AU9"))
    assert not localisation.has_truth(root / "SYNTHETIC")


def test_both_pointing_games_by_hand():
    maps = torch.tensor([[[0.0, 1.0], [3.0, 0.0]], [[2.0, 2.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    masks = torch.tensor([[[0, 0], [1, 0]], [[1, 0], [0, 0]], [[1, 1], [1, 0]]]).bool()
    assert localisation.pointing_game(maps, masks).tolist() == [1, 0.5, 0.75]  # the last is constant: chance
    assert localisation.energy_pointing_game(maps, masks).tolist() == pytest.approx([0.75, 0.4, 0.75])
    signed = torch.tensor([[[[1.0, -4.0]], [[3.0, 2.0]]]])
    assert localisation.evidence(signed).tolist() == [[[2.0, 1.0]]]


def test_deletion_and_insertion_by_hand(run, hand_store, pairs):
    fold, model = next(explain.models(run, device="cpu"))
    mine = pairs[pairs["fold"] == fold].head(3)
    x, unit = hand_store.sample(list(mine["clip_id"])), torch.tensor(mine["au_index"].to_numpy())
    maps = torch.rand(len(x), 32, 32, generator=torch.Generator().manual_seed(5))  # no two values are equal
    result = localisation.curves(model, x, unit, maps, steps=4)
    assert result.shape == (len(x), 2, 5)
    for b in range(len(x)):
        order = np.argsort(-maps[b].flatten().numpy())
        for k, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
            deleted, inserted = (
                x[b].float().flatten(1).clone(),
                explain.still(x[b : b + 1].float())[0].flatten(1).clone(),
            )
            for pixel in order[: round(share * 1024)]:
                deleted[:, pixel] = x[b, 0].flatten()[pixel]
                inserted[:, pixel] = x[b].flatten(1)[:, pixel]
            with torch.no_grad():
                both = model(torch.stack([deleted, inserted]).unflatten(2, (32, 32)))[:, unit[b]].sigmoid()
            assert result[b, :, k].tolist() == pytest.approx(both.tolist(), rel=1e-4)
    assert torch.allclose(result[:, 0, 0], result[:, 1, -1]) and torch.allclose(result[:, 0, -1], result[:, 1, 0])
    # a batch of another size may be summed in another order
    torch.testing.assert_close(
        localisation.curves(model, x, unit, maps, steps=4, at_once=10), result, rtol=1e-5, atol=0
    )
    equal = torch.zeros_like(maps)  # pixels of equal value go in a drawn order
    lines = [localisation.curves(model, x, unit, equal, steps=4, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(lines[0], lines[1]) and not torch.equal(lines[0], lines[2])


def test_maps_that_no_model_made(hand_store):
    x = hand_store.sample(hand_store.ids[:3])
    result = {name: localisation.evidence(function(x, 7)) for name, function in localisation.CONTROLS.items()}
    assert all(maps.shape == (3, 32, 32) and maps.min() >= 0 for maps in result.values())
    blob = result["centre"][0]
    assert blob.argmax().item() in [32 * i + j for i in (15, 16) for j in (15, 16)]
    assert torch.allclose(blob, blob.T) and torch.allclose(blob, blob.flip(0), atol=1e-6)
    moved = np.abs(x[:, 1:].numpy().astype(float) - x[:, :1].numpy()).mean(1)
    np.testing.assert_allclose(result["frame difference"], moved, rtol=1e-5)
    again = localisation.random_values(x, 8)
    assert not torch.equal(result["random values"], again[:, 0]) and abs(again.mean() - 0.5) < 0.02


def test_measuring_a_map_that_knows_and_one_that_does_not(run, hand_store, pairs, masks):
    measured = localisation.measure(
        run, "M", hand_store, pairs, masks, methods={"whole": whole, "upper": upper}, steps=2
    )
    models = [(m, function) for m in ("M", "M" + RANDOMISED) for function in ("whole", "upper")] + [
        (NO_MODEL, b) for b in localisation.CONTROLS
    ]
    rows = measured.rows.set_index(["model", "method"])
    assert list(dict.fromkeys(rows.index)) == models and len(rows) == len(models) * len(pairs)
    assert (rows["area"] == 0.5).all()
    assert (rows.loc[("M", "whole"), ["pointing_game", "energy_pointing_game"]] == 0.5).all(axis=None)
    for measure in ("pointing_game", "energy_pointing_game"):
        assert rows.loc[("M", "upper"), measure].tolist() == (pairs["au"] == "AU4").astype(float).tolist()
    for key in models:
        assert measured.maps[key].shape == (len(pairs), 32, 32)
        assert list(rows.loc[key, "clip_id"]) == list(pairs["clip_id"])
    lines = measured.curves.set_index(["model", "method", "curve"])
    assert lines.loc[("M", "upper", "deletion"), "share"].tolist() == [0, 0.5, 1]
    first, middle, last = lines.loc[("M", "upper", "deletion"), "probability"]
    assert rows.loc[("M", "upper"), "deletion"].mean() == pytest.approx((first / 2 + middle + last / 2) / 2)
    again = localisation.measure(run, "M", hand_store, pairs, masks, methods={"whole": whole, "upper": upper}, steps=2)
    pd.testing.assert_frame_equal(again.rows, measured.rows)


def test_pairs_that_another_run_held_out_are_refused(run, hand_store, hand_table, pairs, tmp_path):
    call = partial(localisation.measure, run, "M", methods={"whole": whole}, references=False, steps=1)
    swapped = pairs["fold"].map({"hand-s0": "hand-s1", "hand-s1": "hand-s0"}).fillna(pairs["fold"])
    with pytest.raises(ValueError, match="its fold hand-s1 did not hold out hand/s0/c"):
        call(hand_store, pairs.assign(fold=swapped))
    with pytest.raises(ValueError, match=r"did not hold out hand/s0/c\d for AU\d+, or counts its AUs otherwise"):
        call(hand_store, pairs.assign(au_index=pairs["au_index"] - 1))
    other = preprocess.build(hand_table, tmp_path / "larger", size=40)
    with pytest.raises(ValueError, match="trained on other clips than those of"):
        call(other, pairs)


def test_measured_maps_are_the_methods_own_by_fold(run, hand_store, pairs):
    """Without ground truth, and with pairs in an order of their own: deletion and insertion are there all the same."""
    shuffled = pairs.iloc[::-1]
    measured = localisation.measure(
        run, "M", hand_store, shuffled, methods={"Grad-CAM": explain.grad_cam}, references=False, steps=2
    )
    assert measured.rows[["pointing_game", "energy_pointing_game", "area"]].isna().all(axis=None)
    assert measured.rows[["deletion", "insertion"]].notna().all(axis=None)
    maps = measured.maps["M", "Grad-CAM"]
    for k, pair in enumerate(shuffled.itertuples()):
        _, model = explain.held_out(run, pair.clip_id, device="cpu")
        one = explain.grad_cam(model, hand_store.sample([pair.clip_id]), pair.au_index)
        torch.testing.assert_close(maps[k], one[0].mean(0), rtol=1e-3, atol=1e-7)
    assert sanity.summary(measured.rows)["pointing_game"].isna().all()
    with pytest.raises(ValueError, match="no held-out clip shows"):
        localisation.measure(run, "M", hand_store, pairs[:0])


def test_measurements_are_written_and_earlier_ones_that_are_none_now_removed(tmp_path):
    frame = pd.DataFrame({"a": [1.5, 2.5]})
    written = localisation.save(tmp_path / "new", {"release": "casme2"}, pairs=frame, se=frame)
    assert {path.name for path in written} == {"about.json", "pairs.csv", "se.csv"}
    again = localisation.save(tmp_path / "new", {"release": "samm"}, pairs=frame, se=None)
    assert (
        set(again) == set((tmp_path / "new").iterdir()) == {tmp_path / "new" / n for n in ("about.json", "pairs.csv")}
    )
    assert pd.read_csv(tmp_path / "new" / "pairs.csv").equals(frame) and "samm" in again[0].read_text()

"""Weights from elsewhere: damaged, foreign and unfit ones are refused by name; what was kept comes back as it was."""

import copy
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from helpers import AUS
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_runs import changed, fields

from aullm_lib import engine, explain, predict, protocol, trained
from aullm_lib.engine import aullm
from aullm_lib.experiment import Experiment
from aullm_lib.llm import load
from aullm_lib.model import AULLM
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run
from aullm_lib.support import hub, tensors, tiny
from aullm_lib.support.memory import begin_peak, peak_mb

SHAPE = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1}


def made(hand_store, out, variant="backbone", llm="", **recipe):
    recipe = Recipe.released(size=32, epochs=1, batch_size=4, lr=1e-3, efp_hidden=16, **recipe)
    experiment = Experiment(name="tiny", aus=AUS, recipe=recipe, variant=variant, llm=llm)
    folds = protocol.loso(hand_store.table)[:2]
    return Run(engine.run(experiment, hand_store, out=out, folds=folds, keep_weights=True))


@pytest.fixture(scope="module")
def bare(hand_store, tmp_path_factory):
    """A run without an LLM."""
    return made(hand_store, tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def whole(hand_store, tmp_path_factory):
    """A run with one, whose checkpoint lies beside it."""
    folder = tmp_path_factory.mktemp("whole")
    return made(hand_store, folder, "all", str(tiny.build_tiny(folder / "llm", **SHAPE)))


@pytest.fixture
def run(bare, tmp_path):
    return Run(shutil.copytree(bare.path, tmp_path / "runs" / bare.path.name))


def file_of(run):
    return run.fold(run.folds[0]) / trained.FILE


def rewritten(path, weights=None, metadata=None):
    """The file with other weights or metadata, by the package itself."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    save_file(load_file(path) | (weights or {}), path, metadata=about if metadata is None else metadata)


def metadata(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


# Values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["head.weight", "backbone.led.logit_r1", "backbone.bn1.running_mean"])
def test_weights_that_are_not_finite_are_refused_by_name(run, name, value):
    path = file_of(run)
    name = name if name in load_file(path) else next(n for n in load_file(path) if n.endswith("running_mean"))
    weights = load_file(path)[name].clone()
    weights.view(-1)[-1] = value
    rewritten(path, {name: weights})
    message = rf"{re.escape(str(path))}: .*{re.escape(name)} has non-finite values"
    for call in (lambda: trained.load(run, run.folds[0]), lambda: list(trained.ensemble(path).models())):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool", "complex64", "float8_e4m3fn"])
def test_weights_of_another_kind_of_number_are_refused_by_name(run, dtype):
    path = file_of(run)
    weights = load_file(path)["head.weight"].to(getattr(torch, dtype))
    rewritten(path, {"head.weight": weights})
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*head.weight is of the type torch.{dtype}"):
        trained.load(run, run.folds[0])


def test_a_negative_variance_would_give_nan_and_is_refused(run):
    path = file_of(run)
    name = next(n for n in load_file(path) if n.endswith("running_var"))
    rewritten(path, {name: -load_file(path)[name]})
    with pytest.raises(ValueError, match=f"{name} has a negative variance"):
        trained.load(run, run.folds[0])


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_finite_weights_whose_logits_are_not_give_no_predictions(run, value):
    path = file_of(run)
    rewritten(path, {"head.weight": torch.full_like(load_file(path)["head.weight"], value)})
    (model,), clip = trained.ensemble(path).models(), torch.rand(1, 6, 32, 32) * 255
    for call in (lambda: model(clip), lambda: explain.grad_cam(model, clip, 0)):
        with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: the model's logits are not finite"):
            call()


def test_an_adapters_values_are_checked_too(whole, tmp_path):
    run = Run(shutil.copytree(whole.path, tmp_path / whole.path.name))
    path = run.fold(run.folds[0]) / trained.ADAPTER / trained.MODEL
    weights = load_file(path)
    name = min(weights)
    save_file(weights | {name: weights[name] * float("nan")}, path)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*{re.escape(name)} has non-finite"):
        trained.load(run, run.folds[0])


def test_half_precision_copies_of_the_weights_are_read(run):
    path, clip = file_of(run), torch.rand(1, 6, 32, 32) * 255
    want = trained.load(run, run.folds[0])(clip)
    rewritten(path, {n: w.half() for n, w in load_file(path).items() if w.dtype == torch.float32})
    torch.testing.assert_close(trained.load(run, run.folds[0])(clip), want, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_llm_whose_weights_are_not_finite_is_refused(tiny_llm, tmp_path, value):
    folder = shutil.copytree(tiny_llm, tmp_path / "llm")
    name = "model.layers.0.self_attn.q_proj.weight"
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"llm='.*': .*q_proj.weight has non-finite values \(NaN or Inf\) in float32"):
        load(folder)
    weights[name].view(-1)[-1] = 1e5  # beyond float16
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    load(folder)
    with pytest.raises(ValueError, match=r"in float16; .*another Recipe.llm_dtype"):
        load(folder, dtype="float16")


# Metadata


def test_every_damaged_field_of_the_metadata_is_named_with_its_file(run, tmp_path):
    """In the run, whose own words they must be, and outside of it, where only the model must fit."""
    inside, outside = file_of(run), tmp_path / "alone.safetensors"
    shutil.copy(inside, outside)
    clip = torch.rand(1, 6, 32, 32) * 255
    want = {path: next(trained.ensemble(path).models())(clip) for path in (inside, outside)}
    about = metadata(inside)
    value, wrong = json.loads(about["experiment"]), []
    for place in fields(value):
        before = value
        for key in place:
            before = before[key]
        for new in [None, {}, "", -1, float("inf"), 10**30, [before], fields]:
            for path in (inside, outside) if place[:1] != ("recipe",) else (outside,):
                rewritten(path, metadata=about | {"experiment": json.dumps(changed(value, place, new))})
                name = next(key for key in reversed(place) if isinstance(key, str))
                try:
                    got = next(trained.ensemble(path).models())(clip)
                    if got.equal(want[path]):
                        continue
                    if path == outside and got.isfinite().all() and got.shape == want[path].shape:
                        continue  # another recipe of the same shapes, which nothing beside the file can tell
                    problem = "other logits"
                except ValueError as error:
                    text = str(error).lower()
                    if str(path).lower() in text and (name in text or "does not fit the model" in text):
                        continue
                    problem = f"ValueError: {error}"
                except Exception as error:  # whatever it is, it is a finding
                    problem = f"{type(error).__name__}: {error}"
                wrong.append(f"{path.name}: {place} = {new!r:.60}: {problem[:200]}")
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "3", "{", '"text"', "[" * 100_000, '{"a":' * 900 + "1" + "}" * 900, "\ufeff{}", "9" * 9999],
)
def test_metadata_that_are_something_else_are_named_with_their_file(run, text):
    path = file_of(run)
    for about in ({"experiment": text}, {}, {"format": "pt"}):
        rewritten(path, metadata=about)
        for call in (lambda: trained.load(run, run.folds[0]), lambda: trained.ensemble(path)):
            with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*experiment"):
                call()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x" * 7, b"\xff" * 64, (1 << 62).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{}",
        (8).to_bytes(8, "little") + b"[[[[[[[[", None,
    ],
)  # fmt: skip
def test_a_file_that_is_no_safetensors_is_named(run, content):
    path = file_of(run)
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    for call in (lambda: trained.load(run, run.folds[0]), lambda: trained.ensemble(path)):
        with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: damaged"):
            call()


@pytest.mark.parametrize("shape", [[10**12], [-1], [2**63], "x", None])
def test_a_tensor_of_a_size_that_no_machine_has_is_named(run, shape):
    path = file_of(run)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["head.bias"]["shape"] = shape
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[start:])
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: damaged"):
        trained.load(run, run.folds[0])


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 1024},
        {"size": 4096},
        {"efp_hidden": 65_535},
        {"frames": 10**6},
        {"lora_r": 10**12},
        {"context": 2**62},
    ],
)
def test_a_recipe_of_sizes_that_no_machine_has_is_named_in_bounded_memory(whole, tmp_path, change):
    path, llm = tmp_path / "alone.safetensors", whole.experiment.llm
    shutil.copy(file_of(whole), path)
    about = metadata(path)
    value = json.loads(about["experiment"])
    rewritten(path, metadata=about | {"experiment": json.dumps(value | {"recipe": value["recipe"] | change})})
    begin_peak("cpu")
    before = peak_mb("cpu")
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(str(tmp_path))):
        next(trained.ensemble(path, llm=llm).models())
    assert peak_mb("cpu") - before < 4096


@pytest.mark.parametrize(
    ("change", "message"),
    [({"prompt": "\ud800"}, "recipe.prompt=.* is no Unicode text"), ({"prompt": "word " * 2000}, "tokens"),
     ({"lora_targets": ["nobody"]}, "no linear layer 'nobody'"), ({"llm_layers": 9}, "llm_layers=9")],
)  # fmt: skip
def test_a_recipe_that_the_llm_cannot_be_given_is_named_with_its_file(whole, tmp_path, change, message):
    path = Path(shutil.copy(file_of(whole), tmp_path / "alone.safetensors"))
    about = metadata(path)
    value = json.loads(about["experiment"])
    rewritten(path, metadata=about | {"experiment": json.dumps(value | {"recipe": value["recipe"] | change})})
    with pytest.raises(ValueError, match=message) as caught:
        next(trained.ensemble(path, llm=load(whole.experiment.llm)).models())
    assert str(path) in str(caught.value)


def test_the_weights_of_another_run_are_refused(run, hand_store, tmp_path):
    other = made(hand_store, tmp_path, dropout=0.25)
    for change in ("dropout", "aus"):
        about = metadata(file_of(other if change == "dropout" else run))
        if change == "aus":
            about["experiment"] = json.dumps(json.loads(about["experiment"]) | {"aus": [1, 4, 17]})
        rewritten(file_of(run), metadata=about)
        with pytest.raises(ValueError, match=r"(aus|recipe) is .* in its metadata, but .* in .*run.json"):
            trained.load(run, run.folds[0])
        with pytest.raises(ValueError, match=r"(aus|recipe) is .* in its metadata, but .* in .*run.json"):
            list(trained.ensemble(run).models())


# The LLM


def test_another_llm_than_the_one_in_training_is_refused_wherever_it_comes_from(whole, tmp_path):
    run, fold = whole, whole.folds[0]
    other = str(tiny.build_tiny(tmp_path / "other", seed=1, **SHAPE))
    place = shutil.copytree(run.experiment.llm, tmp_path / "moved")
    clip = torch.rand(1, 6, 32, 32) * 255
    want = trained.load(run, fold)(clip)
    for moved in (str(place), place):  # the same weights at another place
        assert trained.load(run, fold, moved)(clip).equal(want)
    assert trained.load(run, fold, load(place))(clip).equal(want)
    message = f"identity is {hub.identity(place)[:12]}, but that of .* is {hub.identity(other)[:12]}"
    for llm in (other, load(other)):
        with pytest.raises(ValueError, match=message):
            trained.load(run, fold, llm)
        with pytest.raises(ValueError, match=message):
            list(trained.ensemble(run, llm=llm).models())
        with pytest.raises(ValueError, match=message):
            list(trained.ensemble(file_of(run), llm=llm).models())
    alone = shutil.copy(file_of(run), tmp_path / "alone.safetensors")
    with pytest.raises(ValueError, match=message):
        trained.ensemble(alone, llm=other)


def test_an_llm_that_does_not_lie_where_it_did_is_asked_for(hand_store, tmp_path):
    run = made(hand_store, tmp_path, "all", str(tiny.build_tiny(tmp_path / "llm", **SHAPE)))
    (tmp_path / "llm").rename(tmp_path / "moved")
    for call in (lambda: trained.load(run, run.folds[0]), lambda: trained.ensemble(run)):
        with pytest.raises(
            FileNotFoundError, match=r"tiny-.*: needs the LLM that it was trained with .*: llm='.*/llm'"
        ):
            call()
    next(trained.ensemble(run, llm=tmp_path / "moved").models())


def test_the_llms_identity_in_run_json_is_that_of_the_weights(whole, tmp_path):
    run = Run(shutil.copytree(whole.path, tmp_path / whole.path.name))
    info = json.loads((run.path / "run.json").read_text())
    assert metadata(file_of(run))["llm"] == info["data"]["llm"] == hub.identity(run.experiment.llm)
    info["data"]["llm"] = "0" * 64
    (run.path / "run.json").write_text(json.dumps(info))
    with pytest.raises(
        ValueError, match=r"weights.safetensors: .*llm is '[0-9a-f]{64}' in its metadata, but '0{64}' in "
    ):
        trained.load(run.path, run.folds[0])
    with pytest.raises(ValueError, match="identity is 000000000000"):
        trained.ensemble(run.path)


@pytest.mark.parametrize("where", ["weights.safetensors", "fold.json"])
@pytest.mark.parametrize("dtype", ["float3", "int8", "torch.float16", "\n"])
def test_a_type_that_no_llm_has_is_named(whole, tmp_path, where, dtype):
    run = Run(shutil.copytree(whole.path, tmp_path / whole.path.name))
    path = file_of(run)
    about = {key: value for key, value in metadata(path).items() if key != "llm_dtype"}
    rewritten(path, metadata=about | ({"llm_dtype": dtype} if where == path.name else {}))
    note = json.loads((path.parent / "fold.json").read_text())
    if where == "fold.json":
        (path.parent / "fold.json").write_text(json.dumps(note | {"llm_dtype": dtype}))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}, llm_dtype in .*fold\.json beside it: Recipe"):
        trained.load(run, run.folds[0], whole.experiment.llm)


@pytest.mark.parametrize("folder", ["", "..", "../" * 30 + "etc", "a\0b", "x" * 5000, "/dev", "weights.safetensors"])
def test_a_folder_of_an_llm_that_there_is_not_is_passed_over(whole, tmp_path, folder):
    run = Run(shutil.copytree(whole.path, tmp_path / whole.path.name))
    info = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(info | {"llm_folder": folder}))
    trained.load(run.path, run.folds[0])  # where the experiment says


def test_weights_of_earlier_versions_are_compared_with_run_json(whole, tmp_path):
    """Their metadata do not say which LLM it was."""
    run = Run(shutil.copytree(whole.path, tmp_path / whole.path.name))
    about = metadata(file_of(run))
    rewritten(file_of(run), metadata={key: about[key] for key in ("format", "experiment")})
    trained.load(run, run.folds[0])
    with pytest.raises(ValueError, match="identity is"):
        trained.load(run, run.folds[0], str(tiny.build_tiny(tmp_path / "other", seed=1, **SHAPE)))


def test_an_llm_that_only_a_file_names_is_not_looked_up_unasked(whole, tmp_path, monkeypatch):
    alone = Path(shutil.copy(file_of(whole), tmp_path / "alone.safetensors"))
    about = metadata(alone)
    named = json.loads(about["experiment"]) | {"llm": "somebody/something"}
    rewritten(alone, metadata=about | {"experiment": json.dumps(named)})
    asked = []
    monkeypatch.setattr(hub, "locate", lambda *a: asked.append(a))
    with pytest.raises(
        ValueError, match=r"name the LLM 'somebody/something', which is not looked up unasked: give llm="
    ):
        predict.clip(alone, tmp_path)
    assert asked == []
    monkeypatch.undo()
    shutil.copytree(file_of(whole).parent / trained.ADAPTER, tmp_path / trained.ADAPTER)
    next(trained.ensemble(alone, llm=whole.experiment.llm).models())


def test_an_llm_is_read_back_in_the_type_that_it_trained_in(hand_store, tiny_llm, tmp_path):
    """As after a GPU's float16, which "auto" would read as float32 on a CPU."""
    recipe = Recipe.released(size=32, epochs=1, batch_size=4, lr=1e-3, efp_hidden=16)
    experiment = Experiment(name="half", aus=AUS, recipe=recipe, llm=tiny_llm)
    folds = protocol.loso(hand_store.table)[:1]
    (result,) = aullm.train_folds(
        experiment, hand_store, hand_store.table, folds, llm=load(tiny_llm, dtype="float16"), keep_weights=True
    )
    data = {"fingerprint": "x", "clips": 12, "dataset": "hand", "llm": hub.identity(tiny_llm)}
    run = Run.open(tmp_path, experiment, folds, data)
    run.write_fold(folds[0].name, result, trained.save)
    model = trained.load(run, folds[0].name)
    assert model.llm.llm.dtype == torch.float16
    again = aullm.predict(model, hand_store, folds[0].test, 6, 4)
    assert again.flatten().tolist() == run.predictions()["probability"].tolist()
    other = trained.load(run, folds[0].name, load(tiny_llm))
    assert other.llm.llm.dtype == torch.float32  # as it was given


# Files


def test_the_same_run_gives_the_same_bytes(whole, hand_store, tmp_path):
    again = made(hand_store, tmp_path, "all", whole.experiment.llm)
    for fold in whole.folds:
        paths = [p.relative_to(whole.fold(fold)) for p in whole.fold(fold).rglob("*") if p.is_file()]
        assert len(paths) == 7
        for path in paths:
            if path.name != "fold.json":  # seconds
                assert (whole.fold(fold) / path).read_bytes() == (again.fold(fold) / path).read_bytes(), path


def test_the_file_is_that_of_the_package_but_for_the_order_of_its_metadata(tmp_path):
    """All types, an empty tensor and a scalar; ten keys of metadata, which the package writes in any order."""
    types = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    weights = {f"w{i}.{t}": torch.arange(7 * i).reshape(7, i).to(t) for i, t in enumerate(types)}
    weights["scalar"] = torch.tensor(3.0)
    about = {f"key {i}": f"é\n{i}" for i in range(10)}
    tensors.write(weights, tmp_path / "ours", about)
    save_file(weights, tmp_path / "theirs", metadata=about)
    ours, theirs = load_file(tmp_path / "ours"), load_file(tmp_path / "theirs")
    assert ours.keys() == theirs.keys() and metadata(tmp_path / "ours") == about
    for name, weight in theirs.items():
        assert weight.dtype == ours[name].dtype and weight.equal(ours[name])
    written = (tmp_path / "ours").read_bytes()
    for _ in range(5):
        tensors.write(weights, tmp_path / "ours", about)
        assert (tmp_path / "ours").read_bytes() == written
    assert int.from_bytes(written[:8], "little") % 8 == 0  # values are aligned


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks for it
def test_of_a_multimodal_llm_peft_alone_makes_the_adapters_that_were_trained(tiny_llm, tmp_path):
    """Its vision tower has layers called q_proj and v_proj, too."""
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = shape | {"vocab_size": 512, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512}
    sight = shape | {"image_size": 28, "patch_size": 14}
    config = transformers.Gemma3Config(text_config=text, vision_config=sight, mm_tokens_per_image=4)
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "llm")
    transformers.AutoTokenizer.from_pretrained(tiny_llm).save_pretrained(tmp_path / "llm")
    recipe = Recipe.released(size=32, efp_hidden=16)
    experiment = Experiment(name="x", aus=AUS, recipe=recipe, llm=str(tmp_path / "llm"))
    model = AULLM(recipe, len(AUS), llm=str(tmp_path / "llm"))
    trained.save(tmp_path, trained.state(model), experiment, {})
    base = transformers.AutoModel.from_pretrained(tmp_path / "llm", dtype=torch.float32)
    opened = PeftModel.from_pretrained(base, tmp_path / trained.ADAPTER)
    names = {name for name, _ in opened.named_parameters() if ".lora_" in name}
    assert len(names) == 8 and all("language_model.layers." in name for name in names)
    read = copy.deepcopy(dict(opened.named_parameters()))
    for name, value in load_file(tmp_path / trained.ADAPTER / trained.MODEL).items():
        assert read[name.replace(".weight", ".default.weight")].equal(value)


def test_maps_are_not_made_of_damaged_weights(run):
    rewritten(file_of(run), {"head.weight": load_file(file_of(run))["head.weight"] * float("nan")})
    with pytest.raises(ValueError, match=r"head\.weight has non-finite values"):
        next(explain.models(run))

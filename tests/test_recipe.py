"""Recipe and Experiment: what is refused, what is written, and where the two recipes differ."""

import dataclasses
import json

import pytest

from aullm_lib import asl, backbone, controls, efp, llm
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import RELEASED, TUNED, Recipe

EXPERIMENT = Experiment(name="demo", aus=(2, 4), recipe=Recipe.paper())


def test_what_the_paper_states():
    r = Recipe.paper()
    assert (r.frames, r.size, r.batch_size, r.lr, r.weight_decay) == (6, 64, 256, 3e-5, 0.005)
    assert (r.lora_r, r.lora_alpha, r.lora_targets) == (16, 32, ("q_proj", "v_proj"))
    assert (r.loss, r.gamma_pos, r.gamma_neg, r.reduction) == ("asl", 0, 4, "batchmean")
    assert r.token_order == "visual-first" and r.prompt == "Analyze the facial features to classify action units:"


def test_what_the_released_script_does():
    r = Recipe.released()
    assert (r.led_alpha, r.led_r1, r.led_r2, r.led_eps) == (10, 0.4, 0.05, 1e-8)
    assert (r.dropout, r.epochs, r.batch_size, r.lora_dropout, r.llm_dtype) == (0.3, 350, 256, 0.1, "auto")
    assert (r.loss, r.reduction, r.token_order, r.efp_activation) == ("asl_released", "sum", "prompt-first", "none")


def test_the_two_recipes_differ_where_it_is_documented_and_nowhere_else():
    paper, released = Recipe.paper().to_dict(), Recipe.released().to_dict()
    assert {k for k in paper if paper[k] != released[k]} == {"name", *RELEASED}
    assert (paper["name"], released["name"]) == ("paper", "released")
    assert set(RELEASED) == {"efp_activation", "prompt", "token_order", "loss", "reduction"}


def test_the_tuned_recipe_is_the_released_one_but_for_what_is_documented():
    released, tuned = Recipe.released().to_dict(), Recipe.named("tuned").to_dict()
    assert {k for k in tuned if tuned[k] != released[k]} == {"name", *TUNED} and tuned["name"] == "tuned"
    assert Recipe.tuned(epochs=3, token_scale=2.0) == Recipe.released(name="tuned", epochs=3, token_scale=2.0)
    with pytest.raises(ValueError, match="recipe='other': allowed are paper, released, tuned"):
        Recipe.named("other")


def test_every_field_names_its_source():
    for f in dataclasses.fields(Recipe):
        assert any(word in f.metadata["source"] for word in ("paper", "released script", "ours")), f.name
        if f.name in RELEASED:
            assert "paper" in f.metadata["source"] and "released script" in f.metadata["source"], f.name


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("loss", asl.LOSSES),
        ("led", backbone.FILTERS),
        ("frame_order", controls.FRAME_ORDERS),
        ("prompt_control", controls.PROMPT_CONTROLS),
        ("efp_activation", efp.ACTIVATIONS),
        ("token_order", llm.TOKEN_ORDERS),
        ("llm_dtype", ["auto", *llm.DTYPES]),
        ("reduction", [r for r in asl.REDUCTIONS if r != "none"]),
    ],
)
def test_choices_are_those_of_the_layers(name, allowed):
    (f,) = (f for f in dataclasses.fields(Recipe) if f.name == name)
    assert sorted(f.metadata["choices"]) == sorted(allowed)


@pytest.mark.parametrize(
    "make", [Recipe.paper, Recipe.released, Recipe, lambda **k: Recipe.from_dict({**Recipe().to_dict(), **k})]
)
@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ({"learning_rate": 1.0}, TypeError, "learning_rate"),
        ({"epochs": True}, TypeError, "Recipe.epochs=True: must be int, not bool"),
        ({"lr": True}, TypeError, "Recipe.lr=True: must be float, not bool"),
        ({"se": 1}, TypeError, "Recipe.se=1: must be bool, not int"),
        ({"epochs": 10.0}, TypeError, "must be int, not float"),
        ({"lr": "1e-4"}, TypeError, "must be float, not str"),
        ({"prompt": None}, TypeError, "must be str, not NoneType"),
        ({"lora_targets": "q_proj"}, TypeError, "must be tuple, not str"),
        ({"lora_targets": ("q_proj", 3)}, TypeError, r"lora_targets\[1\]=3"),
        ({"lr": 0.0}, ValueError, "Recipe.lr=0.0: must be > 0"),
        ({"lr": float("nan")}, ValueError, "Recipe.lr=nan"),
        ({"lr": float("inf")}, ValueError, "Recipe.lr=inf"),
        ({"led_r1": 1.0}, ValueError, "must be > 0 and < 1"),
        ({"dropout": 1.0}, ValueError, "must be >= 0 and < 1"),
        ({"frames": 3}, ValueError, "must be >= 4"),
        ({"epochs": 0}, ValueError, "must be >= 1"),
        ({"loss": "focal"}, ValueError, "Recipe.loss='focal': allowed are asl, asl_released, bce"),
        ({"lora_targets": ()}, ValueError, "lora_targets"),
        ({"llm_layers": -1}, ValueError, "Recipe.llm_layers=-1: must be >= 0"),
        ({"prompt": "", "prompt_control": "random"}, ValueError, "Recipe.prompt_control='random' needs a prompt"),
    ],
)
def test_what_a_recipe_refuses(make, bad, error, words):
    with pytest.raises(error, match=words):
        make(**bad)


def test_an_int_will_do_for_a_float_and_means_the_same():
    assert Recipe(led_alpha=10) == Recipe(led_alpha=10.0)
    assert json.dumps(Recipe(led_alpha=10).to_dict()) == json.dumps(Recipe().to_dict())


def test_frozen_and_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().lr = 1.0
    with pytest.raises(TypeError):
        Recipe(6)


@pytest.mark.parametrize("recipe", [Recipe.paper(), Recipe.released(epochs=2, lora_targets=("k_proj",))])
def test_json_round_trip(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    experiment = Experiment(name="x", aus=(12,), recipe=recipe, variant="mid", llm="a/b", seed=7)
    again = Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))
    assert again == experiment and again.key == experiment.key


def test_a_dictionary_must_be_complete():
    values = Recipe().to_dict()
    values.pop("lr")
    with pytest.raises(TypeError, match="lacks lr"):
        Recipe.from_dict(values)
    with pytest.raises(TypeError, match="'extra'"):
        Experiment.from_dict({**EXPERIMENT.to_dict(), "extra": 1})
    with pytest.raises(TypeError, match=r"Experiment\.recipe"):
        Experiment.from_dict({**EXPERIMENT.to_dict(), "recipe": 3})


def test_key_is_stable_and_feels_every_field():
    assert Experiment.from_dict(EXPERIMENT.to_dict()).key == EXPERIMENT.key
    assert len(EXPERIMENT.key) == 12 and int(EXPERIMENT.key, 16) >= 0
    keys = {EXPERIMENT.key}
    for change in ({"name": "other"}, {"aus": (4, 2)}, {"variant": "mid"}, {"llm": "x"}, {"seed": 2}):
        keys.add(dataclasses.replace(EXPERIMENT, **change).key)
    other = {
        bool: lambda v, f: not v,
        int: lambda v, f: v + 1,
        float: lambda v, f: v / 2 or 0.5,
        tuple: lambda v, f: (*v, "k_proj"),
        str: lambda v, f: next(c for c in (*f.metadata["choices"], "another") if c not in (v, "once")),
    }
    for f in dataclasses.fields(Recipe):
        value = getattr(EXPERIMENT.recipe, f.name)
        recipe = dataclasses.replace(EXPERIMENT.recipe, **{f.name: other[type(value)](value, f)})
        keys.add(dataclasses.replace(EXPERIMENT, recipe=recipe).key)
    assert len(keys) == 1 + 5 + len(dataclasses.fields(Recipe))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"aus": ()}, ValueError),
        ({"aus": (4, 4)}, ValueError),
        ({"aus": (0,)}, ValueError),
        ({"aus": [2, 4]}, TypeError),
        ({"aus": (True,)}, TypeError),
        ({"name": ""}, ValueError),
        ({"variant": ""}, ValueError),
        ({"seed": -1}, ValueError),
        ({"seed": 1.0}, TypeError),
        ({"llm": None}, TypeError),
        ({"recipe": {}}, TypeError),
    ],
)
def test_what_an_experiment_refuses(bad, error):
    with pytest.raises(error, match=next(iter(bad))):
        dataclasses.replace(EXPERIMENT, **bad)

"""The other rows of Tables 1, 2 and 4, and three methods beyond them: one file per method, one way to run them.

``engine.run`` trains and scores a baseline as it does AU-LLM: an ``Experiment`` whose ``method`` is a name below and
whose ``recipe`` is that method's own, on the same folds and clips, with the same seeds, into the same kind of run
folder. A method's module has

    Recipe               its settings with their sources: a ``Settings`` with at least ``size`` and ``epochs``
    RGB                  whether it reads colour frames
    prepare(recipe, store) -> inputs
                         its inputs of every clip of a store, in the store's order, without labels: made once per run
    Model(recipe, n_aus) with
        fit(inputs, rows, targets, order, after)
                         trains on some clips: their positions [B] in the store, 0/1 targets [B, N_AU] (NaN where it is
                         unknown whether the AU occurs), a generator for their order, and ``after(epoch, loss)`` to call
                         at the end of every epoch
        probabilities(inputs, rows) -> [B, N_AU] float64
        state_dict()     what training changed, or nothing

and, where it needs them, the class methods ``Model.check(recipe, store)``, which raises ValueError or FileNotFoundError
for what can be known to be wrong before training, and ``Model.sources(recipe)``, the identity of every file that
training rests on, by the field's name. ``network.Network`` is the base of those that are one neural network.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aullm_lib.recipe import Settings, refuse_unknown

if TYPE_CHECKING:  # torch takes a second to import, and reading results needs none
    from aullm_lib.clips import ClipStore

METHODS = {
    "lbp-top": "lbp_top",
    "resnet18": "resnet",
    "resnet34": "resnet",
    "fitnet": "fitnet",
    "sp": "sp",
    "at": "at",
    "sca": "sca",
    "dvasp": "dvasp",
    "resnet18-led": "resnet_led",
    "sssnet-led": "sssnet_led",
    "flow-svm": "flow_svm",  # this one and those below are not in the paper
    "infusenet": "infusenet",
    "ac4au": "ac4au",
}
"""Method -> its module: Table 1's order, then what is beyond it."""
PRESETS: dict[str, dict[str, Any]] = {"resnet34": {"depth": 34}}
"""Fields of the recipe by which two methods of one module differ."""

SHARED = "teacher"  # a value of the field ``weights`` beside names and folders: those of a teacher's view
BY_SYNTHETIC_TEACHER = "(trained on synthetic "  # in the identity of weights that ``teacher.train`` made so
_STUDENT = {
    "weights": ("ImageNet", "microsoft/resnet-18"),
    "teacher": ("EmotioNet and web faces", "/path/to/teacher"),
}
PRETRAINED: dict[str, dict[str, tuple[str, str]]] = {
    "resnet18": {"weights": ("ImageNet", "microsoft/resnet-18")},
    "resnet34": {"weights": ("ImageNet", "microsoft/resnet-34")},
    "fitnet": _STUDENT,
    "sp": _STUDENT,
    "at": _STUDENT,
    "sca": {"weights": ("Kinetics and UCF101", "/path/to/sca.safetensors")},
    "dvasp": _STUDENT,
    "infusenet": {
        "weights": ("ImageNet", "microsoft/resnet-18"),
        "magnifier": ("learning-based motion magnification", "/path/to/magnifier.safetensors"),
    },
    "ac4au": {"weights": ("face recognition", "/path/to/mobilefacenet.safetensors")},
}
"""Methods whose sources begin with pretrained weights -> the recipe's fields that name them -> from what, an example.

The sources of the other methods train from random weights, or have none."""


def module(method: str) -> ModuleType:
    """A method's module. Raises ValueError for an unknown one."""
    if method not in METHODS:
        raise ValueError(f"method={method!r}: allowed are au-llm, {', '.join(METHODS)}")
    return import_module(f"{__name__}.{METHODS[method]}")


def recipe(method: str, **overrides: Any) -> Any:
    """A method's recipe, as its source has it or with some fields changed. Raises TypeError or ValueError for those."""
    kind = module(method).Recipe
    refuse_unknown(kind, overrides)
    return kind(**PRESETS.get(method, {}) | overrides)


def recipe_type(method: str) -> type[Settings]:
    """The class of a method's recipe."""
    return module(method).Recipe


def reads_colour(method: str) -> bool:
    """Whether a method reads RGB frames, and not grey ones."""
    return module(method).RGB


def check(experiment: Any, store: "ClipStore") -> None:
    """Checks what can be known before training.

    Args:
        experiment: An ``experiment.Experiment`` of one of these methods.
        store: The clips that it is to be trained on.

    Raises:
        ValueError, FileNotFoundError: A setting, a clip or a weights file does not fit.
    """
    model = module(experiment.method).Model
    if hasattr(model, "check"):
        model.check(experiment.recipe, store)


def subjects(experiment: Any) -> float:
    """The share of a fold's training subjects that an experiment trains on: all."""
    return 1.0


def sources(experiment: Any) -> dict[str, str]:
    """The identity of every file beside the clips that training rests on, by the recipe's field."""
    model = module(experiment.method).Model
    return model.sources(experiment.recipe) if hasattr(model, "sources") else {}


def lacking(method: str, given: Mapping[str, str], synthetic: bool) -> dict[str, str]:
    """The pretrained weights that a method's source begins with and a run does not.

    Args:
        method: One of ``METHODS``.
        given: Fields of ``PRETRAINED`` -> the name or identity of the run's weights, "" where they are random. Weights
            by a teacher of ours that saw synthetic faces count on synthetic clips only.
        synthetic: Whether the clips are.

    Returns:
        Field -> on what the source's were trained.
    """
    return {
        field: of
        for field, (of, _) in PRETRAINED.get(method, {}).items()
        if not given.get(field) or (BY_SYNTHETIC_TEACHER in given[field] and not synthetic)
    }


def not_comparable(method: str, recipe: Mapping[str, Any], identities: Mapping[str, Any], synthetic: bool) -> str:
    """Why a finished run is no measure of its method: it lacked weights that its source begins with; "" if it did not.

    Such a run decides nothing between methods: from a few dozen clips, random weights learn next to nothing.

    Args:
        method: ``experiment.AU_LLM`` or one of ``METHODS``.
        recipe: Its settings, as in ``run.json``.
        identities: ``sources``, as in ``run.json``.
        synthetic: Whether the clips are.
    """
    given = {}
    for field in PRETRAINED.get(method, ()):
        name = recipe.get(field, "")
        given[field] = identities.get(SHARED if name == SHARED else field, name)
    return "; ".join(
        f"{field} {'from synthetic faces' if given[field] else 'random'}, its source's from {of}"
        for field, of in lacking(method, given, synthetic).items()
    )


def advice(chosen: Iterable[tuple[str, Mapping[str, Any]]], synthetic: bool) -> list[str]:
    """Which pretrained weights the runs to come will lack, and how to give them; nothing where none is lacking.

    Args:
        chosen: Methods, each with the fields of its recipe that are not its source's. ``teacher`` among them is the
            folder of whatever teacher it is to have; without one, it will have one that saw synthetic faces.
        synthetic: Whether the clips are.
    """
    lines, example = dict[str, None](), ""
    for method, fields in chosen:
        teacher = fields.get("teacher") or BY_SYNTHETIC_TEACHER
        given = {field: fields.get(field, "") for field in PRETRAINED.get(method, ())}
        given = {f: teacher if f == "teacher" or name == SHARED else name for f, name in given.items()}
        if missing := lacking(method, given, synthetic):
            how = ", ".join(f"{field}: {PRETRAINED[method][field][1]}" for field in missing)
            lines[f"  {method:<10} {{{how}}}  (its source's: {'; '.join(missing.values())})"] = None
            example = example or f"{method}: {{{how}}}"
    if not lines:
        return []
    return [
        "These baselines will lack the pretrained weights of their sources: their rows are marked as not comparable, "
        "and take part in no claim. To give weights by hub name, folder or safetensors file, name them",
        *lines,
        f"in the profile's baseline_overrides, or with ARGS=\"-p 'baseline_overrides={{{example}, ...}}'\".",
    ]


def build(experiment: Any, llm: object = None) -> Any:
    """A new model of an experiment; ``llm`` is AU-LLM's."""
    return module(experiment.method).Model(experiment.recipe, len(experiment.aus))

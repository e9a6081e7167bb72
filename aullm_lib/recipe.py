"""Recipe: every choice that the paper leaves open, or where its text and the released script disagree.

Defaults are the paper's reading: what its text says, and the released script's value where it is silent.
``Recipe.released()`` changes what the script does otherwise. The sources are data, so that a table of both can be
drawn.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Self

from aullm_lib.support.typed import typed

MANY = 2**16


def setting(
    default: Any,
    source: str,
    *,
    low: float = -math.inf,
    above: float = -math.inf,
    below: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field with its source and its range: low <= value, above < value < below, or one of choices.

    Without another bound whole numbers are below ``MANY``, so that a file from elsewhere asks for no size that no
    machine has.
    """
    if below is None:
        below = MANY if type(default) is int else math.inf
    allowed = {"source": source, "low": low, "above": above, "below": below, "choices": choices}
    return field(default=default, metadata=allowed)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Checked fields (``setting``), and the way to and from JSON: recipes and experiments."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = typed(f"{type(self).__name__}.{f.name}", f.type, getattr(self, f.name))
            object.__setattr__(self, f.name, value)
            _in_range(f"{type(self).__name__}.{f.name}", value, f.metadata)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: numbers, strings, lists, dictionaries."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``; raises TypeError for a field too many or too few, or of a wrong type."""
        refuse_unknown(cls, values)
        names = [f.name for f in dataclasses.fields(cls)]
        if missing := [n for n in names if n not in values]:
            raise TypeError(f"{cls.__name__}: lacks {', '.join(missing)}; was it written by another version?")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """How AU-LLM is built and trained. The optimiser is Adam, without a schedule; the last epoch is used (script).

    Raises:
        TypeError: A field is unknown or of a wrong type.
        ValueError: A value is out of range.
    """

    name: str = setting("paper", "ours: what it is called in run folders and tables; nothing else depends on it")
    # clip
    frames: int = setting(6, "paper 3.1, T", low=4, below=1025)
    size: int = setting(64, "paper 3.1, H = W, pixels", low=16, below=4097)
    jitter: bool = setting(True, "released script: random end of the clip in training")
    frame_order: str = setting(
        "forward",
        "ours: in training and test; the others are controls",
        choices=("forward", "reversed", "shuffled"),
    )
    # temporal filter
    led: str = setting("led", "paper 3.1; the others are ablations of ours", choices=("led", "raw", "difference"))
    led_alpha: float = setting(10.0, "released script (paper: 'prior work'), initial", above=0)
    led_r1: float = setting(0.4, "released script (paper: 'prior work'), initial", above=0, below=1)
    led_r2: float = setting(0.05, "released script (paper: 'prior work'), initial", above=0, below=1)
    led_eps: float = setting(1e-8, "released script", above=0)
    # backbone
    dropout: float = setting(0.3, "released script; backbone and EFP", low=0, below=1)
    se: bool = setting(True, "paper 3.1; False is an ablation of ours")
    se_reduction: int = setting(16, "released script", low=1, below=65)
    # projector
    efp_hidden: int = setting(0, "released script: 0 = half of input and output together", low=0)
    efp_activation: str = setting(
        "tanh",
        "paper Eq. 3 has an unnamed sigma, tanh is ours; released script: none",
        choices=("none", "tanh", "gelu", "relu"),
    )
    token_scale: float = setting(
        0.0,
        "ours: the visual token is multiplied by this and by the median norm of the LLM's token embeddings; 0 leaves "
        "it as it is (paper, released script)",
        low=0,
    )
    # LLM
    prompt: str = setting(
        "Analyze the facial features to classify action units:",
        "paper 3.3; released script: Chinese, here in our words, which mean: Please analyze the fused features of the "
        "face video and classify the facial action units:",
    )
    prompt_control: str = setting(
        "none",
        "ours: what stands in the prompt's place: its own tokens in a random order, random tokens, or a text about "
        "something else",
        choices=("none", "shuffled", "random", "unrelated"),
    )
    token_order: str = setting(
        "visual-first", "paper 3.3; released script: prompt-first", choices=("visual-first", "prompt-first")
    )
    prompt_pass: str = setting(
        "auto",
        "ours: the prompt runs 'once' per batch (prompt-first only; exact but for shared dropout masks), with "
        "'each' clip, or 'auto': once if it can",
        choices=("auto", "once", "each"),
    )
    llm_layers: int = setting(0, "ours: the LLM's first layers, then its final norm; 0 = all", low=0)
    context: int = setting(16, "ours, CoOp's number: vectors of the variant prompt-learning", low=1)
    adapter: str = setting("lora", "paper 4.2; peft's others are ours", choices=("lora", "rslora", "dora"))
    lora_r: int = setting(16, "paper 4.2", low=1)
    lora_alpha: float = setting(32.0, "paper 4.2", above=0)
    lora_dropout: float = setting(0.1, "released script", low=0, below=1)
    lora_targets: tuple[str, ...] = setting(("q_proj", "v_proj"), "paper 4.2: query and value")
    llm_dtype: str = setting(
        "auto",
        "of the frozen weights; auto: float16 on a GPU (released script), float32 on a CPU, where it is faster (ours)",
        choices=("auto", "float32", "bfloat16", "float16", "float64"),
    )
    # loss
    loss: str = setting("asl", "paper Eq. 4; released script: asl_released", choices=("asl", "asl_released", "bce"))
    gamma_pos: float = setting(0.0, "paper 3.4", low=0)
    gamma_neg: float = setting(4.0, "paper 3.4", low=0)
    clip: float = setting(0.05, "released script: margin of p_m in Eq. 4", low=0, below=1)
    reduction: str = setting(
        "batchmean",
        "paper Eq. 4, whose N and B are not defined: batchmean is our reading, aumean another; released script: sum",
        choices=("sum", "mean", "batchmean", "aumean"),
    )
    # Adam
    lr: float = setting(3e-5, "paper 4.2", above=0)
    weight_decay: float = setting(0.005, "paper 4.2", low=0)
    batch_size: int = setting(256, "paper 4.2", low=1)
    epochs: int = setting(350, "released script", low=1)
    llm_batch: int = setting(0, "ours, to save memory: clips of a batch through the LLM at a time, 0 = all", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt_pass == "once" and self.token_order != "prompt-first":
            raise ValueError(
                "Recipe.prompt_pass='once' needs token_order='prompt-first': behind the visual token every token of "
                "the prompt depends on the clip, so there is nothing to share"
            )
        if self.prompt_control != "none" and not self.prompt:
            raise ValueError(f"Recipe.prompt_control={self.prompt_control!r} needs a prompt: Recipe.prompt is empty")

    @classmethod
    def named(cls, name: str, **overrides: Any) -> Self:
        """``paper``, ``released`` or ``tuned``, by its name; raises ValueError for another."""
        if name not in ("paper", "released", "tuned"):
            raise ValueError(f"recipe={name!r}: allowed are paper, released, tuned")
        return getattr(cls, name)(**overrides)

    @classmethod
    def paper(cls, **overrides: Any) -> Self:
        """The paper's text, and the released script's value where the text is silent."""
        refuse_unknown(cls, overrides)
        return cls(**overrides)

    @classmethod
    def released(cls, **overrides: Any) -> Self:
        """What the released script does."""
        refuse_unknown(cls, overrides)
        return cls(**{"name": "released", **RELEASED, **overrides})

    @classmethod
    def tuned(cls, **overrides: Any) -> Self:
        """Ours: the released script's, with what a pretrained LLM needs to train well (``TUNED``)."""
        refuse_unknown(cls, overrides)
        return cls(**{"name": "tuned", **RELEASED, **TUNED, **overrides})


RELEASED: dict[str, Any] = {  # where the released script does not do what the paper says
    "efp_activation": "none",
    "prompt": "请分析融合后的人脸视频特征，对面部动作单元进行分类：",  # the script's meaning in our words
    "token_order": "prompt-first",
    "loss": "asl_released",
    "reduction": "sum",
}

TUNED: dict[str, Any] = {"token_scale": 20.0}
"""What ours changes of ``RELEASED``: with it SmolLM2-135M trains as well as with random weights.

Chosen on a synthetic release of its own (``synthesize(..., seed=11)``, two folds of four subjects, one model seed) from
the factors 0, 4, 20 and 80; 0 is 12 points worse, 80 one.
"""


def compared() -> list[tuple[str, Any, Any, str]]:
    """Every field as (name, paper's text, released script, source), in order."""
    paper, released = Recipe.paper(), Recipe.released()
    return [
        (f.name, getattr(paper, f.name), getattr(released, f.name), f.metadata["source"])
        for f in dataclasses.fields(Recipe)
        if f.name != "name"
    ]


def switched(recipe: Recipe, name: str) -> Recipe:
    """The recipe with the other one's value of a field in which the paper's text and the script differ."""
    other = RELEASED[name]
    if getattr(recipe, name) == other:
        other = next(f.default for f in dataclasses.fields(Recipe) if f.name == name)
    return dataclasses.replace(recipe, **{name: other})


def refuse_unknown(cls: type, values: dict[str, Any]) -> None:
    """Raises TypeError naming what is no field of ``cls``."""
    names = [f.name for f in dataclasses.fields(cls)]
    if unknown := [k for k in values if k not in names]:
        raise TypeError(f"{cls.__name__}: no field {', '.join(map(repr, unknown))}; fields are {', '.join(names)}")


def _in_range(name: str, value: Any, allowed: Any) -> None:
    if value == ():
        raise ValueError(f"{name}={value!r}: needs at least one")
    if allowed.get("choices") and value not in allowed["choices"]:
        raise ValueError(f"{name}={value!r}: allowed are {', '.join(allowed['choices'])}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, above, below = (allowed.get(k, d) for k, d in (("low", -math.inf), ("above", -math.inf), ("below", math.inf)))
    if not (low <= value and above < value < below):  # nan and inf fail too
        bounds = [f"{sign} {b:g}" for sign, b in ((">=", low), (">", above), ("<", below)) if math.isfinite(b)]
        raise ValueError(f"{name}={value!r}: must be {' and '.join(bounds) or 'finite'}")

"""What is trained: a method by its name, its recipe, variant, LLM and seed. Data and protocol are the engine's."""

import hashlib
import json
import reprlib
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any, Self

from aullm_lib import baselines, facs
from aullm_lib.recipe import Settings
from aullm_lib.support.files import folder_name

AU_LLM = "au-llm"
FAMILIES = {AU_LLM: "aullm_lib.model"} | dict.fromkeys(baselines.METHODS, "aullm_lib.baselines")
"""Method -> the module that makes its models. Each has ``recipe_type(method)``, ``reads_colour(method)``,
``check(experiment, store)``, ``subjects(experiment)``, ``sources(experiment)`` and ``build(experiment, llm)``;
``engine`` trains each family."""


def family(method: str) -> ModuleType:
    """The module that makes a method's models (``FAMILIES``), imported when it is first asked for.

    Raises:
        ValueError: The method is unknown.
    """
    if method not in FAMILIES:
        raise ValueError(f"method={method!r}: allowed are {', '.join(FAMILIES)}")
    return import_module(FAMILIES[method])


@dataclass(frozen=True, kw_only=True)
class Experiment(Settings):
    """A model to train: which AUs, by which method, recipe, variant, LLM and seed.

    Args:
        name: What the run folder's name begins with (``files.folder_name``).
        aus: AU numbers of ``facs.NAMES``, each once.
        recipe: The method's own recipe, of type ``family(method).recipe_type(method)``.
        method: One of ``FAMILIES``.
        variant, llm: AU-LLM's variant (``model.VARIANTS``) and its LLM, a checkpoint folder or hub name.
        seed: At least 0; 1 in the released script.

    Raises:
        TypeError: A field is unknown or of a wrong type, or the recipe is another method's.
        ValueError: A value is out of range, or the variant is unknown.
    """

    name: str
    aus: tuple[int, ...]
    recipe: Any
    method: str = AU_LLM
    variant: str = "all"
    llm: str = ""
    seed: int = field(default=1, metadata={"low": 0, "below": 2**63})

    def __post_init__(self) -> None:
        super().__post_init__()
        folder_name("Experiment.name", self.name)
        if not self.variant:
            raise ValueError("Experiment.variant must not be empty")
        if len(set(self.aus)) < len(self.aus) or not set(self.aus) <= set(facs.NAMES):
            raise ValueError(
                f"Experiment.aus={reprlib.repr(self.aus)}: expected numbers of AUs that FACS has, each once"
            )
        if type(self.recipe) is not (wanted := family(self.method).recipe_type(self.method)):
            raise TypeError(
                f"Experiment.recipe={self.recipe!r}: the method {self.method!r} takes a {wanted.__module__}."
                f"{wanted.__name__}"
            )
        family(self.method).subjects(self)  # raises for a variant that there is not

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Makes the experiment of which ``to_dict`` gave the values."""
        recipe, method = values.get("recipe"), values.get("method", AU_LLM)
        if isinstance(recipe, dict):
            values = {**values, "recipe": family(method).recipe_type(method).from_dict(recipe)}
        return super().from_dict(values)

    @property
    def recipe_name(self) -> str:
        """The recipe's name; a baseline has one recipe, which is called as the method is."""
        return getattr(self.recipe, "name", self.method)

    @property
    def key(self) -> str:
        """12 hex digits that name this experiment: the start of the SHA-256 of its canonical JSON."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

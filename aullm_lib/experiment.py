"""Experiment: a model to train, by which method, recipe, variant, LLM and seed."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Self

from aullm_lib import baselines
from aullm_lib.recipe import Recipe, Settings

AU_LLM = "au-llm"


def recipe_type(method: str) -> type[Settings]:
    """The class of a method's recipe. Raises ValueError for an unknown method."""
    if method == AU_LLM:
        return Recipe
    return baselines.module(method).Recipe


@dataclass(frozen=True, kw_only=True)
class Experiment(Settings):
    """A model to train: which AUs, by which method, recipe, variant, LLM and seed. Data and protocol are the engine's.

    method: AU-LLM, or one of ``baselines.METHODS`` with the recipe of its own; variant and LLM are AU-LLM's.
    Raises TypeError for an unknown field or a wrong type, ValueError for a value out of range.
    """

    name: str
    aus: tuple[int, ...]
    recipe: Any  # of recipe_type(method)
    method: str = AU_LLM
    variant: str = "all"
    llm: str = ""
    seed: int = field(default=1, metadata={"low": 0})  # 1 in the released script

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name or not self.variant:
            raise ValueError("Experiment.name and Experiment.variant must not be empty")
        if len(set(self.aus)) < len(self.aus) or min(self.aus) < 1:
            raise ValueError(f"Experiment.aus={self.aus}: AU numbers are above 0, each once")
        if type(self.recipe) is not (wanted := recipe_type(self.method)):
            raise TypeError(
                f"Experiment.recipe={self.recipe!r}: the method {self.method!r} takes a {wanted.__module__}."
                f"{wanted.__name__}"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        recipe, method = values.get("recipe"), values.get("method", AU_LLM)
        read = {"recipe": recipe_type(method).from_dict(recipe)} if isinstance(recipe, dict) else {}
        return super().from_dict({**values, **read})

    @property
    def key(self) -> str:
        """12 hex digits that name this experiment: the start of the SHA-256 of its canonical JSON."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

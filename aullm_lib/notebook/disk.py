"""What notebooks will need on the disk, told before the first one starts."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from aullm_lib import baselines, facs
from aullm_lib.datasets import documented
from aullm_lib.model import AULLM, needs_llm
from aullm_lib.recipe import Recipe

FRAMES = 75  # of a clip, about, as CASME II and SAMM have them
ROW = 50  # bytes of a line of trace.csv, about
LITTLE = 10**9  # bytes of which nothing is said


def advice(notebooks: Mapping[str, Mapping[str, Any]], folder: Path) -> list[str]:
    """What some notebooks will need on the disk and how much of it is free, in a line; none where it is little.

    Args:
        notebooks: The parameters of each.
        folder: On that disk.
    """
    parts = needed(notebooks)
    if (total := sum(parts.values())) < LITTLE:
        return []
    listed = ", ".join(f"{size / 1e9:.1f} GB of {what}" for what, size in parts.items() if size > 1e8)
    free = shutil.disk_usage(folder).free
    short = "; that is too little, unless a part is there already" if free < total else ""
    return [f"On the disk this takes about {total / 1e9:.0f} GB ({listed}); {free / 1e9:.0f} GB are free{short}."]


def needed(notebooks: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Bytes of the largest files that notebooks write, by what they are.

    Trained weights have the paper's width, 1,536, and go without the few that LoRA adds; a licensed release has the
    clips that are documented.

    Args:
        notebooks: The parameters of each.
    """
    weights, stores, traces = dict[tuple, int](), dict[tuple, int](), 0
    for name, settings in notebooks.items():
        if "overrides" not in settings:  # it trains nothing that is large
            continue
        recipe = Recipe.named(settings["recipe"], size=settings["size"], **settings["overrides"])
        methods = [*settings.get("baselines", ()), *settings.get("cross_baselines", ())]
        others = [(m, baselines.recipe(m, **settings["baseline_overrides"].get(m, {}))) for m in methods]
        shapes = {(recipe.size, False)} | {(other.size, baselines.module(m).RGB) for m, other in others}
        variants = settings["variants"] if settings.get("keep_weights") else []
        for release in settings["releases"]:
            subjects, clips = _size(release, settings)
            for joined in {False, name == "05_cross_domain"}:  # there all clips are copied into one store
                pixels = {(size, rgb): size**2 * (3 if rgb else 1) for size, rgb in shapes}
                stores |= {(release, joined, *shape): clips * FRAMES * count for shape, count in pixels.items()}
            if settings.get("trace"):
                runs = len(settings["variants"]) * len(settings["seeds"])
                traces += runs * clips * len(facs.BENCHMARK[release]) * recipe.epochs * ROW
            if release == settings["releases"][0]:
                for variant in ["all", "3d-cnn"] if name == "06_visualize" else variants:
                    weights[release, variant] = subjects * _fold(recipe, variant)
    return {
        "trained weights": sum(weights.values()),
        "clips": sum(stores.values()),
        "probabilities after every epoch": traces,
    }


def _size(release: str, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Subjects and clips of a release."""
    counts = documented.counts(release, settings["casme2_variant"] or None)
    if settings["data"] == "synthetic" or counts is None:
        return settings["subjects"], settings["subjects"] * settings["clips_per_subject"]
    return counts.subjects, counts.clips


def _fold(recipe: Recipe, variant: str) -> int:
    """Bytes of what training changes of a variant, nothing of which is made here."""
    with torch.device("meta"):
        model = AULLM(recipe, 8, variant="no-llm" if needs_llm(variant) else variant)
    return sum(value.nbytes for value in model.state_dict().values())

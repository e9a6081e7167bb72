"""Explanations of a trained model: heat maps, learned parts, localisation against ground truth, sanity checks."""

from aullm_lib.explain.maps import (
    METHODS,
    Method,
    default_device,
    grad_cam,
    held_out,
    integrated_gradients,
    models,
    occlusion,
    randomised,
    require_weights,
    still,
)  # fmt: skip

__all__ = [
    "METHODS", "Method", "default_device", "grad_cam", "held_out", "integrated_gradients", "models",
    "occlusion", "randomised", "require_weights", "still",
]  # fmt: skip

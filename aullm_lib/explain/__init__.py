"""What a trained model looks at: heat maps, learned parts, localisation against ground truth, sanity checks."""

from aullm_lib.explain.maps import (
    METHODS,
    Method,
    default_device,
    grad_cam,
    held_out,
    integrated_gradients,
    lacking,
    models,
    occlusion,
    randomised,
    still,
)  # fmt: skip

__all__ = [
    "METHODS", "Method", "default_device", "grad_cam", "held_out", "integrated_gradients", "lacking", "models",
    "occlusion", "randomised", "still",
]  # fmt: skip

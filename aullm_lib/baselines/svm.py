"""Support vector machines, one per AU over the same clips, for LBP-TOP and for optical flow: scikit-learn's SVC.

The kernel is polynomial, of which the linear one is that of degree 1. The probability is the sigmoid of the machine's
decision value: 0.5 is its decision, but it is not calibrated. An AU that all training clips have, or none, has no
machine; its probability is 1, or 0.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor, nn


class Inputs(NamedTuple):
    """The machines' inputs of a store's clips."""

    features: Tensor  # [n, features] float32
    products: Tensor  # [n, n] float64: of the features of every two clips

    @classmethod
    def of(cls, features: Tensor) -> Self:
        """The inputs of clips with these features `[n, features]`."""
        wide = features.double()
        return cls(features, wide @ wide.T)


class Machines(nn.Module):
    """One support vector machine per AU, with the kernel (gamma x·y + coef0)^degree.

    Args:
        n_aus: number of AUs.
        features: number of features of a clip.
        C: cost of a training error.
        degree, coef0: of the kernel.
        gamma: "scale", 1 / (features × their variance over all training clips), or "auto", 1 / features.
    """

    support: Tensor
    dual: Tensor
    bias: Tensor
    gamma: Tensor

    def __init__(
        self, n_aus: int, *, features: int, C: float, degree: int = 1, coef0: float = 0.0, gamma: str = "scale"
    ) -> None:
        super().__init__()
        self.C, self.degree, self.coef0, self.scaled = C, degree, coef0, gamma == "scale"
        self.register_buffer("support", torch.zeros(0, features))  # clips that any AU's machine rests on
        self.register_buffer("dual", torch.zeros(n_aus, 0, dtype=torch.float64))  # their weights
        self.register_buffer("bias", torch.zeros(n_aus, dtype=torch.float64))  # ±inf where there is no machine
        self.register_buffer("gamma", torch.zeros((), dtype=torch.float64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("support", "dual"):  # as many clips as training found
            if (kept := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(kept, device=self.bias.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _decisions(self, products: Tensor) -> Tensor:
        """Products with the clips that the machines rest on `[b, s]` -> decision values `[b, n_aus]`."""
        return self._kernel(products) @ self.dual.T + self.bias

    def _kernel(self, products: Tensor) -> Tensor:
        return (self.gamma * products + self.coef0) ** self.degree

    def fit(
        self, inputs: Inputs, rows: Tensor, targets: Tensor, order: torch.Generator, after: Callable[[int, float], None]
    ) -> None:
        """Fits one machine per AU to the clips at ``rows`` [B]; ``after`` receives the mean hinge loss, once.

        Args:
            targets: 0/1 [B, N_AU]; clips in which it is unknown whether the AU occurs (NaN) are left out.
            order: Not used, since nothing is random.
        """
        features, products = inputs.features[rows], inputs.products[rows][:, rows]
        variance = features.double().var(correction=0) if self.scaled else torch.ones(())
        # as scikit-learn where all features of all clips are equal
        self.gamma = (1 / (features.shape[1] * variance) if variance else torch.ones(())).to(self.gamma)
        kernel = self._kernel(products).cpu().numpy()  # for all AUs
        dual, bias = torch.zeros(len(self.bias), len(rows), dtype=torch.float64), torch.zeros_like(self.bias)
        for au, labels in enumerate(targets.T.cpu().numpy()):
            known = np.flatnonzero(np.isfinite(labels))
            present = labels[known] > 0
            if present.all() or not present.any():
                bias[au] = math.inf if len(known) and present.all() else -math.inf
                continue
            machine = SVC(C=self.C, kernel="precomputed").fit(kernel[np.ix_(known, known)], present)
            dual[au, known[machine.support_]] = torch.from_numpy(machine.dual_coef_[0])
            bias[au] = float(machine.intercept_[0])
        used = dual.any(0).to(rows.device)
        self.support, self.dual, self.bias = features[used], dual.to(self.bias)[:, used], bias
        margins = (2 * targets - 1) * self._decisions(products[:, used])
        after(1, float((1 - margins).clamp(min=0).nanmean()))

    def probabilities(self, inputs: Inputs, rows: Tensor) -> Tensor:
        """Of occurrence [B, N_AU], float64, of the clips at ``rows`` [B]: the sigmoid of the decision value."""
        products = inputs.features[rows].double() @ self.support.double().T
        return self._decisions(products).sigmoid()

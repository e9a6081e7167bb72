"""LoRA (paper 3.3 and 4.2; Hu et al., ICLR 2022): a low-rank update beside frozen linear layers, for one fold or many.

    y = W x + (alpha / r) B A dropout(x),   A [r, in] random, B [out, r] zero at first

The frozen model is never changed nor copied: ``applied`` hooks the updates on for the length of one forward pass. So
folds share one model in memory, and one pass serves several: each row of the batch gets its own fold's update. All
folds' A are stacked as one matrix, and a mask keeps each row's fold; that is two products however many folds there are.
A value that is not finite in one fold's rows, or in their gradient, does not reach the other folds.

Each fold has a generator for its dropout, so that it gets the same masks alone or beside others.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class LoRA(nn.Module):
    """One fold's updates of a model's linear layers; new weights come from the global torch generator.

    Args:
        model: the frozen model; only its shapes are read.
        r: rank, at least 1.
        alpha: scale, above 0; the update is multiplied by alpha / r.
        dropout: of the input of A, in [0, 1), in training only.
        targets: the linear layers that are updated, by the end of their names.

    The weights are float32 (float64 beside a float64 model), whatever the model's type.

    Raises:
        ValueError: a target that no linear layer of the model is called.
    """

    def __init__(self, model: nn.Module, *, r: int, alpha: float, dropout: float, targets: Sequence[str]) -> None:
        super().__init__()
        layers = {
            name: layer
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear) and any(name == t or name.endswith(f".{t}") for t in targets)
        }
        for target in targets:
            if not any(name == target or name.endswith(f".{target}") for name in layers):
                linear = sorted({n.split(".")[-1] for n, m in model.named_modules() if isinstance(m, nn.Linear)})
                raise ValueError(f"lora_targets: no linear layer {target!r} in this LLM; it has {', '.join(linear)}")
        self.names = list(layers)
        self.r, self.scale, self.dropout = r, alpha / r, dropout
        exact = next(iter(layers.values())).weight.dtype == torch.float64
        dtype = torch.float64 if exact else torch.float32
        self.A = nn.ParameterList(torch.empty(r, layer.in_features, dtype=dtype) for layer in layers.values())
        self.B = nn.ParameterList(torch.zeros(layer.out_features, r, dtype=dtype) for layer in layers.values())
        for a in self.A:
            nn.init.kaiming_uniform_(a, a=math.sqrt(5))
        self._seed = int(torch.randint(2**62, ()).item())
        self._generator: torch.Generator | None = None

    def drop(self, x: Tensor) -> Tensor:
        """Inverted dropout from this fold's own stream; the stream begins anew on another device."""
        if self._generator is None or self._generator.device != x.device:
            self._generator = torch.Generator(x.device).manual_seed(self._seed)
        keep = torch.empty_like(x).bernoulli_(1 - self.dropout, generator=self._generator)
        return x * keep.div_(1 - self.dropout)


@contextmanager
def applied(model: nn.Module, folds: Sequence[LoRA], rows: Sequence[int]) -> Iterator[None]:
    """Inside, the model's layers have the folds' updates: the first ``rows[0]`` rows of a batch those of the first.

    Layers that no update is for, and the model itself, stay as they are.
    """
    if len(folds) > 1:
        counts = torch.tensor(rows)
        fold = torch.repeat_interleave(torch.arange(len(folds)), counts)  # n
        mask = (fold[:, None] == torch.arange(len(folds))).repeat_interleave(folds[0].r, 1)  # n k*r
        mask = mask[:, None].to(folds[0].A[0].device)  # n 1 k*r
    handles = []

    def hook(i: int):
        a = torch.cat([fold.A[i] for fold in folds]) if len(folds) > 1 else folds[0].A[i]  # k*r in
        b = torch.cat([fold.B[i] for fold in folds], 1) if len(folds) > 1 else folds[0].B[i]  # out k*r

        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x = inputs[0].to(a.dtype)  # n l in
            if folds[0].training and folds[0].dropout:
                x = torch.cat([f.drop(part) for f, part in zip(folds, x.split(list(rows)), strict=True)])
            if len(folds) == 1:
                return output + (x @ a.T @ (folds[0].scale * b).T).to(output.dtype)  # n l out
            # The gradients of a and b are sums over the rows of all folds, and 0 * NaN is NaN: so no NaN comes in.
            h = torch.where(mask, x.nan_to_num(0, 0, 0) @ a.T, 0)  # n l k*r
            change = h @ (folds[0].scale * b).T  # n l out
            if change.requires_grad:
                change.register_hook(lambda gradient: gradient.nan_to_num(0, 0, 0))
            return output + change.to(output.dtype)

        return add

    try:
        for i, name in enumerate(folds[0].names):
            handles.append(model.get_submodule(name).register_forward_hook(hook(i)))
        yield
    finally:
        for handle in handles:
            handle.remove()

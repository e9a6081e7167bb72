"""LoRA (paper 3.3 and 4.2; Hu et al., ICLR 2022): peft's adapters of one frozen model, for one fold or many at once.

    y = W x + (alpha / r) B A dropout(x),   A [r, in] random, B [out, r] zero at first

A fold's LoRA is a named adapter that peft makes in the model's linear layers. Folds share the model in memory, and a
layer gives what the frozen one gives unless ``applied`` says which folds a batch belongs to. For one fold the forward
is peft's own. peft refuses several adapters in training; for several, all folds' A are stacked as one matrix, and a
mask keeps each row's fold: two products however many folds there are. A value that is not finite in one fold's rows, or
in their gradient, does not reach the other folds.

Each fold has a generator for its dropout, so that it gets the same masks alone or beside others.
"""

import itertools
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import Linear
from peft.tuners.tuners_utils import cast_adapter_dtype
from torch import Tensor, nn

KINDS: dict[str, dict[str, Any]] = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}
"""What peft makes of the same configuration: LoRA, rsLoRA (Kalajdzievski, 2023) or DoRA (Liu et al., ICML 2024)."""

PREFIX = "base_model.model."  # how names begin in peft's files
_numbers = itertools.count()


def config(*, r: int, alpha: float, dropout: float, targets: Sequence[str], kind: str = "lora") -> LoraConfig:
    """The adapter's configuration, as peft has it.

    Args:
        r: Rank, at least 1.
        alpha: Scale, above 0; the update is multiplied by alpha / r (rsLoRA: alpha / sqrt(r)).
        dropout: Of the input of A, in [0, 1), in training only.
        targets: The linear layers that are adapted, by the end of their names.
        kind: One of ``KINDS``.
    """
    made = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets), **KINDS[kind])  # type: ignore[arg-type]  # a float is fine
    made.target_modules = sorted(targets)  # peft's set would be written in another order each time
    return made


class Adapter(nn.Module):
    """One fold's adapter of a frozen model; new weights come from the global torch generator.

    Its weights lie in the model's layers and are parameters of this module, too. They are float32 (float64 beside a
    float64 model), whatever the model's type. When this module is deleted, they leave the model.

    Args:
        model: The frozen model. peft wraps its linear layers in place; they give what they gave, outside ``applied``.
        config: Of ``config``.

    Raises:
        ValueError: A target that no linear layer of the model is called.
    """

    def __init__(self, model: nn.Module, config: LoraConfig) -> None:
        super().__init__()
        refuse_targets(model, config.target_modules or ())
        self.config, self.key = config, f"fold{next(_numbers):08d}"  # of one width: no name is the start of another
        config._register_custom_module({nn.Linear: FoldLinear})
        weakref.finalize(self, _remove, model, self.key).atexit = False
        trains = [(weight, weight.requires_grad) for weight in model.parameters()]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are what is wanted
            inject_adapter_in_model(config, model, adapter_name=self.key)
        for weight, flag in trains:  # peft freezes the adapters that are there
            weight.requires_grad_(flag)
        cast_adapter_dtype(model, self.key)
        layers = {n: m for n, m in model.named_modules() if isinstance(m, FoldLinear) and self.key in m.lora_A}
        self.names = list(layers)
        self.lora = nn.ModuleList()
        self.dropout = Dropout(config.lora_dropout, int(torch.randint(2**62, ()).item()))
        for layer in layers.values():
            layer.lora_dropout[self.key] = self.dropout if self.dropout.p else nn.Identity()
            parts = {"A": layer.lora_A, "B": layer.lora_B, "magnitude": layer.lora_magnitude_vector}
            self.lora.append(nn.ModuleDict({n: part[self.key] for n, part in parts.items() if self.key in part}))
        self.lora.requires_grad_(True)
        self._model, self._layers = (model,), tuple(layers.values())  # in tuples, they are no part of this module

    def weights(self) -> dict[str, Tensor]:
        """The adapter's weights by the names that peft's files have."""
        return {PREFIX + name: w for name, w in get_peft_model_state_dict(*self._model, adapter_name=self.key).items()}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Takes the values of what ``weights`` gave, name by name. Raises RuntimeError where shapes differ."""
        named = {name.removeprefix(PREFIX): weight for name, weight in weights.items()}
        set_peft_model_state_dict(*self._model, named, adapter_name=self.key)


def _remove(model: Any, key: str) -> None:
    for layer in model.modules():
        if isinstance(layer, FoldLinear):
            layer._active_adapter = []  # else peft chooses another one, and warns
            layer.delete_adapter(key)
    getattr(model, "peft_config", {}).pop(key, None)


def refuse_targets(model: nn.Module, targets: Sequence[str] | set[str]) -> None:
    """Raises ValueError for a target that no linear layer of the model is called."""
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | FoldLinear) and ".lora_" not in n]
    linear = [name.removesuffix(".base_layer") for name in linear]
    for target in sorted(targets):
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            kinds = ", ".join(sorted({name.split(".")[-1] for name in linear}))
            raise ValueError(f"lora_targets: no linear layer {target!r} in this LLM; it has {kinds}")


class Dropout(nn.Module):
    """Inverted dropout from a stream of its own; the stream begins anew on another device."""

    def __init__(self, p: float, seed: int) -> None:
        super().__init__()
        self.p, self.seed = p, seed
        self._generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or not self.p:
            return x
        return x * self.draw(torch.empty_like(x)).div_(1 - self.p)

    def draw(self, keep: Tensor) -> Tensor:
        """Fills a tensor with the next mask: 1 where a value is kept, else 0."""
        return keep.bernoulli_(1 - self.p, generator=self.generator(keep.device))

    def generator(self, device: torch.device) -> torch.Generator:
        """The stream on a device."""
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self.seed)
        return self._generator


class Served(NamedTuple):
    """The folds whose rows a batch holds."""

    keys: list[str]
    rows: list[int]
    mask: Tensor | None  # n 1 k*r: which rows of the stacked A are a row's own; None for one fold


class FoldLinear(Linear):
    """peft's LoRA layer, for the folds that ``applied`` names; for none, the frozen layer alone."""

    served: Served | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`[n, l, in]` -> `[n, l, out]`."""
        if self.served is None:
            return self.base_layer(x)
        keys, rows, mask = self.served
        if mask is None:
            self._active_adapter = keys  # set_adapter would freeze the other folds' weights
            self.training = self.lora_dropout[keys[0]].training  # DoRA asks
            return super().forward(x, *args, **kwargs)
        output = self.base_layer(x)
        a = torch.cat([cast(Tensor, self.lora_A[key].weight) for key in keys])  # k*r in
        b = self.scaling[keys[0]] * torch.cat([cast(Tensor, self.lora_B[key].weight) for key in keys], 1)  # out k*r
        x = x.to(a.dtype)
        first = self.lora_dropout[keys[0]]
        if isinstance(first, Dropout) and first.training:
            keep = torch.empty_like(x)
            for key, part in zip(keys, keep.split(rows), strict=True):
                cast(Dropout, self.lora_dropout[key]).draw(part)
            x = x * keep.div_(1 - first.p)
        # The gradients of a and b are sums over the rows of all folds, and 0 * NaN is NaN: so no NaN comes in.
        h = torch.where(mask, x.nan_to_num(0, 0, 0) @ a.T, 0)  # n l k*r
        change = h @ b.T  # n l out
        if change.requires_grad:
            change.register_hook(lambda gradient: gradient.nan_to_num(0, 0, 0))
        return output + change.to(output.dtype)


@cache  # the same for every layer and step: a GPU is not waited for, and a CUDA graph of a step finds it where it was
def _own(rows: tuple[int, ...], r: int, device: torch.device) -> Tensor:
    """Which rows of the stacked A are those of a row's own fold, bool `[n, 1, k*r]`."""
    fold = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))  # n
    own = (fold[:, None] == torch.arange(len(rows))).repeat_interleave(r, 1)  # n k*r
    return own[:, None].to(device)


@contextmanager
def applied(model: nn.Module, folds: Sequence[Adapter], rows: Sequence[int]) -> Iterator[None]:
    """Inside, the model's layers have the folds' adapters: the first ``rows[0]`` rows of a batch those of the first.

    The adapters are in the same layers of this model.

    Raises:
        ValueError: Several folds with an adapter that only peft's own forward has.
    """
    mask = None
    if len(folds) > 1:
        if folds[0].config.use_dora:
            raise ValueError("Recipe.adapter='dora' trains one fold at a time: give side_by_side=1")
        mask = _own(tuple(rows), folds[0].config.r, next(model.parameters()).device)
    served = Served([fold.key for fold in folds], list(rows), mask)
    try:
        for layer in folds[0]._layers:
            layer.served = served
        yield
    finally:
        for layer in folds[0]._layers:
            layer.served = None

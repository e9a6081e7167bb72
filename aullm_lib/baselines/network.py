"""What the baselines that are one neural network have in common: the fields of their recipes, and their training.

Stochastic gradient descent or Adam over shuffled batches; the last epoch is used, and nothing is chosen on test clips.
A subclass defines its batches, loss and probabilities (``batch``, ``loss``, ``decide``), and where it needs them
``initial``, ``begin``, ``begin_epoch``, ``end``, ``groups`` and ``rates``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from aullm_lib.baselines import views, weights
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import Settings, setting

UNKNOWN = -100  # as a class, which torch's cross-entropy leaves out
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""ResNet's name -> how many basic blocks each stage has."""


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe(Settings):
    """The fields that every network's recipe has; each method's own values and sources stand in its file."""

    size: int = setting(64, "pixels of a stored frame, height and width", low=16)
    optimizer: str = setting("sgd", "", choices=("sgd", "adam"))
    lr: float = setting(0.01, "", above=0)
    momentum: float = setting(0.9, "of sgd", low=0, below=1)
    weight_decay: float = setting(0.0, "", low=0)
    drop_every: int = setting(0, "epochs after which the rate falls to a tenth, again and again; 0 = never", low=0)
    batch_size: int = setting(32, "", low=2)  # batch norm needs two
    epochs: int = setting(100, "", low=1)


class Network(nn.Module):
    """A neural network in training and test. Subclasses set ``recipe`` by ``super().__init__(recipe)``."""

    needs_motion = False  # whether clips of a single frame are refused
    restarts = False  # whether each epoch begins with a new optimiser, without the momentum of the one before

    @classmethod
    def check(cls, recipe: Any, store: ClipStore) -> None:
        """Checks clips and initial weights before training.

        Raises:
            ValueError: A clip has a single frame where motion is read, or as ``weights.check``.
        """
        if cls.needs_motion:
            views.refuse_still(store)
        weights.check(cls, recipe, store)

    @classmethod
    def sources(cls, recipe: Any) -> dict[str, str]:
        """The identity of every file that training rests on, by the recipe's field."""
        return weights.sources(cls, recipe)

    def __init__(self, recipe: Any) -> None:
        super().__init__()
        self.recipe = recipe

    def batch(self, inputs: Any, rows: Tensor, order: torch.Generator | None) -> Any:
        """The network's input for some clips.

        Args:
            inputs: what ``prepare`` returned.
            rows: positions in the store [b].
            order: CPU generator for the augmentation of training; None in test, which draws nothing.
        """
        raise NotImplementedError

    def loss(self, x: Any, targets: Tensor) -> Tensor:
        """The loss of a batch [], a mean over its clips; by default of 2-way logits. targets: 0/1, NaN unknown."""
        return two_way_loss(self(x), targets)

    def decide(self, x: Any) -> Tensor:
        """Probabilities of occurrence [b, N_AU] of a batch; by default of 2-way logits."""
        return two_way_probabilities(self(x))

    def initial(self) -> list[tuple[str, nn.Module]]:
        """The recipe's fields that may name initial weights, each with a part that starts from them."""
        return []

    def begin(self, inputs: Any, rows: Tensor, targets: Tensor) -> None:
        """Called with ``fit``'s arguments before the first step; loads the initial weights."""
        for field, part in self.initial():
            if source := getattr(self.recipe, field):
                weights.load(source, part)

    def begin_epoch(self, order: torch.Generator) -> None:
        """Called before each epoch, with ``fit``'s generator."""

    def end(self) -> None:
        """Called after the last step."""

    def groups(self) -> list[list[nn.Parameter]]:
        """What trains, in groups that may have rates of their own."""
        return [[p for p in self.parameters() if p.requires_grad]]

    def rates(self, epoch: int) -> list[float]:
        """The learning rate of each group in an epoch, 0-based."""
        drops = epoch // self.recipe.drop_every if self.recipe.drop_every else 0
        return [self.recipe.lr * 0.1**drops for _ in self.groups()]

    def fit(
        self,
        inputs: Any,
        rows: Tensor,
        targets: Tensor,
        order: torch.Generator,
        after: Callable[[int, float], None],
    ) -> None:
        """Trains on the clips at ``rows`` [B]; ``after`` receives each epoch's mean loss.

        targets: 0/1 [B, N_AU], NaN where it is unknown whether the AU occurs.
        """
        r = self.recipe
        self.begin(inputs, rows, targets)
        groups = [{"params": group, "lr": rate} for group, rate in zip(self.groups(), self.rates(0), strict=True)]
        optimizer: torch.optim.Optimizer
        if r.optimizer == "adam":
            optimizer = torch.optim.Adam(groups, weight_decay=r.weight_decay, fused=True)
        else:
            optimizer = torch.optim.SGD(groups, momentum=r.momentum, weight_decay=r.weight_decay, fused=True)
        self.train()
        for epoch in range(r.epochs):
            for group, rate in zip(optimizer.param_groups, self.rates(epoch), strict=True):
                group["lr"] = rate
            if self.restarts:
                optimizer.state.clear()
            self.begin_epoch(order)
            total, seen = torch.zeros((), device=rows.device), 0
            for part in torch.randperm(len(rows), generator=order).to(rows.device).split(r.batch_size):
                if len(part) < 2 and len(rows) > 1:
                    continue  # batch norm needs two; the order is another in the next epoch
                optimizer.zero_grad(set_to_none=True)
                loss = self.loss(self.batch(inputs, rows[part], order), targets[part])
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(part)
                seen += len(part)
            after(epoch + 1, float(total) / seen)
        self.end()

    @torch.no_grad()
    def probabilities(self, inputs: Any, rows: Tensor) -> Tensor:
        """Of occurrence [B, N_AU], float64, of the clips at ``rows`` [B]; no augmentation."""
        was_training = self.training
        self.eval()
        batches = [self.decide(self.batch(inputs, part, None)) for part in rows.split(self.recipe.batch_size)]
        self.train(was_training)
        return torch.cat(batches).double()


def resnet(*, depth: int, width: int, channels: int = 3) -> ResNetModel:
    """A ResNet of basic blocks with random weights: `[b, channels, h, w]` -> features `[b, 8 width, 1, 1]`.

    Args:
        depth: one of ``DEPTHS``.
        width: channels of the stem and the first stage; they double with each further one.
        channels: of the input.
    """
    sizes = [width, 2 * width, 4 * width, 8 * width]
    config = ResNetConfig(
        layer_type="basic", embedding_size=width, hidden_sizes=sizes, depths=list(DEPTHS[depth]), num_channels=channels
    )
    return ResNetModel(config)


class TwoWay(nn.Module):
    """A 2-way softmax per AU on one feature vector, as in the LED and DVASP code: argmax decides.

    Args:
        d: width of the features.
        n_aus: number of AUs.
    """

    def __init__(self, *, d: int, n_aus: int) -> None:
        super().__init__()
        self.linear = nn.Linear(d, 2 * n_aus)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, d]` -> `[b, n_aus, 2]`: the logits of absent and present."""
        return self.linear(x).unflatten(1, (-1, 2))


def two_way_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean of the cross-entropies of known AUs. logits: `[b, n_aus, 2]`; targets: 0/1, NaN unknown `[b, n_aus]`."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.nan_to_num(UNKNOWN).flatten().long())


def binary_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean of the binary cross-entropies of known AUs. targets: 0/1, NaN unknown; in the shape of the logits."""
    known = targets.isfinite()
    return nn.functional.binary_cross_entropy_with_logits(logits[known], targets[known])


def two_way_probabilities(logits: Tensor) -> Tensor:
    """`[b, n_aus, 2]` -> `[b, n_aus]`: 0.5 or more where "present" has the larger logit."""
    return logits.softmax(2)[..., 1]

"""The teacher's network: two ResNets read one face, and their classifiers share the AUs' correlations.

Each view's linear classifiers, one vector per AU, pass through a graph network over the AUs' relations before they are
used; a third classifier, plain and linear, reads both views' features. Three losses: labels; the views' classifiers are
to differ; their predictions are to agree, also on faces without labels, so that each view teaches the other
(semi-supervised co-training, multi-label co-regularisation).

Source: the public script of DVASP (liyantett/DVSPAT, net and loss), which takes its teacher from MLCR (Niu, Han, Shan
and Chen, 2019). As there, an AU with fewer positives than the share ``balance`` of a batch keeps that many negatives,
sampled again for each of the three classifiers; the loss of labels is the sum over AUs, divided by the number of faces,
of the third classifier and half of each view's; the vectors that are to differ are those before the graph network.
Where this departs, and why:
- The script's relation matrices are those of EmotioNet and BP4D; here the absolute correlations of the training labels.
- Its graph network reads the vectors as they were at the first step, whatever they have become; here as they are.
- Its shares ``balance`` are 0.1 to 0.5 by AU, in an order that it does not name; here the lowest is that of all. Its
  weight for rare positives is left out: it never exceeds 1.
- Its divergence leaves out predictions within 0.001 of 0 and 1; here it is exact and of all.
- It does not say how many of a batch's 10 faces have labels, nor which classifier decides: 10 of 20 have them here,
  and the third one decides.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aullm_lib.baselines import network, views
from aullm_lib.baselines.network import Network, NetworkRecipe
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import setting

DV = "public script (DVASP)"


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe(NetworkRecipe):
    """The public script's settings. Raises ValueError for a value out of range."""

    size: int = setting(240, f"{DV}: pixels of a stored frame", low=16)
    crop: int = setting(224, f"{DV}: pixels that the network reads, a random square in training", low=16)
    depth: int = setting(34, f"{DV}: of both ResNets, 18 or 34")
    width: int = setting(64, "ResNet paper: channels of stem and first stage; they double with each further one", low=1)
    before: int = setting(2, "ours, as the student's: labelled frames reach from so many before the apex", low=0)
    after: int = setting(1, "ours, as the student's: ... to so many after it", low=0)
    labelled: float = setting(0.75, "ours: share of the clips whose labels are used", above=0)
    unlabelled: int = setting(
        50_000, f"{DV}: pictures without labels, at most; here frames of all clips", low=1, below=2**31
    )
    balance: float = setting(
        0.1, f"{DV}: share of a batch, for an AU with fewer positives so many negatives; 0.1 to 0.5", above=0, below=1
    )
    slope: float = setting(0.2, f"{DV}: of the graph network's leaky ReLU", low=0, below=1)
    multi_view: float = setting(400.0, f"{DV}: weight of the loss that makes the views differ", low=0)
    co_regularisation: float = setting(100.0, f"{DV}: weight of the loss that makes them agree", low=0)
    mean: tuple[float, ...] = setting((0.5355, 0.4249, 0.3801), f"{DV}: of red, green and blue")
    std: tuple[float, ...] = setting((0.2832, 0.2578, 0.2548), f"{DV}: of red, green and blue")
    optimizer: str = setting("adam", "MLCR paper", choices=("sgd", "adam"))
    lr: float = setting(1e-3, DV, above=0)
    batch_size: int = setting(10, f"{DV}: labelled pictures; as many unlabelled beside them", low=2)
    epochs: int = setting(30, DV, low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.depth not in network.DEPTHS:
            raise ValueError(f"{name}.depth={self.depth}: allowed are {', '.join(map(str, network.DEPTHS))}")
        if self.labelled > 1:
            raise ValueError(f"{name}.labelled={self.labelled}: at most 1, all clips")
        if self.crop > self.size:
            raise ValueError(f"{name}.crop={self.crop}: at most size={self.size}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"{name}: mean={self.mean} and std={self.std} are three numbers each, std above 0")


class Pictures(NamedTuple):
    """The frames that the teacher learns from, left where they are stored."""

    store: ClipStore
    near: Tensor  # n before+1+after: positions around each clip's apex
    rows: Tensor  # m: the clips of the unlabelled pictures
    positions: Tensor  # m: where in those clips they are


class Batch(NamedTuple):
    faces: Tensor  # b 3 h w, 0..1, the labelled ones first
    draws: Tensor  # 3 b n_aus, uniform in 0..1, to keep some negatives, for each classifier


def relations(targets: Tensor) -> Tensor:
    """Absolute correlations of the AUs' labels, 0/1 `[n, n_aus]` -> `[n_aus, n_aus]`; 0 with one that never varies."""
    x = F.normalize(targets - targets.mean(0), dim=0)  # n n_aus
    return (x.T @ x).abs().fill_diagonal_(1.0)


def kept(targets: Tensor, draws: Tensor, balance: float) -> Tensor:
    """The pairs of face and AU that count, 0/1 `[b, n_aus]`.

    All positives; and of an AU with fewer than ``balance`` b of them that many negatives, rounded up, those of the
    smallest draws; else all negatives.

    Args:
        targets: 0/1 `[b, n_aus]`.
        draws: uniform in 0..1, `[b, n_aus]`.
        balance: a share of the batch.
    """
    share = round(balance * len(targets), 6)
    rank = draws.masked_fill(targets > 0, 2.0).argsort(0).argsort(0)  # b n_aus, the negatives first
    return ((targets > 0) | (targets.sum(0) >= share) | (rank < math.ceil(share))).to(targets)


def selective_loss(logits: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """Binary cross-entropy of the pairs that are kept, summed over AUs, divided by all faces. All `[b, n_aus]`."""
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses * kept).sum() / len(targets)


def mean_abs_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute cosine of the vectors of two views' classifiers, `[..., d]` each: 0 where they are orthogonal."""
    return F.cosine_similarity(a, b, dim=-1).abs().mean()


def disagreement(a: Tensor, b: Tensor) -> Tensor:
    """Mean Jensen-Shannon divergence of two views' predictions, 0 to ln 2 nats. a, b: logits of the same shape."""

    def log_shares(x: Tensor) -> Tensor:
        return torch.stack([F.logsigmoid(x), F.logsigmoid(-x)])  # present, absent

    def entropy(logs: Tensor) -> Tensor:
        return -(logs.exp() * logs).sum(0)

    one, other = log_shares(a), log_shares(b)
    mixed = torch.logaddexp(one, other) - math.log(2)
    return (entropy(mixed) - (entropy(one) + entropy(other)) / 2).mean()


class Related(nn.Module):
    """Linear classifiers of two views, each vector mixed with those of related AUs by two graph convolutions.

    A plain one of both views, ``fused``, is beside them.

    Args:
        n_aus: number of AUs.
        d: width of a vector: a view's features' and 1 for the bias.
        slope: of the leaky ReLU between the convolutions.
    """

    relation: Tensor

    def __init__(self, *, n_aus: int, d: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.vectors = nn.Parameter(torch.empty(2, n_aus, d))
        self.first = nn.Parameter(torch.empty(d, d))
        self.second = nn.Parameter(torch.empty(d, d))
        for parameter in (self.first, self.second):
            nn.init.uniform_(parameter, -(d**-0.5), d**-0.5)
        nn.init.normal_(self.vectors[..., :-1], std=(2 / n_aus) ** 0.5)  # Kaiming, fan out
        nn.init.uniform_(self.vectors[..., -1], -((d - 1) ** -0.5), (d - 1) ** -0.5)
        self.fused = nn.Linear(2 * (d - 1), n_aus)
        self.register_buffer("relation", torch.eye(n_aus))  # n_aus n_aus, ``relations`` once there are labels

    def forward(self) -> Tensor:
        """The vectors that decide, `[2, n_aus, d]`, the bias last."""
        scale = self.relation.sum(1).rsqrt()  # n_aus
        adjacency = scale[:, None] * self.relation * scale  # n_aus n_aus, symmetric
        hidden = F.leaky_relu(adjacency @ self.vectors @ self.first, self.slope)  # 2 n_aus d
        return adjacency @ hidden @ self.second


class TwoView(Network):
    """A face near the apex -> two views' features, and a logit for each AU from each view and from both together."""

    def __init__(self, recipe: TeacherRecipe, n_aus: int) -> None:
        super().__init__(recipe)
        self.views = nn.ModuleList(network.resnet(depth=recipe.depth, width=recipe.width) for _ in range(2))
        self.classifiers = Related(n_aus=n_aus, d=8 * recipe.width + 1, slope=recipe.slope)
        self.n_aus = n_aus

    def features(self, x: Tensor, view: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`[b, 3, h, w]` in 0..1 -> one view's features `[b, 8 width]`, and its maps after the stem and each stage."""
        mean, std = (x.new_tensor(k)[:, None, None] for k in (self.recipe.mean, self.recipe.std))
        out = self.views[view]((x - mean) / std, output_hidden_states=True)
        return out.pooler_output.flatten(1), out.hidden_states

    def forward(self, x: Tensor) -> Tensor:
        """`[b, 3, h, w]` in 0..1 -> logits `[3, b, n_aus]` of each view's classifiers and of the third."""
        features = torch.stack([self.features(x, view)[0] for view in range(2)])  # 2 b d-1
        vectors = self.classifiers()  # 2 n_aus d
        logits = features @ vectors[..., :-1].mT + vectors[:, None, :, -1]  # 2 b n_aus
        return torch.cat([logits, self.classifiers.fused(torch.cat([*features], dim=1))[None]])

    def batch(self, inputs: Pictures, rows: Tensor, order: torch.Generator | None) -> Batch:
        r, near, b = self.recipe, inputs.near[rows], len(rows)  # b before+1+after
        side, draws = r.crop / r.size, torch.zeros(3, b, self.n_aus)
        if order is None:
            frames = inputs.store.take(rows, near[:, [r.before]])  # b 1 size size 3
        else:
            neighbour = torch.randint(near.shape[1], (b, 1), generator=order).to(rows.device)
            unlabelled = torch.randint(len(inputs.rows), (b,), generator=order).to(rows.device)
            positions = torch.cat([near.gather(1, neighbour), inputs.positions[unlabelled, None]])
            frames = inputs.store.take(torch.cat([rows, inputs.rows[unlabelled]]), positions)  # 2b 1 size size 3
            draws = torch.rand(draws.shape, generator=order)
        faces = views.crop(views.planar(frames[:, 0]), out=r.crop, scale=(side, side), flip=True, order=order)
        return Batch(faces, draws.to(rows.device))

    def loss(self, x: Batch, targets: Tensor) -> Tensor:
        r, b, logits = self.recipe, len(targets), self(x.faces)  # 3 2b n_aus
        first, second, fused = (
            selective_loss(one[:b], targets, kept(targets, draws, r.balance))
            for one, draws in zip(logits, x.draws, strict=True)
        )
        return (
            fused
            + (first + second) / 2
            + r.multi_view * mean_abs_cosine(*self.classifiers.vectors)
            + r.co_regularisation * disagreement(logits[0], logits[1])
        )

    def decide(self, x: Batch) -> Tensor:
        return torch.sigmoid(self(x.faces)[2])

    def begin(self, inputs: Pictures, rows: Tensor, targets: Tensor) -> None:
        self.classifiers.relation.copy_(relations(targets))


def prepare(recipe: TeacherRecipe, store: ClipStore, order: torch.Generator) -> Pictures:
    """Where the pictures are: around every apex, and anywhere in the clips. order: draws the latter if there are more
    than ``unlabelled``."""
    near = views.near_apex(store, before=recipe.before, after=recipe.after)
    total = int(store.lengths.sum())
    chosen = torch.randperm(total, generator=order)[: recipe.unlabelled].sort().values.to(store.device)
    ends = store.lengths.cumsum(0)
    rows = torch.searchsorted(ends, chosen, right=True)
    return Pictures(store, near, rows, chosen - (ends - store.lengths)[rows])

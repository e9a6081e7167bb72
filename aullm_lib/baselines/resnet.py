"""ResNet18 and ResNet34 on one RGB frame near the apex, and what every method on such a frame shares.

Source: the public script of DVASP (liyantett/DVSPAT, train_SS2.py and its data set), in whose comparison these rows
appear. As there, each epoch begins with a new optimiser, so that no momentum lasts longer; the linear heads begin at a
standard deviation of 1 (Kaiming, fan out: of two logits); each epoch has one side of the random square, 210 to 219
pixels of 224, which lies anywhere in the middle 220; and pixels stay in 0..1 without mean and deviation.

Where this departs, and why:
- The script starts from torchvision's ImageNet weights, a pickle, which is not read here: random, unless ``weights``
  names a checkpoint, such as "microsoft/resnet-18", or a view of a teacher. One frame of some dozens of clips teaches a
  random network next to nothing: give it one.
- The script trains for 101 epochs and evaluates after the 81st; here training ends there, for the last epoch is used.
- The script draws from a folder of pictures around the apex; here from the apex's neighbours in the clip. Beyond an end
  of the clip, that end is repeated. A clip without an annotated apex gives its middle.
- The script draws the squares' sides by the epoch's number, the same in every run; here they are part of the seed.
- The script's test leaves place and mirroring of the square, of 215 pixels there, to chance; here it is the middle one.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aullm_lib.baselines import network, views
from aullm_lib.baselines.network import Network, NetworkRecipe, TwoWay
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import setting

RGB = True
DV = "public script (DVASP)"


@dataclass(frozen=True, kw_only=True)
class Recipe(NetworkRecipe):
    """The public script's settings. Raises ValueError for a depth other than 18 or 34, and a square too large."""

    size: int = setting(224, f"{DV}: pixels of a stored frame, and those that the network reads", low=16)
    depth: int = setting(18, "the row's name: 18 or 34")
    width: int = setting(64, "ResNet paper: channels of stem and first stage; they double with each further one", low=1)
    weights: str = setting("", "ours: hub name or folder to begin with (script's: ImageNet); '' = random")
    before: int = setting(2, f"{DV}: training frames reach from so many before the apex", low=0)
    after: int = setting(1, f"{DV}: ... to so many after it", low=0)
    crop: float = setting(210 / 224, f"{DV}: smallest side of the square, as a share of the frame's", above=0)
    optimizer: str = setting("sgd", DV, choices=("sgd", "adam"))
    lr: float = setting(0.01, DV, above=0)
    momentum: float = setting(0.9, DV, low=0, below=1)
    weight_decay: float = setting(0.0, DV, low=0)
    drop_every: int = setting(40, f"{DV}: epochs after which the rate falls to a tenth; 0 = never", low=0)
    batch_size: int = setting(56, DV, low=2)
    epochs: int = setting(81, f"{DV}: after so many it evaluates, of 101", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth not in network.DEPTHS:
            raise ValueError(f"Recipe.depth={self.depth}: allowed are {', '.join(map(str, network.DEPTHS))}")
        if self.crop > 1:
            raise ValueError(f"Recipe.crop={self.crop}: at most 1, the whole frame")


class Output(NamedTuple):
    """The output of one network for a batch."""

    logits: Tensor  # b n_aus 2
    maps: tuple[Tensor, ...]  # five: after the stem and after each stage, [b, c, h, w]


def prepare(recipe: Recipe, store: ClipStore) -> Tensor:
    """The apex of every clip and the frames around it `[n, before + 1 + after, size, size, 3]`, uint8."""
    positions = views.near_apex(store, before=recipe.before, after=recipe.after)
    return store.take(torch.arange(len(store), device=store.device), positions)


class Model(Network):
    """A frame near the apex -> two logits for each AU, by one network or by several whose logits are averaged.

    Args:
        views: number of networks that read the frame.
    """

    restarts = True

    def __init__(self, recipe: Any, n_aus: int, views: int = 1) -> None:
        super().__init__(recipe)
        shape = {"depth": recipe.depth, "width": recipe.width}
        self.backbones = nn.ModuleList(network.resnet(**shape) for _ in range(views))
        heads = [TwoWay(d=8 * recipe.width, n_aus=n_aus) for _ in range(views)]
        for head in heads:
            nn.init.normal_(head.linear.weight)
        self.heads = nn.ModuleList(heads)
        self.more = 0  # pixels of 224 by which this epoch's square is wider than ``crop``

    def begin_epoch(self, order: torch.Generator) -> None:
        self.more = int(torch.randint(10, (), generator=order))

    def outputs(self, x: Tensor) -> list[Output]:
        """`[b, 3, size, size]` in 0..1 -> each network's output; its maps begin with `[b, width, size/4, size/4]`."""
        outputs = []
        for backbone, head in zip(self.backbones, self.heads, strict=True):
            out = backbone(x, output_hidden_states=True)
            outputs.append(Output(head(out.pooler_output.flatten(1)), out.hidden_states))
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """`[b, 3, size, size]` in 0..1 -> `[b, n_aus, 2]`."""
        return mean_logits(self.outputs(x))

    def batch(self, inputs: Tensor, rows: Tensor, order: torch.Generator | None) -> Tensor:
        r, position = self.recipe, torch.full_like(rows, self.recipe.before)
        if order is not None:
            position = torch.randint(inputs.shape[1], rows.shape, generator=order).to(rows.device)
        frames = views.planar(inputs[rows, position])  # b 3 size size
        side, within = (min(1.0, r.crop + more / 224) for more in (5 if order is None else self.more, 10))
        return views.crop(frames, out=r.size, scale=(side, side), within=within, flip=True, order=order)

    def initial(self) -> list[tuple[str, nn.Module]]:
        return [("weights", backbone) for backbone in self.backbones]


def mean_logits(outputs: list[Output]) -> Tensor:
    """The mean of the networks' logits `[b, n_aus, 2]`."""
    return torch.stack([output.logits for output in outputs]).mean(0)

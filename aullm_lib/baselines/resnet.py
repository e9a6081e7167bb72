"""ResNet18 and ResNet34 on one RGB frame near the apex, and what every method on such a frame shares.

Source: the public script of DVASP, in whose comparison these rows appear. Where this departs, and why:
- The script starts from torchvision's ImageNet weights, a pickle, which is not read here: random, unless ``weights``
  names a checkpoint, such as "microsoft/resnet-18", or a view of a teacher. One frame of some dozens of clips teaches a
  random network next to nothing: give it one. Pixels stay in 0..1 without mean and deviation, as in the script.
- The script trains for 101 epochs and evaluates after 80; here training ends there, for the last epoch is used.
- The script draws from a folder of pictures around the apex; here from the apex's neighbours in the clip. Beyond an end
  of the clip, that end is repeated. A clip without an annotated apex gives its middle.
- The random square is cut anywhere in the frame, where the script first cuts 210 to 220 of 224 pixels from its middle.
- The script's test leaves the random square on; here it is the middle one.
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
    crop: float = setting(210 / 224, f"{DV}: side of the square, as a share of the frame's", above=0)
    optimizer: str = setting("sgd", DV, choices=("sgd", "adam"))
    lr: float = setting(0.01, DV, above=0)
    momentum: float = setting(0.9, DV, low=0, below=1)
    weight_decay: float = setting(0.0, "ours: the script's is not in our notes", low=0)
    drop_every: int = setting(40, f"{DV}: epochs after which the rate falls to a tenth; 0 = never", low=0)
    batch_size: int = setting(56, DV, low=2)
    epochs: int = setting(80, f"{DV}: the epoch after which it evaluates, of 101", low=1)

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

    def __init__(self, recipe: Any, n_aus: int, views: int = 1) -> None:
        super().__init__(recipe)
        shape = {"depth": recipe.depth, "width": recipe.width}
        self.backbones = nn.ModuleList(network.resnet(**shape) for _ in range(views))
        self.heads = nn.ModuleList(TwoWay(d=8 * recipe.width, n_aus=n_aus) for _ in range(views))

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
        return views.crop(frames, out=r.size, scale=(r.crop, r.crop), flip=True, order=order)

    def initial(self) -> list[tuple[str, nn.Module]]:
        return [("weights", backbone) for backbone in self.backbones]


def mean_logits(outputs: list[Output]) -> Tensor:
    """The mean of the networks' logits `[b, n_aus, 2]`."""
    return torch.stack([output.logits for output in outputs]).mean(0)

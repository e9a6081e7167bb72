"""SSSNet-LED: the learnable temporal filter before a small 3D-CNN, with the LED paper's own recipe.

Source: Varanka, Peng and Zhao, Learnable Eulerian Dynamics (2024), and its code in meb. Six grey frames pass LED, the
first is dropped, and SSSNet in three dimensions reads the other five; both of its blocks are convolution, ReLU,
pooling, batch norm, dropout of whole channels; the dropout before the heads is of single values. Each AU has a 2-way
softmax. LED's three parameters learn at a rate of their own, 0.1, which drops to 0.01 at epoch 50; the rest at 1e-4.

Where this departs, and why:
- The batch size of the LED paper is not known to us: meb's. meb's later port has one sigmoid per AU; this is the
  paper's head.
- LED's rates are stored as logits here (``led.py``) and as logarithms there: a step of 0.1 in a logit moves r by
  0.1 r (1 - r), in a logarithm by 0.1 r.
- Frames are sampled as for AU-LLM (``clips.ClipStore.sample``): a training clip always loses a random part of its end.
  meb's port takes its start instead in a quarter of the draws, rounds positions down, and lengthens clips of fewer than
  8 frames to 8; here a clip that is too short repeats frames.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aullm_lib.baselines.network import Network, NetworkRecipe, TwoWay
from aullm_lib.clips import ClipStore
from aullm_lib.led import LED
from aullm_lib.recipe import setting
from aullm_lib.support.frame_conv import FrameConv, FrameNorm, FramePool

RGB = False
PAPER, MEB = "LED paper", "meb's LED notebook"


@dataclass(frozen=True, kw_only=True)
class Recipe(NetworkRecipe):
    """The LED paper's settings. Raises TypeError or ValueError naming a field that is wrong."""

    frames: int = setting(6, f"{PAPER}: five filtered frames and the one before them", low=4)
    size: int = setting(64, f"{PAPER}: pixels of a frame", low=16)
    jitter: bool = setting(True, f"{PAPER}: random end of the clip in training, the only augmentation that helped")
    led_alpha: float = setting(10.0, f"{MEB}, initial", above=0)
    led_r1: float = setting(0.4, f"{MEB}, initial", above=0, below=1)
    led_r2: float = setting(0.05, f"{MEB}, initial", above=0, below=1)
    led_eps: float = setting(1.0, f"{MEB}: added to the normaliser, grey levels 0..255", above=0)
    led_lr: float = setting(0.1, f"{PAPER}: of the filter's three parameters", above=0)
    led_drop_at: int = setting(50, f"{PAPER}: epoch from which that rate is a tenth; 0 = never", low=0)
    dropout: float = setting(0.5, MEB, low=0, below=1)
    optimizer: str = setting("adam", PAPER, choices=("sgd", "adam"))
    lr: float = setting(1e-4, PAPER, above=0)
    momentum: float = setting(0.0, "of sgd, which is not the paper's", low=0, below=1)
    weight_decay: float = setting(1e-3, PAPER, low=0)
    drop_every: int = setting(0, f"{PAPER}: only the filter's rate drops", low=0)
    batch_size: int = setting(64, f"{MEB}; the paper's is not known to us", low=2)
    epochs: int = setting(400, PAPER, low=1)


def prepare(recipe: Recipe, store: ClipStore) -> ClipStore:
    """The store itself: its frames are sampled anew for every batch."""
    return store


class LEDNetwork(Network):
    """LED over time, then ``encode`` of a subclass; a 2-way softmax per AU on its ``d`` features."""

    needs_motion = True

    def __init__(self, recipe: Recipe, n_aus: int, d: int) -> None:
        super().__init__(recipe)
        self.led = LED(
            frames=recipe.frames, alpha=recipe.led_alpha, r1=recipe.led_r1, r2=recipe.led_r2, eps=recipe.led_eps
        )
        self.head = TwoWay(d=d, n_aus=n_aus)

    def encode(self, x: Tensor) -> Tensor:
        """Filtered frames `[b, t-1, h, w]` in -1..1 -> features `[b, d]`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """`[b, t, h, w]` grey levels 0..255 -> `[b, n_aus, 2]`."""
        return self.head(self.encode(self.led(x.float())[:, 1:]))

    def batch(self, inputs: ClipStore, rows: Tensor, order: torch.Generator | None) -> Tensor:
        return inputs.sample(rows, self.recipe.frames, jitter=order if self.recipe.jitter else None)

    def groups(self) -> list[list[nn.Parameter]]:
        """The filter's parameters, then all others."""
        led = list(self.led.parameters())
        return [led, [p for p in self.parameters() if p not in set(led)]]

    def rates(self, epoch: int) -> list[float]:
        r = self.recipe
        dropped = r.led_drop_at and epoch >= r.led_drop_at
        return [r.led_lr * (0.1 if dropped else 1), super().rates(epoch)[1]]


class Model(LEDNetwork):
    """SSSNet in three dimensions. At 6 frames of 64 pixels: `[b, 32, 5, 20, 20]`, `[b, 64, 2, 9, 9]`, `[b, 256]`."""

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        super().__init__(recipe, n_aus, d=256)
        t, side = (recipe.frames - 2) // 2, ((recipe.size - 4) // 3 - 2) // 2
        # ReLU and maximum commute, so pooling first gives the same numbers from a ninth of the ReLUs.
        self.block1 = nn.Sequential(
            FrameConv(32, 5), FramePool(3), nn.ReLU(), FrameNorm(32), nn.Dropout3d(recipe.dropout)
        )
        self.block2 = nn.Sequential(
            nn.Conv3d(32, 64, (2, 3, 3)), nn.MaxPool3d(2), nn.ReLU(), FrameNorm(64), nn.Dropout3d(recipe.dropout)
        )
        self.fc = nn.Sequential(nn.Linear(64 * t * side * side, 256), nn.ReLU(), nn.Dropout(recipe.dropout))

    def encode(self, x: Tensor) -> Tensor:
        return self.fc(self.block2(self.block1(x[:, None])).flatten(1))

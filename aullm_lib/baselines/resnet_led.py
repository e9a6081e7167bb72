"""ResNet18-LED: the learnable temporal filter before a ResNet18, with SSSNet-LED's recipe.

Source: Varanka, Peng and Zhao, Learnable Eulerian Dynamics (2024), which prefers 18 layers to 34.

Where this departs, and why: how that ResNet reads time is not known to us. Here the filtered frames are the channels of
one picture, so that the first convolution reads all of them and everything after it is the usual network, random at
first (five channels fit no public weights). Filter, heads and training are SSSNet-LED's (``sssnet_led.py``).
"""

from dataclasses import dataclass

from torch import Tensor

from aullm_lib.baselines import sssnet_led
from aullm_lib.baselines.network import resnet
from aullm_lib.baselines.sssnet_led import LEDNetwork, prepare
from aullm_lib.recipe import setting

RGB = False
__all__ = ["RGB", "Model", "Recipe", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Recipe(sssnet_led.Recipe):
    """SSSNet-LED's settings, and the network's. Raises TypeError or ValueError naming a field that is wrong."""

    width: int = setting(64, "ResNet paper: channels of stem and first stage; they double with each further one", low=1)


class Model(LEDNetwork):
    """A ResNet18 whose input channels are the filtered frames."""

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        super().__init__(recipe, n_aus, d=8 * recipe.width)
        self.backbone = resnet(depth=18, width=recipe.width, channels=recipe.frames - 1)

    def encode(self, x: Tensor) -> Tensor:
        return self.backbone(x).pooler_output.flatten(1)

"""ResNet weights to begin with: a hub name or a checkpoint folder, of which only safetensors are read.

What fits is a ResNet of ``transformers``, alone or below a classifier, with the recipe's depth and width.
"""

from functools import lru_cache
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, ResNetConfig, ResNetModel

from aullm_lib.baselines import known
from aullm_lib.clips import ClipStore
from aullm_lib.support import hub

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""ResNet's name -> how many basic blocks each stage has."""
SHAPE = (
    "layer_type", "depths", "embedding_size", "hidden_sizes", "num_channels", "hidden_act", "downsample_in_first_stage",
)  # fmt: skip


def network(*, depth: int, width: int) -> ResNetModel:
    """A ResNet of basic blocks with random weights: RGB `[b, 3, h, w]` -> features `[b, 8 width, 1, 1]`, and five maps.

    depth: one of ``DEPTHS``. width: channels of the stem and the first stage; they double with each further one.
    """
    return ResNetModel(config(depth, width))


def config(depth: int, width: int, channels: int = 3) -> ResNetConfig:
    """Of a ``network``. channels: of its input."""
    sizes = [width, 2 * width, 4 * width, 8 * width]
    return ResNetConfig(
        layer_type="basic", embedding_size=width, hidden_sizes=sizes, depths=list(DEPTHS[depth]), num_channels=channels
    )


def identity(weights: str) -> str:
    """What the weights are: a hub name's commit, or a hash of a folder's files; and what ``known`` says of them.

    Raises FileNotFoundError for weights that cannot be had.
    """
    return hub.identity(weights, "weights") + known.label(known.note(weights))


def read(weights: str, *, depth: int, width: int) -> ResNetModel:
    """The checkpoint's ResNet, frozen, in eval mode, on the CPU.

    Raises FileNotFoundError for one that cannot be had, ValueError for a damaged one or another architecture.
    """
    source, options = hub.locate(weights, "weights")
    wanted = config(depth, width)
    try:
        with hub.quiet(), torch.random.fork_rng(devices=[]):
            found = AutoConfig.from_pretrained(source, **options)
            for name in SHAPE:
                has, needs = getattr(found, name, None), getattr(wanted, name)
                if has != needs:
                    raise ValueError(
                        f"another architecture ({found.model_type}), its {name} is {has}; depth={depth} and "
                        f"width={width} of the recipe need {needs}"
                    )
            loaded: Any = ResNetModel.from_pretrained(source, use_safetensors=True, output_loading_info=True, **options)
    except OSError as error:
        raise FileNotFoundError(hub.not_had(weights, error, "weights")) from error
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ValueError(f"weights={weights!r}: unusable checkpoint: {error}") from error
    model, info = loaded
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ValueError(f"weights={weights!r}: {len(info['missing_keys'])} weights are missing ({missing}, ...)")
    return model.eval().requires_grad_(False)


def check(weights: str, store: ClipStore, *, depth: int, width: int) -> None:
    """Raises as ``read``, and ValueError for weights that were trained on people of the store."""
    known.refuse(weights, store)
    _read(weights, identity(weights), depth, width)


def load(weights: str, part: nn.Module, *, depth: int, width: int) -> None:
    """Puts the weights into a ``network`` of this depth and width, where it lies. Raises as ``read``."""
    part.load_state_dict(_read(weights, identity(weights), depth, width).state_dict())


@lru_cache(maxsize=1)  # every fold begins with the same
def _read(weights: str, identity: str, depth: int, width: int) -> ResNetModel:
    return read(weights, depth=depth, width=width)

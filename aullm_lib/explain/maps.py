"""Attribution maps of held-out clips (paper 4.6, Fig. 3): which pixels an AU's logit comes from.

Grad-CAM over the last convolution, integrated gradients over the pixels, and occlusion of patches. Each goes through
the whole model, LLM included, in eval mode, and has a value for every pixel of the frames 1..t-1. Frame 0 has no map:
the CNN never sees it, and the still clip keeps it.

The baseline of integrated gradients and occlusion is a still clip, the first frame repeated. In it nothing moves: the
columns 1..t-1 of LED's matrix sum to 0, so that the CNN, which reads the frames 1..t-1, reads zeros, while a black clip
would make a face appear. For the plain 3D-CNN, which reads raw frames, it is the same face at rest.

Where this departs, and why: the paper does not say which layer, nor how its heat maps were drawn. Grad-CAM maps are
usually stretched over the picture; the convolutions here have no padding, so that would shift them by up to 5 of 64
pixels. They are put where the receptive fields are: a cell at its centre, repeated beyond the outermost ones. The field
of a cell covers two frames; a frame gets the mean of the cells that cover it.
"""

import warnings
from collections.abc import Callable, Collection, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from aullm_lib import model as model_of
from aullm_lib import trained
from aullm_lib.experiment import Experiment, family
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM
from aullm_lib.runs import Run

INCOMPLETE = 0.1  # the share of a logit's difference that its integrated gradients may miss without a remark
AT_ONCE = 64  # clips in memory together, those that a method perturbs included


def still(clips: Tensor) -> Tensor:
    """`[b, t, h, w]` -> the first frame t times: a clip in which nothing moves."""
    return clips[:, :1].expand_as(clips)


def grad_cam(model: AULLM, clips: Tensor, au_index: int | Tensor, *, at_once: int = AT_ONCE) -> Tensor:
    """Grad-CAM over the 3D-CNN's last convolution: the sum over channels of activation times mean gradient, then ReLU.

    Args:
        model: in eval mode.
        clips: `[b, t, h, w]` grey levels, uint8 or float.
        au_index: position of the AU among the model's, one for all clips or `[b]`.
        at_once: clips in memory together.

    Returns:
        `[b, t-1, h, w]`, at least 0, for the frames 1..t-1.

    Raises:
        ValueError: a model in training mode, one that is not given the frames in their order, or an AU that it does
            not have.
    """
    from captum.attr import LayerAttribution, LayerGradCam  # captum takes a second to import

    first, pool, last = model.backbone.conv1, model.backbone.pool1.size, model.backbone.conv2
    edge = first.kernel_size[1] // 2 + pool * (last.kernel_size[1] // 2)  # pixels before those of the first cell

    def attribute(x: Tensor, aus: Tensor) -> Tensor:
        with torch.enable_grad():
            cells = LayerGradCam(model, last).attribute(x.requires_grad_(), target=aus, relu_attributions=True)
        t, h, w = cells.shape[2:]  # b 1 t-2 h' w'
        fine = LayerAttribution.interpolate(cells.detach(), (t, pool * h, pool * w), "trilinear")
        rest = [size - edge - pool * n for size, n in zip(x.shape[2:], (h, w), strict=True)]
        placed = F.pad(fine, (edge, rest[1], edge, rest[0], 1, 1), mode="replicate")[:, 0]  # b t h w
        return (placed[:, 1:] + placed[:, :-1]) / 2  # b t-1 h w

    return _in_parts(model, clips, au_index, at_once, attribute)


def integrated_gradients(
    model: AULLM, clips: Tensor, au_index: int | Tensor, *, steps: int = 16, at_once: int = AT_ONCE
) -> Tensor:
    """Integrated gradients from the still clip: `[b, t-1, h, w]`, signed; they sum up to the difference of the logits.

    Up to the quadrature, and but for pixels that are 0 in the first frame: LED divides by grey levels, so that it jumps
    there with the first movement, which no gradient along the way reflects. Where that takes more than ``INCOMPLETE``
    of the difference, a warning says so. Other arguments are those of ``grad_cam``.

    Args:
        steps: Of the Gauss-Legendre quadrature.
    """
    from captum.attr import IntegratedGradients

    method, incomplete = IntegratedGradients(model), list[bool]()

    def attribute(x: Tensor, aus: Tensor) -> Tensor:
        with torch.enable_grad():
            gradients, rest = method.attribute(
                x, baselines=still(x), target=aus, n_steps=steps, internal_batch_size=max(at_once, len(x)),
                return_convergence_delta=True,
            )  # fmt: skip
        jumps = ((x[:, :1] == 0) & (x[:, 1:] != 0)).flatten(1).any(1)  # b
        difference = gradients.flatten(1).sum(1) - rest  # b
        incomplete.append(bool((jumps & (rest.abs() > INCOMPLETE * difference.abs())).any()))
        return gradients[:, 1:].detach()  # frame 0 is its own baseline: 0

    maps = _in_parts(model, clips, au_index, at_once, attribute)
    if any(incomplete):
        warnings.warn(
            "integrated gradients are incomplete where pixels that are 0 in the first frame move later: LED jumps "
            "there, and the maps of some clips do not sum up to the difference of their logits",
            stacklevel=2,
        )
    return maps


def occlusion(
    model: AULLM,
    clips: Tensor,
    au_index: int | Tensor,
    *,
    window: int = 16,
    stride: int = 8,
    frames: int = 0,
    at_once: int = AT_ONCE,
) -> Tensor:
    """The fall of the logit when a patch stands still: `[b, t-1, h, w]`, signed, averaged where patches overlap.

    Other arguments are those of ``grad_cam``.

    Args:
        window, stride: Of the patches in pixels.
        frames: How many of 1..t-1 stand still together; 0 is all of them, and the map then the same in every frame.
    """
    from captum.attr import Occlusion

    def attribute(x: Tensor, aus: Tensor) -> Tensor:
        moving = x[:, 1:]  # b t-1 h w
        span = frames or moving.shape[1]

        def logits(moved: Tensor) -> Tensor:
            return model(torch.cat([x[:, :1].repeat(len(moved) // len(x), 1, 1, 1), moved], 1))

        return Occlusion(logits).attribute(
            moving, (span, window, window), (1, stride, stride), still(x)[:, 1:].contiguous(), aus,
            perturbations_per_eval=max(1, at_once // len(x)),
        )  # fmt: skip

    with torch.no_grad():
        return _in_parts(model, clips, au_index, at_once, attribute)


Method = Callable[[AULLM, Tensor, Tensor], Tensor]
METHODS: dict[str, Method] = {
    "Grad-CAM": grad_cam,
    "integrated gradients": integrated_gradients,
    "occlusion": occlusion,
}


def _in_parts(
    model: AULLM, clips: Tensor, au_index: int | Tensor, at_once: int, attribute: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Attributes ``at_once`` clips at a time, on the model's device and in the type of its CNN."""
    if model.training:
        raise ValueError("the model is in training mode, where dropout is random: call model.eval() first")
    if model.frame_order != "forward" or model.blind is not None:
        raise ValueError("the model is not given the frames of the clip in their order: a map of them says nothing")
    weight, count = model.head.weight, model.head.out_features
    aus = torch.as_tensor(au_index, device=weight.device).expand(len(clips))
    if len(aus) and not 0 <= int(aus.min()) <= int(aus.max()) < count:
        raise ValueError(f"au_index={au_index}: the model has the AUs 0..{count - 1}")
    x = clips.to(weight)
    return torch.cat([attribute(*part) for part in zip(x.split(at_once), aus.split(at_once), strict=True)])


def require_weights(run: Run) -> None:
    """Raises ValueError for a run of another method than AU-LLM, FileNotFoundError where a fold has no weights."""
    if family(run.experiment.method) is not model_of:
        raise ValueError(f"{run.path}: made by {run.experiment.method!r}; explained are AU-LLM and its variants")
    if folds := trained.without_weights(run):
        raise FileNotFoundError(
            f"{run.path}: {len(folds)} of {len(run.folds)} folds ({folds[0]} first) have no trained weights, and a "
            "clip is explained only with weights that were not trained on it. Train with keep_weights=True (notebook "
            "02); a finished fold is never trained again, so rename or delete this folder first, or train into another "
            "one (train_again of notebook 06)"
        )


def default_device() -> str:
    """The first CUDA device if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def models(
    run: Run,
    llm: Loaded | None = None,
    *,
    device: str | torch.device | None = None,
    folds: Collection[str] | None = None,
) -> Iterator[tuple[str, AULLM]]:
    """Each fold (those named, or all) with its own model, in eval mode, one at a time.

    Args:
        llm: The run's LLM, loaded, so that all folds share it.
        device: ``default_device`` if None.

    Raises:
        ValueError, FileNotFoundError: As ``require_weights``.
    """
    require_weights(run)
    for fold in run.folds:
        if folds is None or fold in folds:
            yield fold, trained.load(run, fold, llm).to(device or default_device())


def held_out(
    run: Run, clip_id: str, llm: Loaded | None = None, *, device: str | torch.device | None = None
) -> tuple[str, AULLM]:
    """The fold that was not trained on a clip, and its model, as ``models``. Raises KeyError for a clip of no fold."""
    predictions = run.predictions()
    folds = predictions.loc[predictions["clip_id"] == clip_id, "fold"]
    if folds.empty:
        raise KeyError(f"{run.path}: no fold was tested on {clip_id!r}")
    return next(models(run, llm, device=device, folds=[folds.iloc[0]]))


def randomised(experiment: Experiment, llm: Loaded | None = None, *, seed: int = 0) -> AULLM:
    """The experiment's model with randomised weights, in eval mode: all that trains is random, the LLM stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_of.build(experiment, llm).eval()

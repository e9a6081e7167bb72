"""What a trained model looked at (paper 4.6, Fig. 3): maps of where an AU's logit comes from, for clips held out.

Three maps answer "where does the logit of this AU come from": Grad-CAM over the last convolution, integrated gradients
over the pixels, occlusion of patches. Each goes through the whole model, LLM included, in eval mode, and has a value
for every pixel of the frames 1..t-1. Frame 0 has no map: the CNN never sees it, and the still clip keeps it.

Integrated gradients and occlusion compare with a still clip, the first frame repeated. It is the model's own "nothing
happens": the columns 1..t-1 of LED's matrix sum to 0, so that the CNN, which gets the frames 1..t-1, is given zeros,
while a black clip would make a face appear. For the plain 3D-CNN, which sees raw frames, it is the same face at rest.

Where this departs, and why: the paper does not say which layer, nor how its heat maps were drawn. Grad-CAM maps are
usually stretched over the picture; the convolutions here have no padding, so that would shift them by up to 5 of 64
pixels. They are put where the fields of view are: a cell at its centre, repeated beyond the outermost ones. A cell sees
two frames; a frame gets the mean of the cells that see it.
"""

from collections.abc import Callable, Collection, Iterator

import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion
from torch import Tensor

from aullm_lib import weights
from aullm_lib.experiment import AU_LLM, Experiment
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM
from aullm_lib.runs import Run

AT_ONCE = 64  # clips in memory together, those that a method makes itself included


def still(clips: Tensor) -> Tensor:
    """`[b, t, h, w]` -> the first frame t times: a clip in which nothing moves."""
    return clips[:, :1].expand_as(clips)


def grad_cam(model: AULLM, clips: Tensor, unit: int | Tensor, *, at_once: int = AT_ONCE) -> Tensor:
    """Grad-CAM over the 3D-CNN's last convolution: `[b, t-1, h, w]`, at least 0, for the frames 1..t-1.

    clips: `[b, t, h, w]` grey levels, uint8 or float. unit: position of the AU among the model's, one for all clips or
    `[b]`. A cell is the sum over channels of activation times mean gradient, ReLU after it.
    Raises ValueError for a model in training mode or a unit that it does not have.
    """
    first, pool, last = model.backbone.conv1, model.backbone.pool1.size, model.backbone.conv2
    edge = first.kernel_size[1] // 2 + pool * (last.kernel_size[1] // 2)  # pixels before those of the first cell

    def one(x: Tensor, units: Tensor) -> Tensor:
        with torch.enable_grad():
            cells = LayerGradCam(model, last).attribute(x.requires_grad_(), target=units, relu_attributions=True)
        t, h, w = cells.shape[2:]  # b 1 t-2 h' w'
        fine = LayerAttribution.interpolate(cells.detach(), (t, pool * h, pool * w), "trilinear")
        rest = [size - edge - pool * n for size, n in zip(x.shape[2:], (h, w), strict=True)]
        placed = F.pad(fine, (edge, rest[1], edge, rest[0], 1, 1), mode="replicate")[:, 0]  # b t h w
        return (placed[:, 1:] + placed[:, :-1]) / 2  # b t-1 h w

    return _in_parts(model, clips, unit, at_once, one)


def integrated_gradients(
    model: AULLM, clips: Tensor, unit: int | Tensor, *, steps: int = 16, at_once: int = AT_ONCE
) -> Tensor:
    """Integrated gradients from the still clip: `[b, t-1, h, w]`, signed; they sum up to the difference of the logits.

    Up to the quadrature, and but for pixels that are 0 in the first frame: LED divides by grey levels, so that it jumps
    there with the first movement, and no gradient along the way knows of it.
    steps: of the Gauss-Legendre quadrature. Otherwise as ``grad_cam``.
    """
    method = IntegratedGradients(model)

    def one(x: Tensor, units: Tensor) -> Tensor:
        with torch.enable_grad():
            found = method.attribute(
                x, baselines=still(x), target=units, n_steps=steps, internal_batch_size=max(at_once, len(x))
            )
        return found[:, 1:].detach()  # frame 0 is its own baseline: 0

    return _in_parts(model, clips, unit, at_once, one)


def occlusion(
    model: AULLM,
    clips: Tensor,
    unit: int | Tensor,
    *,
    window: int = 16,
    stride: int = 8,
    frames: int = 0,
    at_once: int = AT_ONCE,
) -> Tensor:
    """How far the logit falls when a patch stands still: `[b, t-1, h, w]`, signed, averaged where patches overlap.

    window, stride: of the patches in pixels. frames: how many of 1..t-1 stand still together; 0 is all of them, and the
    map then the same in every frame. Otherwise as ``grad_cam``.
    """

    def one(x: Tensor, units: Tensor) -> Tensor:
        moving = x[:, 1:]  # b t-1 h w
        span = frames or moving.shape[1]

        def logits(moved: Tensor) -> Tensor:
            return model(torch.cat([x[:, :1].repeat(len(moved) // len(x), 1, 1, 1), moved], 1))

        return Occlusion(logits).attribute(
            moving, (span, window, window), (1, stride, stride), still(x)[:, 1:].contiguous(), units,
            perturbations_per_eval=max(1, at_once // len(x)),
        )  # fmt: skip

    with torch.no_grad():
        return _in_parts(model, clips, unit, at_once, one)


Method = Callable[[AULLM, Tensor, Tensor], Tensor]
METHODS: dict[str, Method] = {
    "Grad-CAM": grad_cam,
    "integrated gradients": integrated_gradients,
    "occlusion": occlusion,
}


def _in_parts(
    model: AULLM, clips: Tensor, unit: int | Tensor, at_once: int, one: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Some clips after the other, on the model's device and in the type of its CNN."""
    if model.training:
        raise ValueError("the model is in training mode, where dropout would draw in the map: call model.eval() first")
    weight, count = model.head.weight, model.head.out_features
    units = torch.as_tensor(unit, device=weight.device).expand(len(clips))
    if len(units) and not 0 <= int(units.min()) <= int(units.max()) < count:
        raise ValueError(f"unit={unit}: the model has the AUs 0..{count - 1}")
    x = clips.to(weight)
    return torch.cat([one(*part) for part in zip(x.split(at_once), units.split(at_once), strict=True)])


def lacking(run: Run, *, refuse: bool = False) -> list[str]:
    """The folds of a run without trained weights.

    refuse: raise FileNotFoundError, with what to do, if there is one, and ValueError for a run of another method.
    """
    if refuse and run.experiment.method != AU_LLM:
        raise ValueError(f"{run.path}: made by {run.experiment.method!r}; explained are AU-LLM and its variants")
    folds = [name for name in run.folds if not (run.path / "folds" / name / weights.FILE).is_file()]
    if folds and refuse:
        raise FileNotFoundError(
            f"{run.path}: {len(folds)} of {len(run.folds)} folds ({folds[0]} first) have no trained weights, and a "
            "clip is explained only with the weights that never saw it. Train with keep_weights=True (a parameter of "
            "notebook 02); a finished fold is never trained again, so rename or delete this folder first, or train "
            "into another one (train_again of notebook 06)"
        )
    return folds


def default_device() -> str:
    """Where models are explained unless one says so: the first CUDA device if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def models(
    run: Run,
    llm: Loaded | None = None,
    *,
    device: str | torch.device | None = None,
    folds: Collection[str] | None = None,
) -> Iterator[tuple[str, AULLM]]:
    """Each fold (those named, or all) with its own model, in eval mode, one at a time.

    llm: the run's LLM, loaded, so that all folds share it. device: ``default_device`` if None. Raises as ``lacking``.
    """
    lacking(run, refuse=True)
    for fold in run.folds:
        if folds is None or fold in folds:
            yield fold, run.model(fold, llm).to(device or default_device())


def held_out(
    run: Run, clip_id: str, llm: Loaded | None = None, *, device: str | torch.device | None = None
) -> tuple[str, AULLM]:
    """The fold that was not trained on a clip, and its model, as ``models``. Raises KeyError for a clip of no fold."""
    said = run.predictions()
    folds = said.loc[said["clip_id"] == clip_id, "fold"]
    if folds.empty:
        raise KeyError(f"{run.path}: no fold was tested on {clip_id!r}")
    return next(models(run, llm, device=device, folds=[folds.iloc[0]]))


def randomised(experiment: Experiment, llm: Loaded | None = None, *, seed: int = 0) -> AULLM:
    """The experiment's model without any training, in eval mode: all that trains is drawn anew, the LLM stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = AULLM(experiment.recipe, len(experiment.aus), llm=llm or experiment.llm, variant=experiment.variant)
    return made.eval()

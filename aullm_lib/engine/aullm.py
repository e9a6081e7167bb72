"""AU-LLM's training: folds, clips, recipe -> probabilities (paper 3.4 and 4.2); no test fold has a part in it.

Adam at a constant rate, the last epoch is used.

Side by side: each fold has its own CNN, EFP, LoRA, head and optimiser, and all visual tokens go through the one frozen
LLM in one pass. The numbers are those of one fold after the other but for the order of summation inside the LLM.
"""

import contextlib
import time
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from aullm_lib import asl, trained
from aullm_lib.clips import ClipStore, labels
from aullm_lib.engine import probe
from aullm_lib.engine.fold import Progress, columns, finished
from aullm_lib.experiment import Experiment
from aullm_lib.llm import Loaded, load, reason, waits
from aullm_lib.model import AULLM, build, load_llm, needs_llm, parts_of, recipe_of
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Diverged, Result
from aullm_lib.support.memory import begin_peak, explained_memory, peak_mb
from aullm_lib.support.randomness import Stream, fold_seed


def side_by_side(experiment: Experiment) -> bool:
    """Whether folds may train together against one frozen LLM: DoRA's forward is peft's, for one fold at a time."""
    return experiment.recipe.adapter != "dora"


def shared(experiment: Experiment, data: dict, device: str) -> dict[str, Any]:
    """What all folds of a run share, as arguments of ``train_folds``: the frozen LLM.

    Args:
        experiment: What is trained.
        data: Of ``run.json``.
        device: Where the folds train.
    """
    if not needs_llm(experiment.variant):
        _loaded.cache_clear()  # nor is another run's LLM kept in memory
        return {}
    recipe, random = recipe_of(experiment.variant, experiment.recipe), parts_of(experiment.variant).random_llm
    options = (recipe.llm_dtype, torch.device(device).type, random, recipe.llm_layers)
    return {"llm": _loaded(experiment.llm, *options, data["llm"])}


@lru_cache(maxsize=1)  # one LLM per process: its frozen weights serve every fold and run
def _loaded(checkpoint: str, dtype: str, device: str, random: bool, layers: int, identity: str) -> Loaded:
    return load(checkpoint, dtype=dtype, device=device, random_weights=random, layers=layers)


def clips_at_once(experiment: Experiment) -> int:
    """How many clips of a batch go through the LLM together; 0 without an LLM, where nothing can be put in pieces."""
    recipe = experiment.recipe
    return (recipe.llm_batch or recipe.batch_size) if needs_llm(experiment.variant) else 0


def train_folds(
    experiment: Experiment,
    store: ClipStore,
    table: pd.DataFrame,
    folds: Sequence[Fold],
    *,
    llm: Loaded | None = None,
    device: str | torch.device = "cpu",
    llm_batch: int | None = None,
    keep_weights: bool = False,
    trace: bool = False,
    progress: Progress = lambda fold, epoch, loss: None,
) -> list[Result | Diverged]:
    """Trains each fold on its ``train`` clips and predicts its ``test`` clips, all folds side by side.

    Args:
        experiment: What is trained.
        store: The clips, on ``device`` already.
        table: Labels and subjects, by clip id.
        folds: On whom, and who is tested.
        llm: The LLM, loaded, so that many folds share its frozen weights; loaded here if None.
        device: Where the folds train.
        llm_batch: In place of the recipe's.
        keep_weights: Return what training changed.
        trace: Predict the test clips after every epoch as well, to show afterwards what choosing an epoch by them would
            have been worth; training does not see it.
        progress: Called for each fold at the end of an epoch.

    Returns:
        In the order of ``folds``, a Result, or the Diverged of a fold that stopped while the others went on.

    Raises:
        OutOfMemory: The folds do not fit.
    """
    started = time.perf_counter()
    begin_peak(device)
    recipe = recipe_of(experiment.variant, experiment.recipe)
    size = recipe.llm_batch if llm_batch is None else llm_batch
    llm = llm or load_llm(experiment.variant, recipe, experiment.llm, device)  # one for all folds
    if llm:
        llm[0].to(device)  # now, so that the first fold is made as the others
    with explained_memory(_advice(recipe, len(folds))):
        learners = [_Learner(experiment, recipe, store, table, fold, llm, torch.device(device)) for fold in folds]
        for learner in learners:
            learner.measure(0)
        outcomes: dict[str, Result | Diverged] = {}
        steps = _Steps(size, torch.device(device), llm)
        for epoch in range(1, recipe.epochs + 1):
            active = [learner for learner in learners if learner.fold.name not in outcomes]
            if not active:
                break
            for learner in active:
                learner.shuffle()
            for step in range(max(len(learner.batches) for learner in active)):
                steps([learner for learner in active if step < len(learner.batches)], step)
            sums = torch.stack([torch.stack((one.total, one.failed_at)) for one in active]).tolist()  # the one wait
            for learner, (total, failed_at) in zip(active, sums, strict=True):
                name = learner.fold.name
                if failed_at >= 0:
                    outcomes[name] = learner.diverged(epoch, int(failed_at))
                    learner.optimizer.zero_grad()
                    steps.forget()  # those of folds with this one
                    continue
                mean = total / len(learner.rows)
                learner.history.append({"epoch": epoch, "loss": mean})
                if probe.due(epoch, recipe.epochs):
                    learner.measure(epoch)
                if trace:
                    learner.trace(epoch)
                progress(name, epoch, mean)
        for learner in learners:
            if learner.fold.name not in outcomes:
                outcomes[learner.fold.name] = learner.result(
                    (time.perf_counter() - started) / len(folds), len(folds), keep_weights
                )
    return [outcomes[fold.name] for fold in folds]


class _Learner:
    """One fold in training: its model, optimiser, order of clips and random streams."""

    def __init__(
        self,
        experiment: Experiment,
        recipe: Recipe,
        store: ClipStore,
        table: pd.DataFrame,
        fold: Fold,
        llm: Loaded | None,
        device: torch.device,
    ):
        self.experiment, self.recipe, self.store, self.table, self.fold = experiment, recipe, store, table, fold
        self.device, self.seed = device, fold_seed(experiment.seed, fold.name)
        self.stream = Stream(self.seed, device)
        with self.stream:
            model = build(experiment, llm)
        self.model = model.to(device).train()
        self.criterion = asl.build(
            recipe.loss, gamma_pos=recipe.gamma_pos, gamma_neg=recipe.gamma_neg, clip=recipe.clip, reduction="none"
        )
        self.dtype = str(self.model.llm.llm.dtype).removeprefix("torch.") if self.model.llm else None
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        first = ("backbone.led.", "backbone.conv1.weight", "llm.")
        self.watched = [p for n, p in self.model.named_parameters() if p.requires_grad and n.startswith(first)]
        self.optimizer = torch.optim.Adam(
            self.parameters,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            fused=True,
            capturable=device.type == "cuda",
        )
        self.optimizer._warned_capturable_if_run_uncaptured = True  # the first step is none
        self.order = torch.Generator().manual_seed(self.seed)  # on the CPU: the same batches on every device
        self.rows = store.positions(fold.train)
        self.targets = labels(table, fold.train, experiment.aus).to(device)
        self.history: list[dict] = []
        self.traced: list[pd.DataFrame] = []
        self.probed: list[dict] = []
        self.total, self.number = torch.zeros((), device=device), torch.zeros((), device=device)  # loss; of the step
        self.failed_at = torch.full_like(self.total, -1)  # the step of this epoch whose loss or gradient was not finite
        self.held: dict[int, tuple[Tensor, Tensor]] = {}  # number of clips -> where a batch of so many lies
        statistics = [b for b in self.model.backbone.buffers() if b.is_floating_point()]  # of the batch norms
        self.statistics = [(b, b.clone()) for b in statistics]

    def shuffle(self) -> None:
        """A new epoch: its batches, as positions in ``rows``."""
        order = torch.randperm(len(self.rows), generator=self.order)
        self.batches = order.to(self.device).split(self.recipe.batch_size)
        self.total.zero_()

    def draw(self, step: int) -> None:
        """Samples a batch, to the place in memory where the last one of that size was."""
        batch = self.batches[step]
        jitter = self.order if self.recipe.jitter else None
        new = self.store.sample(self.rows[batch], self.recipe.frames, jitter=jitter), self.targets[batch]
        self.batch = self.held.setdefault(len(batch), new)
        for place, values in zip(self.batch, new, strict=True):
            place.copy_(values)
        self.number.fill_(step)

    def look(self) -> tuple[Tensor, Tensor]:
        """The visual tokens [b, d] and targets [b, N_AU] of the batch."""
        clips, targets = self.batch
        for now, before in self.statistics:  # as they were before this step, for a fold that fails in it
            before.copy_(torch.where(self.failed_at >= 0, before, now))
        with self.stream:
            return self.model.token(clips), targets

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The summed loss [] of some clips of a batch, from the hidden states, or the visual tokens without an LLM."""
        losses = self.criterion(self.model.head(hidden), targets.nan_to_num())  # b n_aus
        return losses.where(targets.isfinite(), 0).sum()  # of the AUs that are known

    def share(self, batch: int) -> float:
        """What the recipe's reduction divides the summed loss of a batch by."""
        return asl.divisor(self.recipe.reduction, batch, len(self.experiment.aus))

    def update(self, loss: Tensor) -> None:
        """One step of Adam, unless this or an earlier loss or gradient of the epoch was not finite.

        The gradients are those of the summed loss: divided earlier, they would vanish in an LLM in half precision.

        The device is not waited for. All gradients of the CNN pass through that of its first convolution, so that one,
        LED's and those inside the LLM are looked at.
        """
        gradients = [p.grad for p in self.watched if p.grad is not None]
        whole = loss.isfinite() & get_total_norm(gradients, torch.inf).isfinite()
        self.failed_at.copy_(torch.where((self.failed_at < 0) & ~whole, self.number, self.failed_at))
        self.optimizer.found_inf = (self.failed_at >= 0).float()  # type: ignore[attr-defined]  # the fused step skips then
        self.optimizer.grad_scale = torch.full_like(self.total, self.share(len(self.batch[0])))  # type: ignore[attr-defined]
        self.optimizer.step()
        self.total += loss / asl.divisor(self.recipe.reduction, 1, len(self.experiment.aus))

    def generators(self) -> list[torch.Generator]:
        """The streams on a GPU that a step draws from."""
        adapter = self.model.llm.adapter if self.model.llm else None
        own = [adapter.dropout.generator(self.total.device)] if adapter else []
        return [*own, self.stream.generator] if self.stream.generator else own

    def measure(self, epoch: int) -> None:
        """Keeps what reaches the head as it is now, for some of the training clips: the same ones each time."""
        clips = self.store.sample(probe.some(self.rows), self.recipe.frames)
        self.probed.append({"epoch": epoch} | probe.measure(self.model, clips))

    def trace(self, epoch: int) -> None:
        """Keeps the probabilities of the test clips as they are now."""
        predictions = columns(self._predict(), self.fold.test, self.experiment.aus)
        self.traced.append(pd.DataFrame({"epoch": epoch} | predictions))

    def _predict(self) -> Tensor:
        return predict(self.model, self.store, self.fold.test, self.recipe.frames, self.recipe.batch_size)

    def diverged(self, epoch: int, step: int) -> Diverged:
        clips = [self.fold.train[i] for i in self.batches[step].tolist()]
        state = trained.state(self.model)
        names = {b.data_ptr(): name for name, b in self.model.named_buffers()}
        state |= {names[now.data_ptr()]: before.cpu() for now, before in self.statistics}
        where = {"fold": self.fold.name, "epoch": epoch, "step": step + 1, "clips": clips}
        return Diverged(
            f"fold {self.fold.name}, epoch {epoch}, step {step + 1}: the loss or its gradient is not finite; "
            f"lower Recipe.lr (now {self.recipe.lr:g}) or use another Recipe.llm_dtype (now {self.dtype}). "
            f"Its {len(clips)} clips: {', '.join(clips[:3])}{', ...' if len(clips) > 3 else ''}",
            where,
            state,
        )

    def result(self, seconds: float, together: int, keep_weights: bool) -> Result | Diverged:
        fold, probabilities = self.fold, self._predict()
        if not probabilities.isfinite().all():
            return Diverged(
                f"fold {fold.name}: the probabilities of its test clips are not finite; lower Recipe.lr (now "
                f"{self.recipe.lr:g}), or use another Recipe.llm_dtype (now {self.dtype})",
                {"fold": fold.name, "epoch": self.recipe.epochs, "step": 0, "clips": list(fold.test)},
                trained.state(self.model),
            )
        info = {
            "seed": self.seed,
            "trained_parameters": sum(p.numel() for p in self.parameters),
            "total_parameters": self.model.total_parameters(),
            "seconds": round(seconds, 3),
            "peak_memory_mb": peak_mb(self.device),
            "side_by_side": together,
            "device": str(self.device),
        } | ({"llm_dtype": self.dtype} if self.dtype else {})
        kept = trained.state(self.model) if keep_weights else None
        return finished(
            self.experiment, self.table, fold, probabilities, self.history, info, kept, self.traced, self.probed
        )


class _Steps:
    """The steps of folds side by side.

    A step launches thousands of small kernels, which takes longer than they do. On a GPU, a step of the same folds and
    numbers of clips as one before is therefore launched whole, as a CUDA graph of all that it does on the device.

    Args:
        llm_batch: How many clips go through the LLM at a time, 0 for all.
        device: Where the folds train.
        llm: What the folds share; one that waits for the GPU within a step has no graph (``llm.waits``).
    """

    def __init__(self, llm_batch: int, device: torch.device, llm: Loaded | None) -> None:
        self.llm_batch, self.device = llm_batch, device
        self.in_graphs = device.type == "cuda" and not (llm and waits(llm[0]))
        self.forget()

    def forget(self) -> None:
        """Frees the graphs. Their memory is not used again: tensors of theirs may be left in it."""
        self.graphs: dict[tuple[tuple[str, int], ...], torch.cuda.CUDAGraph | None] = {}
        self.pool: Any = torch.cuda.graph_pool_handle() if self.in_graphs else None

    def __call__(self, learners: list[_Learner], step: int) -> None:
        for learner in learners:
            learner.draw(step)
        kind = tuple((learner.fold.name, len(learner.batch[0])) for learner in learners)
        if self.in_graphs and kind in self.graphs:
            self.graphs[kind] = self.graphs[kind] or self._captured(learners)
        if graph := self.graphs.setdefault(kind, None):
            graph.replay()
        else:
            _step(learners, self.llm_batch)

    def _captured(self, learners: list[_Learner]) -> torch.cuda.CUDAGraph | None:
        """A step as a graph; None, after a warning, where that cannot be had: an LLM may wait for the GPU within."""
        generators = [generator for learner in learners for generator in learner.generators()]
        before = torch.cuda.current_stream(self.device)
        with torch.cuda.device(self.device):
            graph = torch.cuda.CUDAGraph()
            for generator in generators:
                graph.register_generator_state(generator)
            try:
                with torch.cuda.graph(graph, pool=self.pool, stream=torch.cuda.Stream(self.device)):
                    _step(learners, self.llm_batch)
            except RuntimeError as error:
                # What failed in a capture leaves its stream, its pool and its view of the generators in place.
                torch.cuda.set_stream(before)
                with contextlib.suppress(RuntimeError):
                    torch._C._cuda_endAllocateToPool(before.device_index, self.pool)
                for generator in generators:
                    generator.graphsafe_set_state(generator.clone_state())
                self.in_graphs = False
                self.forget()
                cause = error.__context__ or error
                why = (str(cause) or type(cause).__name__).splitlines()[0]
                warnings.warn(f"no CUDA graph of a step, so its kernels are launched one by one: {why}", stacklevel=4)
                return None
        return graph


def _step(learners: list[_Learner], llm_batch: int) -> None:
    """One step of every fold; the tokens of all go through the LLM together, at most ``llm_batch`` at a time."""
    tokens, targets = zip(*(learner.look() for learner in learners), strict=True)
    for learner in learners:
        learner.optimizer.zero_grad(set_to_none=True)
    piece = max(1, llm_batch // len(learners)) if llm_batch else max(map(len, tokens))
    pieces = range(0, max(map(len, tokens)), piece)
    # Cut at the tokens, a piece's graph lives no longer than its pass; the gradients of the pieces add up exactly.
    leaves = tokens if len(pieces) == 1 else [token.detach().requires_grad_() for token in tokens]
    totals = [torch.zeros((), device=learner.device) for learner in learners]
    for start in pieces:
        part = [i for i, token in enumerate(tokens) if start < len(token)]
        inputs = [leaves[i][start : start + piece] for i in part]
        llms = [llm for i in part if (llm := learners[i].model.llm) is not None]
        hidden = (
            reason(llms, inputs) if llms else [learners[i].model.stand_in(x) for i, x in zip(part, inputs, strict=True)]
        )
        losses = [learners[i].loss(h, targets[i][start : start + piece]) for i, h in zip(part, hidden, strict=True)]
        torch.stack(losses).sum().backward()  # the folds share no parameter: each gets its own gradient
        for i, loss in zip(part, losses, strict=True):
            totals[i] += loss.detach()
    if len(pieces) > 1 and tokens[0].requires_grad:
        torch.autograd.backward(tokens, [leaf.grad for leaf in leaves])
    for learner, total in zip(learners, totals, strict=True):
        learner.update(total)


@torch.no_grad()
def predict(model: AULLM, store: ClipStore, ids: tuple[str, ...], frames: int, batch_size: int) -> Tensor:
    """Probabilities of occurrence [B, N_AU], float64, in the order of ``ids``; no temporal jitter."""
    was_training = model.training
    model.eval()
    logits = [model(store.sample(rows, frames)) for rows in store.positions(ids).split(batch_size)]
    model.train(was_training)
    return torch.cat(logits).double().sigmoid()


def _advice(recipe: Recipe, folds: int) -> str:
    settings = [f"the number of folds side by side (now {folds})"] if folds > 1 else []
    settings += [f"Recipe.llm_batch (now {recipe.llm_batch or 'the whole batch'}; the scores stay comparable)"]
    settings += [f"Recipe.batch_size (now {recipe.batch_size}; another training)"]
    return ", then ".join(settings)

"""Seconds and memory of a fold-epoch of the kit, beside the released way of training AU-LLM, in one run.

``make bench``, or ``PYTHONPATH=. python tests/benchmarks/training.py [--only tiny,mid,smollm2,loso,gpu] [--rounds
2]``; it needs no data set, and no network but for SmolLM2, at its first use. Both ways train
the same model of the released recipe on the same clips: random bytes, 256 clips of 26 subjects as long as CASME II's
(24 to 141 frames), 246 or 247 of them in each training set: one step of at most 256 an epoch. The prompt has 16 tokens,
the projector its true hidden width, half of input and output together. tests/test_benchmarks.py holds both ways to the
same logits and gradients. ``smollm2`` is a genuine LLM, SmolLM2-135M, at the size of the demo: 64 clips of 8 subjects,
batches of 8 as there, or of all 56 training clips, and the released recipe's prompt, of which its tokenizer makes 44
tokens.

The released way, written out below: the LLM loaded for every fold; a DataLoader over numpy clips with sampling in
Python for each; prompt and visual token joined for every clip; a causal LM with its language-model head and all hidden
states, of which the last position of the last layer is used; LoRA by peft; Adam as it comes; the CNN in the script's
order; the system's memory allocator as it comes. The kit: ``engine.aullm.train_folds``, with the allocator's
settings from the Makefile.

Each way runs in fresh processes of its own with the same number of threads, in alternating rounds, so that a busy
machine slows both alike. Minimum and median are over all measured epochs of all rounds; the first epoch of a process is
not counted. The shares come from steps whose graph is cut between the parts. ``gpu`` is the 1.5B shape with random
bf16 weights, both recipes' token orders and several folds side by side; it runs where there is a CUDA device, and
``--rehearse`` takes it through the same lines on the CPU with a small shape. ``--whole 13`` adds a whole run, leaving
one subject out, with the released recipe and so many folds side by side, from first model to last probability.

The floor is what the arithmetic and the memory traffic alone would take, at rates measured in the same process:

    visual     6 B (5·60²·25·32 + 4·18²·576·64 + 2·6·5·64² + 10,368·256) / R_conv
    EFP        6 B (10,624 H + H d) / R_fp32 + 32 (10,624 H + H d) / W
    LLM        max(4 N T / R_llm, 2 N s / (K W))

B clips a step, H and d the widths of projector and LLM, N the weights of the LLM's linear layers and s their bytes
each, T its tokens (B + P with the prompt of P tokens shared, B (P + 1) without), K folds side by side, R operations
and W bytes a second. 6 = a product and a sum, forward and for both gradients; 4 = the same without the gradient of
frozen weights; 32 bytes for Adam: weight, gradient and both moments in fp32, read and written.
"""

import argparse
import gc
import json
import math
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from aullm_lib import asl, llm, protocol
from aullm_lib.clips import ClipStore
from aullm_lib.engine.aullm import train_folds
from aullm_lib.experiment import Experiment
from aullm_lib.model import AULLM
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Diverged
from aullm_lib.support import files, hub, tiny
from aullm_lib.support.memory import OutOfMemory
from aullm_lib.support.randomness import repeatable

ROOT = Path(__file__).resolve().parents[2]
AUS = (1, 2, 4, 7, 12, 14, 15, 17)
PROMPT = tuple(range(1, 17))  # 16 tokens, whatever they mean
SUBJECTS, CLIPS, EPOCHS = 26, 256, 350  # CASME II, leave-one-subject-out
SIDE = 2048  # of the matrices whose product gives the rate of operations
PARTS = ("sampling", "CNN with LED", "EFP", "LLM", "head and loss", "optimiser")
ORDERS = {"released": "prompt-first", "paper": "visual-first"}


@dataclass(frozen=True)
class Shape:
    """Of a Qwen2."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocab: int
    dtype: str = "float32"
    prompt: int = len(PROMPT)  # its tokens

    @property
    def weights(self) -> int:
        """Of the linear layers."""
        narrow = self.hidden * self.kv_heads // self.heads
        return self.layers * self.hidden * (2 * self.hidden + 2 * narrow + 3 * self.inner)


SHAPES = {
    "tiny": Shape(64, 2, 4, 2, 256, 512),
    "mid": Shape(512, 8, 8, 2, 2048, 512),
    "smollm2": Shape(576, 30, 9, 3, 1536, 49_152, prompt=44),
    "1.5B": Shape(1536, 28, 12, 2, 8960, 151_936, "bfloat16"),  # Qwen2.5-1.5B
}


# ------------------------------------------------------------------------------------------------------------ the data


def write_store(
    path: Path, *, subjects: int = SUBJECTS, clips: int = CLIPS, size: int = 64, seed: int = 0
) -> ClipStore:
    """A clip store of random bytes, with lengths like CASME II's."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(24, 142, clips)
    frames = rng.integers(0, 256, (int(lengths.sum()), size, size), dtype=np.uint8)
    path.mkdir(parents=True)
    np.save(path / "frames.npy", frames)
    index = pd.DataFrame({"clip_id": [f"clip{i:03d}" for i in range(clips)], "dataset": "noise"})
    index["subject"] = [f"{i % subjects:02d}" for i in range(clips)]
    index["n_frames"], index["first"] = lengths, np.concatenate([[0], lengths.cumsum()[:-1]])
    index[["clip", "emotion", "aus", "found_in", "apex", "score"]] = ""
    index["matrix"], index["source"] = json.dumps([[1, 0, 0], [0, 1, 0]]), "{}"
    index["sha256"] = index["clip_id"]
    index[[f"AU{n}" for n in AUS]] = (rng.random((clips, len(AUS))) < 0.2).astype(int)
    index.to_csv(path / "index.csv", index=False)
    settings = {"size": size, "rgb": False, "release": {"release": "noise"}}
    files.write_json(path / "store.json", {"settings": settings, "fingerprint": "noise", "failed": {}, "remarks": {}})
    return ClipStore(path)


def prompt_ids(text: str) -> dict[str, list[int]]:
    """In the place of a tokenizer: every prompt is as long as the next."""
    return {"input_ids": list(PROMPT)}


def build_on(device: torch.device, shape: Shape, causal: bool) -> nn.Module:
    """A Qwen2 of random weights, made where it will stay: no file, no copy."""
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Model

    config = Qwen2Config(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        tie_word_embeddings=True,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(llm.DTYPES[shape.dtype])
    try:
        with device:
            model = (Qwen2ForCausalLM if causal else Qwen2Model)(config)
    finally:
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)


# ---------------------------------------------------------------------------------------------------- the released way


class ReleasedClips(Dataset):
    """Clips as numpy arrays, sampled one by one."""

    def __init__(self, clips: list[np.ndarray], labels: np.ndarray, train: bool, frames: int = 6) -> None:
        self.clips, self.labels, self.train, self.frames = clips, labels, train, frames

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        clip = self.clips[i]
        last = len(clip) - 1
        if self.train and last > self.frames:
            last = np.random.randint(self.frames, last)  # noqa: NPY002  # as the script does
        chosen = np.round(np.linspace(0, last, self.frames)).astype(int)
        return torch.from_numpy(clip[chosen].astype(np.float32)), torch.from_numpy(self.labels[i])


class ReleasedLED(nn.Module):
    """LED with logarithms for parameters, as two products over time."""

    def __init__(self, frames: int = 6) -> None:
        super().__init__()
        self.frames = frames
        self.log_alpha = nn.Parameter(torch.tensor(10.0).log())
        self.log_r1 = nn.Parameter(torch.tensor(0.4).log())
        self.log_r2 = nn.Parameter(torch.tensor(0.05).log())

    def forward(self, x: Tensor) -> Tensor:
        alpha, r1, r2 = self.log_alpha.exp(), self.log_r1.exp(), self.log_r2.exp()
        i = torch.arange(self.frames, device=x.device)[:, None]
        j = torch.arange(self.frames, device=x.device)[None]
        k, b = (j - i).clamp(min=0), i.clamp(max=1)
        above = alpha * ((1 - r1) ** k * r1**b - (1 - r2) ** k * r2**b)
        w = torch.where(j > i, above, torch.where(j == i, alpha * (r1 - r2), torch.zeros_like(above)))
        norm = torch.einsum("bihw,ij->bjhw", x.abs(), w.abs())
        out = torch.einsum("bihw,ij->bjhw", x, w) / (norm + 1e-8)
        return torch.cat([x[:, :1], out[:, 1:]], dim=1)


class ReleasedSE(nn.Module):
    """Squeeze and excitation of each frame, time folded into the batch."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Linear(channels, channels // 16, bias=False)
        self.excite = nn.Linear(channels // 16, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, t, h, w = x.shape
        y = x.permute(0, 2, 1, 3, 4).reshape(b * t, c, h, w)
        z = self.pool(y).flatten(1)
        z = torch.sigmoid(self.excite(torch.relu(self.squeeze(z))))
        return (y * z[:, :, None, None]).reshape(b, t, c, h, w).permute(0, 2, 1, 3, 4)


class ReleasedModel(nn.Module):
    """AU-LLM as the script has it; the CNN's and the projector's weights have the kit's names."""

    def __init__(
        self,
        causal: nn.Module,
        size: int = 64,
        dropout: float = 0.3,
        lora_dropout: float = 0.1,
        prompt: Sequence[int] = PROMPT,
    ) -> None:
        from peft import LoraConfig, get_peft_model

        super().__init__()
        self.led = ReleasedLED()
        self.block1 = nn.Sequential(
            nn.Conv3d(1, 32, (1, 5, 5)),
            nn.ReLU(),
            nn.MaxPool3d((1, 3, 3)),
            nn.BatchNorm3d(32),
            nn.Dropout3d(dropout),
        )
        self.block2 = nn.Sequential(
            nn.Conv3d(32, 64, (2, 3, 3)),
            nn.ReLU(),
            nn.BatchNorm3d(64),
            ReleasedSE(),
            nn.MaxPool3d(2),
            nn.Dropout3d(dropout),
        )
        side = ((size - 4) // 3 - 2) // 2
        mid, d = 64 * 2 * side * side, causal.config.hidden_size
        self.fc = nn.Sequential(nn.Linear(mid, 256), nn.ReLU(), nn.Dropout(dropout))
        hidden = (mid + 256 + d) // 2
        self.efp = nn.Sequential(nn.Linear(mid + 256, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, d))
        lora = LoraConfig(
            r=16,
            lora_alpha=32,
            target_modules=["q_proj", "v_proj"],
            lora_dropout=lora_dropout,
            bias="none",
            task_type="CAUSAL_LM",
        )
        self.llm = get_peft_model(causal, lora)
        self.head = nn.Linear(d, len(AUS))
        self.register_buffer("prompt", torch.tensor(prompt), persistent=False)

    def visual(self, x: Tensor) -> Tensor:
        x = self.led(x)[:, None, 1:]
        mid = self.block2(self.block1(x)).flatten(1)
        return torch.cat([mid, self.fc(mid)], dim=1)

    def reason(self, token: Tensor) -> Tensor:
        words = self.llm.get_input_embeddings()(self.prompt.expand(len(token), -1))
        inputs = torch.cat([words, token.to(words.dtype)[:, None]], dim=1)
        return self.llm(inputs_embeds=inputs, output_hidden_states=True).hidden_states[-1][:, -1].float()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.reason(self.efp(self.visual(x))))


def released_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The script's loss: the weight is multiplied in while gradients are off."""
    p = torch.sigmoid(logits)
    q = (1 - p + 0.05).clamp(max=1)
    loss = targets * torch.log(p.clamp(min=1e-8)) + (1 - targets) * torch.log(q.clamp(min=1e-8))
    with torch.no_grad():
        loss *= torch.pow(q, 4 * (1 - targets))
    return -loss.sum()


class Released:
    """One fold of the released way."""

    def __init__(self, job: "Job", store: ClipStore, fold: protocol.Fold) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.device, prompt = torch.device(job.device), PROMPT
        if job.checkpoint:
            with hub.quiet():
                causal = AutoModelForCausalLM.from_pretrained(job.checkpoint, dtype=torch.float32)
                if job.genuine:
                    prompt = AutoTokenizer.from_pretrained(job.checkpoint)(Recipe.released().prompt)["input_ids"]
        else:
            causal = build_on(self.device, SHAPES[job.shape], causal=True)
        self.model = ReleasedModel(causal, size=job.size, prompt=prompt).to(self.device).train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=3e-5, weight_decay=0.005)

        def loader(ids: tuple[str, ...], train: bool) -> DataLoader:
            labels = store.table.loc[list(ids), [f"AU{n}" for n in AUS]].to_numpy(np.float32)
            clips = [np.array(store[name]) for name in ids]
            return DataLoader(ReleasedClips(clips, labels, train), batch_size=job.batch, shuffle=train)

        self.train, self.test = loader(fold.train, True), loader(fold.test, False)

    def epoch(self) -> float:
        total = 0.0
        for clips, targets in self.train:
            clips, targets = clips.to(self.device), targets.to(self.device)
            self.optimizer.zero_grad()
            loss = released_loss(self.model(clips), targets)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return total

    @torch.no_grad()
    def predict(self) -> Tensor:
        self.model.eval()
        probabilities = torch.cat([torch.sigmoid(self.model(clips.to(self.device))).cpu() for clips, _ in self.test])
        self.model.train()
        return probabilities

    # the parts of a step, each from a list of tensors to a list
    def sample(self) -> tuple[list[Tensor], list[Tensor]]:
        clips, targets = next(iter(self.train))
        return [clips.to(self.device)], [targets.to(self.device)]

    def visual(self, clips: list[Tensor]) -> list[Tensor]:
        return [self.model.visual(clips[0])]

    def project(self, features: list[Tensor]) -> list[Tensor]:
        return [self.model.efp(features[0])]

    def reason(self, tokens: list[Tensor]) -> list[Tensor]:
        return [self.model.reason(tokens[0])]

    def loss(self, hidden: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
        return [released_loss(self.model.head(hidden[0]), targets[0])]

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()


# -------------------------------------------------------------------------------------------------------------- the kit


def experiment(order: str, dtype: str, epochs: int, batch: int, size: int = 64) -> Experiment:
    """The released recipe, or its model with the paper's token order."""
    recipe = Recipe.released(epochs=epochs, batch_size=batch, size=size, llm_dtype=dtype, token_order=order)
    return Experiment(name="benchmark", aus=AUS, recipe=recipe, llm="loaded")


def load_kit_llm(job: "Job") -> llm.Loaded:
    shape = SHAPES[job.shape]
    if job.checkpoint:
        model, tokenizer = llm.load(job.checkpoint, dtype=shape.dtype)
        return model, tokenizer if job.genuine else prompt_ids
    return build_on(torch.device(job.device), shape, causal=False), prompt_ids


class Kit:
    """The parts of a step of ``engine.aullm.train_folds``, of some folds side by side."""

    def __init__(self, job: "Job", store: ClipStore, folds: Sequence[protocol.Fold], loaded: llm.Loaded) -> None:
        self.store, self.device = store, torch.device(job.device)
        what = experiment(job.order, SHAPES[job.shape].dtype, 1, job.batch, job.size)
        self.models = [AULLM(what.recipe, len(AUS), llm=loaded).to(self.device).train() for _ in folds]
        self.optimizers = [
            torch.optim.Adam([p for p in m.parameters() if p.requires_grad], lr=3e-5, weight_decay=0.005, fused=True)
            for m in self.models
        ]
        self.criterion = asl.build("asl_released", reduction="sum")
        self.rows = [store.positions(fold.train)[: job.batch] for fold in folds]
        labels = store.table[[f"AU{n}" for n in AUS]].to_numpy("float32")
        self.targets = [torch.tensor(labels[rows.cpu().numpy()]).to(self.device) for rows in self.rows]
        self.generator = torch.Generator().manual_seed(0)

    def sample(self) -> tuple[list[Tensor], list[Tensor]]:
        return [self.store.sample(rows, 6, jitter=self.generator) for rows in self.rows], self.targets

    def visual(self, clips: list[Tensor]) -> list[Tensor]:
        return [feature for model, x in zip(self.models, clips, strict=True) for feature in model.backbone(x)]

    def project(self, features: list[Tensor]) -> list[Tensor]:
        pairs = zip(features[::2], features[1::2], strict=True)
        return [model.efp(*pair) for model, pair in zip(self.models, pairs, strict=True)]

    def reason(self, tokens: list[Tensor]) -> list[Tensor]:
        return llm.reason([model.llm for model in self.models], tokens)

    def loss(self, hidden: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
        return [self.criterion(m.head(h), y) for m, h, y in zip(self.models, hidden, targets, strict=True)]

    def update(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


# ---------------------------------------------------------------------------------------------- one way, in one process


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process measures."""

    way: str  # "released" or "kit"
    shape: str
    store: str
    kind: str = "epochs"  # or "loso"
    checkpoint: str = ""  # where the LLM lies; "" for one of random weights made on the device
    device: str = "cpu"
    order: str = "prompt-first"  # the kit's; the released way has the prompt first
    folds: tuple[int, ...] = (1,)  # side by side, one measurement each; with "loso", how many there are
    together: int = 1  # with "loso", how many of them side by side
    epochs: int = 3  # measured, after one that is not
    parts: int = 2  # steps whose parts are measured
    batch: int = 256
    size: int = 64
    threads: int = 1

    @property
    def genuine(self) -> bool:
        """Whether the LLM has a tokenizer, with which it reads the released recipe's prompt."""
        return self.shape == "smollm2"


def measure(job: Job) -> list[dict[str, Any]]:
    """Does a job; one result for each number of folds side by side."""
    device, store = torch.device(job.device), ClipStore(job.store)
    if device.type == "cuda":  # as the kit's engine and the script do
        repeatable()
    folds = protocol.loso(store.table)
    if job.kind == "loso":
        return [_whole(job, store, folds[: job.folds[0]])]
    loaded = load_kit_llm(job) if job.way == "kit" else None
    if loaded:
        store.to(device)
    results = []
    for count in job.folds:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            results.append({"folds": count} | _epochs(job, store, folds[:count], loaded))
        except (torch.OutOfMemoryError, OutOfMemory):
            results.append({"folds": count, "failed": "does not fit into memory"})
    if job.way == "kit":
        measured = rates(device, SHAPES[job.shape].dtype)
        results = [result | {"rates": measured} for result in results]
    return results


def _epochs(job: Job, store: ClipStore, folds: list[protocol.Fold], loaded: llm.Loaded | None) -> dict[str, Any]:
    device = torch.device(job.device)
    if loaded:
        marks: list[float] = []
        what = experiment(job.order, SHAPES[job.shape].dtype, job.epochs + 1, job.batch, job.size)

        def heard(fold: str, epoch: int, loss: float) -> None:
            if fold == folds[0].name:  # the folds end an epoch together
                marks.append(time.perf_counter())

        outcomes = train_folds(what, store, store.table, folds, llm=loaded, device=device, progress=heard)
        peak = memory(device)
        if stopped := [outcome for outcome in outcomes if isinstance(outcome, Diverged)]:
            raise stopped[0]
        way: Kit | Released = Kit(job, store, folds, loaded)
    else:
        way = Released(job, store, folds[0])
        marks = []
        for _ in range(job.epochs + 1):
            way.epoch()
            synchronize(device)
            marks.append(time.perf_counter())
        peak = memory(device)
    seconds = [(b - a) / len(folds) for a, b in pairwise(marks)]
    parts = [cut(way, device) for _ in range(job.parts)]
    result = {"seconds": seconds, "parts": parts, "memory": peak, "clips": len(folds[0].train)}
    return result | ({"launches": launches(way, device)} if device.type == "cuda" else {})


def _whole(job: Job, store: ClipStore, folds: list[protocol.Fold]) -> dict[str, Any]:
    """A leave-one-subject-out from loading the LLM to the last probability."""
    start = time.perf_counter()
    if job.way == "kit":
        loaded = load_kit_llm(job)
        what = experiment(job.order, SHAPES[job.shape].dtype, job.epochs, job.batch, job.size)
        for first in range(0, len(folds), job.together):
            some = folds[first : first + job.together]
            train_folds(what, store.to(job.device), store.table, some, llm=loaded, device=job.device)
    else:
        for fold in folds:
            way = Released(job, store, fold)
            for _ in range(job.epochs):
                way.epoch()
            way.predict()
    return {"seconds": [time.perf_counter() - start], "memory": memory(torch.device(job.device))}


def cut(way: Kit | Released, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each part of one step, [forward, backward], for all folds together."""
    taken: dict[str, list[float]] = {part: [0.0, 0.0] for part in PARTS}
    stages = (("CNN with LED", way.visual), ("EFP", way.project), ("LLM", way.reason))
    synchronize(device)
    mark = time.perf_counter()

    def lap(part: str, backward: bool = False) -> None:
        nonlocal mark
        synchronize(device)
        now = time.perf_counter()
        taken[part][backward] += now - mark
        mark = now

    values, targets = way.sample()
    lap("sampling")
    outputs, leaves = [], []
    for part, stage in stages:
        out = stage(values)
        outputs.append(out)
        values = [one.detach().requires_grad_() for one in out]
        leaves.append(values)
        lap(part)
    losses = way.loss(values, targets)
    lap("head and loss")
    torch.autograd.backward(losses)
    lap("head and loss", backward=True)
    while outputs:
        torch.autograd.backward(outputs.pop(), [leaf.grad for leaf in leaves.pop()])
        lap(stages[len(outputs)][0], backward=True)
    way.update()
    lap("optimiser")
    return taken


def launches(way: Kit | Released, device: torch.device) -> int:
    """Kernels that one step of all folds launches on a CUDA device."""
    with torch.profiler.profile() as profile:
        cut(way, device)
    return sum(event.count for event in profile.key_averages() if "LaunchKernel" in event.key)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory(device: torch.device) -> int:
    """Peak bytes: allocated on a CUDA device, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")  # getrusage would count the parent's too
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) * 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def rates(device: torch.device, dtype: str) -> dict[str, float]:
    """Operations a second of products and convolutions, bytes a second of a copy; the best of five."""

    def best(work: Any) -> float:
        times = []
        for _ in range(6):
            synchronize(device)
            start = time.perf_counter()
            work()
            synchronize(device)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    n = 4 * SIDE if device.type == "cuda" else SIDE
    with torch.no_grad(), device:
        a = torch.randn(n, n)
        b = a.to(llm.DTYPES[dtype])
        images, kernels = torch.randn(n // 16, 32, 20, 20), torch.randn(64, 32, 3, 3)
        block = torch.zeros(n * 2**15, dtype=torch.uint8)
        other = torch.zeros_like(block)
        conv = 2 * (n // 16) * 18 * 18 * 64 * 32 * 9
        return {
            "fp32": 2 * n**3 / best(lambda: a @ a),
            "llm": 2 * n**3 / best(lambda: b @ b),
            "conv": conv / best(lambda: torch.conv2d(images, kernels)),
            "copy": 2 * len(block) / best(lambda: other.copy_(block)),
        }


def floor(shape: Shape, order: str, folds: int, clips: int, batch: int, rate: dict[str, float]) -> float:
    """Seconds of a fold-epoch that arithmetic and memory traffic alone take; the docstring has the formulas."""
    hidden = (10_624 + shape.hidden) // 2
    efp = 10_624 * hidden + hidden * shape.hidden
    visual = 5 * 60**2 * 25 * 32 + 4 * 18**2 * 576 * 64 + 2 * 6 * 5 * 64**2 + 10_368 * 256
    steps = math.ceil(clips / batch)
    tokens = clips + steps * shape.prompt if order == "prompt-first" else clips * (shape.prompt + 1)
    size = 2 if shape.dtype == "bfloat16" else 4
    through = max(4 * shape.weights * tokens / rate["llm"], 2 * steps * shape.weights * size / (folds * rate["copy"]))
    convolved, projected = 6 * clips * visual / rate["conv"], 6 * clips * efp / rate["fp32"]
    return convolved + projected + 32 * steps * efp / rate["copy"] + through


# ----------------------------------------------------------------------------------------------------------- the report


def settings(way: str, threads: int) -> dict[str, str]:
    """The environment of a process: the Makefile's for the kit, as it comes for the released way."""
    makefile = dict(re.findall(r"^export (MALLOC_\w+|CUBLAS_\w+) := (\S+)$", (ROOT / "Makefile").read_text(), re.M))
    environment = {name: value for name, value in os.environ.items() if name not in makefile}
    environment |= {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return environment | (makefile if way == "kit" else {})


def in_a_process(job: Job) -> list[dict[str, Any]]:
    command = [sys.executable, __file__, "--job", json.dumps(asdict(job))]
    done = subprocess.run(command, env=settings(job.way, job.threads), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{job}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@dataclass
class Line:
    """What all rounds measured of one way."""

    job: Job
    folds: int
    seconds: list[float]
    parts: list[dict[str, list[float]]]
    memory: int
    rest: dict[str, Any]

    def part(self, name: str, choose: Callable[[list[float]], float] = min) -> float:
        """Least seconds a fold-epoch of a part, forward and backward together; what others do only adds to them."""
        return choose([sum(step[name]) for step in self.parts]) / self.folds

    best = property(lambda self: min(self.seconds))
    middle = property(lambda self: statistics.median(self.seconds))


def rounds(jobs: Iterable[Job], count: int) -> list[Line]:
    """The jobs in turn, ``count`` times."""
    lines: dict[tuple[Job, int], Line] = {}
    for _ in range(count):
        for job in jobs:
            for result in in_a_process(job):
                if "failed" in result:
                    print(f"{job.shape}, {job.way}, {result['folds']} folds: {result['failed']}", flush=True)
                    continue
                folds = result.pop("folds", 1)
                line = lines.setdefault((job, folds), Line(job, folds, [], [], 0, {}))
                line.seconds += result.pop("seconds")
                line.parts += result.pop("parts", [])
                line.memory = max(line.memory, result.pop("memory"))
                line.rest |= result
    return list(lines.values())


def name(line: Line) -> str:
    if line.job.way == "released":
        return "released way"
    order = "prompt first, shared" if line.job.order == "prompt-first" else "visual token first"
    return f"kit, {order}" + (f", {line.folds} folds side by side" if line.folds > 1 else "")


def table(lines: list[Line], fold_epochs: int = SUBJECTS * EPOCHS) -> str:
    """Markdown: one row per way, times as fast as the released way beside it; then the parts of one step.

    Args:
        lines: What was measured.
        fold_epochs: How many a leave-one-subject-out has.
    """
    slow = next((line for line in lines if line.job.way == "released"), None)
    rows = ["| | s a fold-epoch, min | median | times as fast, min | median | peak memory, GB | floor, s | LOSO, min |"]
    rows.append("|---|---|---|---|---|---|---|---|")
    for line in lines:
        least = ""
        if "rates" in line.rest:
            shape, rest = SHAPES[line.job.shape], line.rest
            least = f"{floor(shape, line.job.order, line.folds, rest['clips'], line.job.batch, rest['rates']):.3f}"
        ratio = (f"{slow.best / line.best:.1f}", f"{slow.middle / line.middle:.1f}") if slow else ("", "")
        whole = line.middle * fold_epochs / 60
        rows.append(
            f"| {name(line)} | {line.best:.3f} | {line.middle:.3f} | {ratio[0]} | {ratio[1]} "
            f"| {line.memory / 1e9:.1f} | {least} | {whole:.3g} |"
        )
    rows += ["", "| part of a step: s at best, forward + backward (share) | " + " | ".join(map(name, lines)) + " |"]
    rows.append("|---|" + "---|" * len(lines))
    for part in PARTS:
        cells = []
        for line in lines:
            total = sum(line.part(p) for p in PARTS)
            ahead, back = (value / line.folds for value in min((step[part] for step in line.parts), key=sum))
            both = f"{ahead:.3f} + {back:.3f}" if back else f"{ahead:.3f}"
            cells.append(f"{both} ({100 * line.part(part) / total:.0f} %)")
        rows.append(f"| {part} | " + " | ".join(cells) + " |")
    if any("launches" in line.rest for line in lines):
        cells = [f"{line.rest.get('launches', 0) / line.folds:.0f}" for line in lines]
        rows.append("| kernels launched a fold-epoch | " + " | ".join(cells) + " |")
    if slow:
        for line in lines:
            if line is not slow:
                least, middle = (slow.part("LLM", f) / line.part("LLM", f) for f in (min, statistics.median))
                rows.append(f"\nLLM part, {name(line)}: {least:.1f} times as fast at best, {middle:.1f} in the median.")
    return "\n".join(rows)


def machine(threads: int) -> str:
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    cpu = model[1] if model else platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers", "peft"))
    return f"{date.today()}, {cpu}, {os.cpu_count()} cores, {threads} threads{gpu}; {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="tiny,mid,smollm2,loso,gpu", help="parts, with commas")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folds", default="1,4,8", help="folds side by side in the gpu part")
    parser.add_argument("--whole", type=int, default=0, help="in the gpu part, a whole run with so many side by side")
    parser.add_argument("--rehearse", action="store_true", help="the gpu part on the CPU, with the tiny shape")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        job = json.loads(options.job)
        job = Job(**job | {"folds": tuple(job["folds"])})
        torch.set_num_threads(job.threads)
        print(json.dumps(measure(job)))
        return

    parts = options.only.split(",")
    if unknown := set(parts) - {"tiny", "mid", "smollm2", "loso", "gpu"}:
        parser.error(f"--only: no part {', '.join(sorted(unknown))}")
    texts = ["# Training: the kit beside the released way", "", machine(options.threads)]
    record: dict[str, Any] = {"machine": texts[-1]}

    def add(part: str, title: str, text: str, lines: list[Line]) -> None:
        texts.extend(["", f"## {title}", "", text])
        print("\n".join(texts[-4:]), flush=True)
        record[part] = [
            asdict(line.job) | {"store": "", "checkpoint": ""} | {"folds": line.folds, "seconds": line.seconds}
            | {"parts": line.parts, "memory": line.memory} | line.rest
            for line in lines
        ]  # fmt: skip

    print("\n".join(texts), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        store = str(write_store(Path(folder) / "clips").path)
        same: dict[str, Any] = {"store": store, "threads": options.threads}
        for part in ("tiny", "mid"):
            if part not in parts:
                continue
            lines = rounds(_both(part, folder, epochs={"released": 2, "kit": 4}, **same), options.rounds)
            shape = SHAPES[part]
            width = (10_624 + shape.hidden) // 2
            title = f"LLM of {shape.layers} layers, {shape.hidden} wide, projector's hidden width {width:,}, on the CPU"
            add(part, title, table(lines), lines)
        if "smollm2" in parts:
            small = write_store(Path(folder) / "small", subjects=8, clips=64)
            genuine: dict[str, Any] = {"shape": "smollm2", "checkpoint": hub.locate("smollm2")[0]}
            genuine |= {"store": str(small.path), "threads": options.threads}
            for batch in (8, 56):
                jobs = [
                    Job(way="released", batch=batch, epochs=1, **genuine),
                    Job(way="kit", batch=batch, epochs=2, folds=(1, 4), **genuine),
                    Job(way="kit", batch=batch, epochs=1, order="visual-first", **genuine),
                ]
                lines = rounds(jobs, options.rounds)
                title = f"SmolLM2-135M, 64 clips of 8 subjects, batches of {batch}, prompt of 44 tokens, on the CPU"
                add(f"smollm2-{batch}", title, table(lines, fold_epochs=8 * 10), lines)
        if "loso" in parts:
            jobs = _both("tiny", folder, kind="loso", folds=(4,), epochs={"released": 2, "kit": 2}, **same)
            slow, fast = lines = rounds(jobs, max(1, options.rounds // 2))  # the longest part, and the least noisy
            rows = [
                f"| {line.job.way} | {line.best:.1f} | {line.middle:.1f} | {line.memory / 1e9:.1f} |" for line in lines
            ]
            text = "\n".join(["| way | s, min | median | peak memory, GB |", "|---|---|---|---|", *rows])
            text += (
                f"\n\n{slow.best / fast.best:.1f} times as fast at best, {slow.middle / fast.middle:.1f} in the median"
            )
            add(
                "loso", "Four folds of two epochs, from loading the LLM to the last probability (tiny LLM)", text, lines
            )
        if "gpu" in parts and (torch.cuda.is_available() or options.rehearse):
            device, shape_name = ("cpu", "tiny") if options.rehearse else ("cuda", "1.5B")
            side_by_side = tuple(map(int, options.folds.split(",")))
            big = {"shape": shape_name, "device": device, "parts": 3, **same}
            jobs = [Job(way="released", epochs=2 if options.rehearse else 5, **big)]
            jobs += [
                Job(way="kit", order=order, folds=side_by_side, epochs=2 if options.rehearse else 10, **big)
                for order in ORDERS.values()
            ]
            lines = rounds(jobs, options.rounds)
            where = "on the CPU" if options.rehearse else f"in bfloat16 on {torch.cuda.get_device_name()}"
            add("gpu", f"LLM of the {shape_name} shape, random weights, {where}", table(lines), lines)
            if options.whole:
                count, epochs = (4, 2) if options.rehearse else (SUBJECTS, EPOCHS)
                whole = Job(way="kit", kind="loso", folds=(count,), together=options.whole, **big | {"epochs": epochs})
                (line,) = lines = rounds([whole], 1)
                text = f"{line.best:.0f} s, {line.memory / 1e9:.1f} GB"
                add("gpu-loso", f"{count} folds of {epochs} epochs, {options.whole} side by side", text, lines)
    files.write_text(options.out / "training.md", "\n".join(texts) + "\n")
    files.write_json(options.out / "training.json", record)


def _both(shape: str, folder: str, *, epochs: dict[str, int], **same: Any) -> list[Job]:
    """The released way and the kit on a checkpoint of the shape."""
    s = SHAPES[shape]
    path = tiny.build_tiny(
        Path(folder) / shape, hidden=s.hidden, layers=s.layers, heads=s.heads, kv_heads=s.kv_heads, vocab=s.vocab
    )
    return [Job(way=way, shape=shape, checkpoint=str(path), epochs=epochs[way], **same) for way in ("released", "kit")]


if __name__ == "__main__":
    main()

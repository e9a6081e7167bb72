"""What the explorer can show of a release, clip by clip and frame by frame: ``Release.look`` makes a ``view.View``.

A clip's probabilities, filter and heat map are those of the fold that did not train on its subject.
"""

from collections.abc import Collection
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import torch

from aullm_lib import explain
from aullm_lib.clips import ClipStore, frame_positions
from aullm_lib.datasets import TITLES
from aullm_lib.facs import au_columns
from aullm_lib.led import LED
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM
from aullm_lib.report import licence
from aullm_lib.report.figures.view import View
from aullm_lib.runs import Run
from aullm_lib.support import frame_files
from aullm_lib.trained import ensemble

FRAMES = 6  # sampled where no model says how many
GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue in a stored colour frame


class Release:
    """The clips of a release that the explorer may show, with a trained run if there is one.

    Args:
        table: The clip table, for the frames' files.
        store: The store of the same clips.
        run: A run on that store, with its weights kept.
        publishable: The subjects whose faces the user may show (``report.licence``).

    Raises:
        ValueError: No subject may be shown, or the run is on other clips.
    """

    def __init__(
        self, table: pd.DataFrame, store: ClipStore, run: Run | None = None, publishable: Collection[str] = ()
    ) -> None:
        self.table, self.store, self.run = table, store, run
        allowed = licence.showable(store.table, publishable)
        self.ids = [c for c in store.ids if c in table.index and store.table.loc[c, "subject"] in allowed]
        if not self.ids:
            raise ValueError(
                f"{store.path}: no clip whose face may be shown; name the subjects that you may show in publishable"
            )
        if run and run.info["data"]["fingerprint"] != store.fingerprint:
            raise ValueError(f"{run.path} was trained on other clips than those of {store.path}")
        self.credit = licence.credit(store.table)
        self._llm: Loaded | None = None
        self._model = lru_cache(maxsize=2)(self._load)
        self._heat = lru_cache(maxsize=None)(self._grad_cam)

    @property
    def name(self) -> str:
        """The release's title, with "synthetic" before it where it is."""
        key = self.store.release["dataset"]
        return "synthetic " * self.store.release["synthetic"] + TITLES.get(key, key)

    @property
    def subjects(self) -> list[str]:
        """The subjects whose faces may be shown."""
        return list(dict.fromkeys(self.store.table.loc[self.ids, "subject"]))

    def clips(self, subject: str) -> list[str]:
        """A subject's clip ids."""
        return [c for c in self.ids if self.store.table.loc[c, "subject"] == subject]

    @cached_property
    def aus(self) -> list[str]:
        """The AUs to choose from: the run's, or those annotated."""
        return [f"AU{n}" for n in self.run.experiment.aus] if self.run else au_columns(self.store.table)

    def title(self, clip_id: str) -> str:
        """A clip's name in its release, and its AUs, for a list to choose from."""
        return f"{self.store.table.loc[clip_id, 'clip']} ({', '.join(self.truth(clip_id)) or 'no AU'})"

    def truth(self, clip_id: str) -> tuple[str, ...]:
        """The AUs annotated for a clip."""
        row = self.store.table.loc[clip_id]
        return tuple(au for au in au_columns(self.store.table) if row[au] == 1)

    def apex(self, clip_id: str) -> int:
        """The apex as a position in the clip, 0 = onset; the clip's middle where none is annotated inside it."""
        row = self.store.table.loc[clip_id]
        inside = pd.notna(row["apex"]) and 0 <= row["apex"] - row["onset"] < row["n_frames"]
        return int(row["apex"] - row["onset"]) if inside else int(row["n_frames"]) // 2

    @cached_property
    def _predictions(self) -> pd.DataFrame:
        return self.run.predictions().set_index("clip_id") if self.run else pd.DataFrame()

    def fold(self, clip_id: str) -> str:
        """The fold that tested a clip, without having trained on its subject; "" if no finished fold did."""
        return self._predictions.loc[[clip_id], "fold"].iloc[0] if clip_id in self._predictions.index else ""

    def probabilities(self, clip_id: str) -> pd.Series | None:
        """The probability of each AU by the fold that tested the clip; None if none did."""
        if not self.fold(clip_id):
            return None
        return self._predictions.loc[[clip_id]].set_index("au")["probability"].reindex(self.aus)

    def _load(self, fold: str) -> AULLM:
        assert self.run
        models = ensemble(self.run, folds=[fold], llm=self._llm)
        self._llm = models.llm
        return next(models.models())

    def model(self, clip_id: str) -> tuple[AULLM | None, str]:
        """The model of the fold that tested a clip, or None and the reason."""
        if not self.run:
            return None, "no trained run"
        if not self.fold(clip_id):
            return None, "no finished fold of the run tested this clip"
        try:
            return self._model(self.fold(clip_id)), ""
        except FileNotFoundError:
            return None, "the run kept no trained weights (keep_weights=True)"
        except ValueError as error:
            return None, str(error)

    def _samples(self, clip_id: str, count: int) -> tuple[torch.Tensor, np.ndarray]:
        """The frames of a clip that a model takes, grey [T, S, S], and their positions in the clip [T]."""
        stored = self.store[clip_id]
        positions = frame_positions(torch.tensor([len(stored)]), count)[0].numpy()
        frames = stored[positions]
        grey = frames if frames.ndim == 3 else (frames @ GREY).round().astype(np.uint8)
        return torch.from_numpy(grey), positions

    def _grad_cam(self, clip_id: str, au: str) -> np.ndarray:
        """Grad-CAM [T, S, S] of an AU in a clip's samples, between 0 and 1; the first sample has none."""
        model, _ = self.model(clip_id)
        assert model and self.run
        samples, _ = self._samples(clip_id, self.run.experiment.recipe.frames)
        maps = explain.grad_cam(model, samples[None], self.aus.index(au))[0].double().cpu().numpy()  # t-1 s s
        heat = np.zeros(samples.shape)
        heat[len(heat) - len(maps) :] = maps / max(maps.max(), np.finfo(np.float32).tiny)
        return heat

    def look(self, clip_id: str, frame: int, au: str, threshold: float = 0.5) -> View:
        """All that there is to see of one frame of a clip.

        Args:
            clip_id: One of ``ids``.
            frame: Its position in the clip, 0 = onset.
            au: The AU of the heat map, one of ``aus``.
            threshold: Of the probabilities.

        Raises:
            ValueError: The clip may not be shown, or has no such frame or AU.
            BadImage: The frame's file cannot be read any more.
        """
        if clip_id not in self.ids:
            raise ValueError(f"{clip_id} is not among the clips that may be shown here")
        stored = self.store[clip_id]
        if not 0 <= frame < len(stored):
            raise ValueError(f"{clip_id}: frame={frame}, and it has 0 to {len(stored) - 1}")
        if au not in self.aus:
            raise ValueError(f"au={au!r}: choose one of {', '.join(self.aus)}")
        model, reason = self.model(clip_id)
        samples, positions = self._samples(clip_id, self.run.experiment.recipe.frames if model and self.run else FRAMES)
        sample = int(np.abs(positions - frame).argmin())
        missing = {"probabilities": reason, "heat map": reason} if reason else {}
        filtered, limit, heat = None, 1.0, None
        led = model.backbone.led if model else LED(frames=len(samples))
        if led is None:
            missing["LED-filtered"] = "this variant has no temporal filter"
        elif sample == 0:
            missing["LED-filtered"] = "the filter begins with the second sample"
        else:
            with torch.no_grad():  # the model may be on a GPU
                motion = led(samples[None].to(model.head.weight) if model else samples[None])[0, 1:].cpu().numpy()
            filtered, limit = motion[sample - 1], max(float(np.quantile(np.abs(motion), 0.98)), 1e-6)
        if model:
            maps = self._heat(clip_id, au)
            heat = maps[sample]
            if not maps.any():
                missing["heat map"] = f"the map is 0 everywhere: nothing here speaks for {au}"
            elif sample == 0:
                missing["heat map"] = "no map: the CNN does not see the first sample"
        note, probabilities = self.credit, self.probabilities(clip_id)
        if probabilities is not None:
            missing.pop("probabilities", None)
            source = "Probabilities, filter and map are those" if model else "Probabilities are those"
            note = (
                f"{source} of the fold {self.fold(clip_id)}, which did not train on this subject; a probability is no "
                f"intensity. {note}"
            )
        return View(
            title=clip_id, frame=frame, n_frames=len(stored), sample=sample, samples=len(samples),
            raw=frame_files.read(self.table.loc[clip_id, "frames"][frame]), matrix=self.store.matrix(clip_id),
            aligned=stored[frame], sampled=samples[sample].numpy(), filtered=filtered, limit=limit,
            heat=heat, au=au, truth=self.truth(clip_id), probabilities=probabilities,
            threshold=threshold, missing=missing, note=note,
        )  # fmt: skip

"""What there is to see of a release, clip by clip and frame by frame: ``Release.look`` gives it to ``report.view``.

A clip's probabilities, filter and heat map are those of the fold that did not train on its subject.
"""

from collections.abc import Collection
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import torch

from aullm_lib.clips import ClipStore, frame_positions
from aullm_lib.datasets import TITLES
from aullm_lib.facs import au_columns
from aullm_lib.led import LED
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM
from aullm_lib.report import licence
from aullm_lib.report.figures.view import View
from aullm_lib.runs import Run
from aullm_lib.support import images
from aullm_lib.trained import ensemble

FRAMES = 6  # sampled where there is no model to say it
GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue in a stored colour frame


class Release:
    """What the explorer shows of one release.

    table: its clip table, for the frames' files; store: of the same clips; run: on that store, with weights kept, or
    None. publishable: subjects whose faces the user may show (``report.licence``).
    Raises ValueError where no subject may be shown, and for a run on other clips.
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
        self._heat: dict[tuple[str, str], np.ndarray] = {}
        self._model = lru_cache(maxsize=2)(self._load)

    @property
    def name(self) -> str:
        """The release's name, "synthetic" before it where it is."""
        key = self.store.release["dataset"]
        return "synthetic " * self.store.release["synthetic"] + TITLES.get(key, key)

    @property
    def subjects(self) -> list[str]:
        """Those whose faces may be shown."""
        return list(dict.fromkeys(self.store.table.loc[self.ids, "subject"]))

    def clips(self, subject: str) -> list[str]:
        """A subject's clip ids."""
        return [c for c in self.ids if self.store.table.loc[c, "subject"] == subject]

    @cached_property
    def units(self) -> list[str]:
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
        """The apex as a position in the clip, 0 = onset; its middle where the release has none, or none inside it."""
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
        """Of each AU of the run, by the fold that tested the clip; None if none did."""
        if not self.fold(clip_id):
            return None
        return self._predictions.loc[[clip_id]].set_index("au")["probability"].reindex(self.units)

    def _load(self, fold: str) -> AULLM:
        assert self.run
        found = ensemble(self.run, folds=[fold], llm=self._llm)
        self._llm = found.llm
        return next(found.models())

    def model(self, clip_id: str) -> tuple[AULLM | None, str]:
        """The model of the fold that tested a clip, or None and why."""
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

    def heat(self, model: AULLM, clip_id: str, unit: str, samples: torch.Tensor) -> np.ndarray:
        """Grad-CAM [T, S, S] of an AU in a clip's samples [1, T, S, S], between 0 and 1; made once."""
        from aullm_lib import explain  # here, since captum is slow to import

        if (clip_id, unit) not in self._heat:
            found = explain.grad_cam(model, samples, self.units.index(unit))[0].double().cpu().numpy()  # t-1 h w
            maps = np.zeros(samples.shape[1:])
            maps[len(maps) - len(found) :] = found / max(found.max(), np.finfo(np.float32).tiny)
            self._heat[clip_id, unit] = maps
        return self._heat[clip_id, unit]

    def look(self, clip_id: str, frame: int, unit: str, threshold: float = 0.5) -> View:
        """All that there is to see of a frame of a clip, 0 = onset.

        Raises ValueError for a clip that may not be shown, a frame or an AU that it does not have, ``BadImage`` where
        the frame's file cannot be read any more.
        """
        if clip_id not in self.ids:
            raise ValueError(f"{clip_id} is not among the clips that may be shown here")
        stored = self.store[clip_id]
        if not 0 <= frame < len(stored):
            raise ValueError(f"{clip_id}: frame={frame}, and it has 0 to {len(stored) - 1}")
        if unit not in self.units:
            raise ValueError(f"unit={unit!r}: choose one of {', '.join(self.units)}")
        model, why = self.model(clip_id)
        count = self.run.experiment.recipe.frames if model and self.run else FRAMES
        positions = frame_positions(torch.tensor([len(stored)]), count)[0]
        sample = int((positions - frame).abs().argmin())
        grey = stored if stored.ndim == 3 else (stored @ GREY).round().astype(np.uint8)
        samples = torch.from_numpy(grey[positions])[None]  # 1 t s s
        lacks = {"probabilities": why, "heat map": why} if why else {}
        filtered, limit = None, 1.0
        temporal = model.backbone.led if model else LED(frames=count)
        if temporal is None:
            lacks["LED-filtered"] = "this variant has no temporal filter"
        elif sample == 0:
            lacks["LED-filtered"] = "the filter begins with the second sample"
        else:
            with torch.no_grad():
                on = samples.to(model.head.weight) if model else samples  # the model may be on a GPU
                moved = temporal(on)[0, 1:].cpu().numpy()  # t-1 s s
            filtered, limit = moved[sample - 1], max(float(np.quantile(np.abs(moved), 0.98)), 1e-6)
        heat = self.heat(model, clip_id, unit, samples) if model else None
        if heat is not None and not heat.any():
            lacks["heat map"] = f"the map is 0 everywhere: nothing here speaks for {unit}"
        elif heat is not None and sample == 0:
            lacks["heat map"] = "no map: the CNN does not see the first sample"
        said = self.probabilities(clip_id)
        if said is not None:
            lacks.pop("probabilities", None)
        note = self.credit
        if said is not None:
            what = "Probabilities, filter and map are those" if model else "Probabilities are those"
            note = (
                f"{what} of the fold {self.fold(clip_id)}, which did not train on this subject; a probability is no "
                f"intensity.\n{note}"
            )
        return View(
            title=clip_id, frame=frame, n_frames=len(stored), sample=sample, samples=count,
            raw=images.read(self.table.loc[clip_id, "frames"][frame]), matrix=self.store.matrix(clip_id),
            aligned=stored[frame], sampled=grey[positions[sample]], filtered=filtered, limit=limit,
            heat=None if heat is None else heat[sample], unit=unit, truth=self.truth(clip_id), probabilities=said,
            threshold=threshold, lacks=lacks, note=note,
        )  # fmt: skip

"""User videos: probabilities of one clip, or of a long video window by window, with the weights of a run."""

from aullm_lib.predict.annotated import overlay
from aullm_lib.predict.many import videos
from aullm_lib.predict.prediction import COLUMNS, ClipPrediction, Prediction, Timeline
from aullm_lib.predict.scoring import clip, video
from aullm_lib.predict.tables import write
from aullm_lib.support.video import BadVideo

__all__ = [
    "COLUMNS", "BadVideo", "ClipPrediction", "Prediction", "Timeline", "clip", "overlay", "video", "videos", "write",
]  # fmt: skip

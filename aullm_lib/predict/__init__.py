"""User videos: probabilities of one clip, or of a long video window by window, with the weights of a run."""

from aullm_lib.predict.scoring import COLUMNS, Clip, Said, Timeline, clip, video

__all__ = ["COLUMNS", "Clip", "Said", "Timeline", "clip", "video"]

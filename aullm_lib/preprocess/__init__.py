"""From a clip table to its clip store: faces found, frames aligned, clips stored; and what is odd about a release."""

from aullm_lib.preprocess.alignment import ALIGNMENTS, NoFace, locate
from aullm_lib.preprocess.building import build, settings

__all__ = ["ALIGNMENTS", "NoFace", "build", "locate", "settings"]

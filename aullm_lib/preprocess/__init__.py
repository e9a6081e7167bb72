"""From a clip table to its clip store: faces found, frames aligned, clips stored; and what is odd about a release."""

from aullm_lib.preprocess.building import ALIGNMENTS, NoFace, build, locate, settings

__all__ = ["ALIGNMENTS", "NoFace", "build", "locate", "settings"]

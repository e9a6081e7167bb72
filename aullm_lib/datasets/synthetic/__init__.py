"""Synthetic releases with known truth, in the true releases' layout.

specs     a release's combinations of AUs, lengths and names
plan      which AUs each clip carries, and its numbers
anatomy   identity parameters of a subject
portrait  identity -> a neutral face
muscles   AU -> motion and shading of the skin
film      a subject before the camera; a clip: time courses and nuisances
layouts   the trees, the cameras and the coding workbooks
release   `synthesize`: everything, onto the disk
"""

from aullm_lib.datasets.synthetic.release import synthesize

__all__ = ["synthesize"]

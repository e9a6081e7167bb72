"""Synthetic releases with known truth, in the true releases' layout.

specs     a release's combinations of AUs, lengths and names
plan      which AUs each clip carries, and its numbers
head      the mesh of a head, its shapes of people, its units of facial motion
anatomy   a subject: weights of these shapes; skin, eyes, hair
raster    which triangle each pixel shows
portrait  a subject before the camera: skin, eyes and hair in the studio's light
muscles   AU -> displacement of the skin in mm
film      a clip: fields, their courses, nuisances; the frames
truth     what moved in a clip, exactly
layouts   the trees, the cameras and the coding workbooks
release   `synthesize`: everything, onto the disk
"""

from aullm_lib.datasets.synthetic.release import synthesize
from aullm_lib.datasets.synthetic.truth import Motion, motion

__all__ = ["Motion", "motion", "synthesize"]

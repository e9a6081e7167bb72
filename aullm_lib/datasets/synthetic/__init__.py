"""Synthetic releases with known truth, in the true releases' layout.

anatomy   identity parameters of a subject        plan      which AUs each clip carries, and its names and numbers
portrait  identity -> a neutral face              sheets    the coding workbooks
muscles   AU -> motion and shading of the skin    release   `synthesize`: everything onto the disk
face      both together; `render_still`
film      a clip: time courses and nuisances
"""

from aullm_lib.datasets.synthetic.release import VERSION, synthesize

__all__ = ["VERSION", "synthesize"]

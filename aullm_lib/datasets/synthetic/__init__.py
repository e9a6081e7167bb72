"""Synthetic releases with known truth, in the true releases' layout.

anatomy   identity parameters of a subject        specs     a release's combinations of AUs, lengths and names
portrait  identity -> a neutral face              plan      which AUs each clip carries, and its numbers
muscles   AU -> motion and shading of the skin    sheets    the coding workbooks
face      both together; `render_still`           layouts   the trees and the cameras
film      a clip: time courses and nuisances      errata    what is known to be odd in the true releases
shoot     a clip onto the disk                    quirks    plants it, on a `stage`
release   `synthesize`: everything
"""

from aullm_lib.datasets.synthetic.release import VERSION, synthesize

__all__ = ["VERSION", "synthesize"]

"""What notebooks need: checked parameters, folders and records, teachers, batches, the explorer, the site."""

from aullm_lib.notebook.executed import command, not_run
from aullm_lib.notebook.parameters import ParameterError, given, start
from aullm_lib.notebook.sources import execution, experiment, frames, releases, trained_releases, with_weights

__all__ = [
    "ParameterError", "command", "execution", "experiment", "frames", "given", "not_run", "releases", "start",
    "trained_releases", "with_weights",
]  # fmt: skip

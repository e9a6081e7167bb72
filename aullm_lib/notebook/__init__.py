"""What notebooks need: checked parameters, folders and records, teachers, batches, the explorer, the site."""

from aullm_lib.notebook.parameters import ParameterError, given, licensed, start
from aullm_lib.notebook.teachers import with_teachers

__all__ = ["ParameterError", "given", "licensed", "start", "with_teachers"]

"""What notebooks need beside the library: checked parameters, folders and records, batches, the explorer, the site."""

from aullm_lib.notebook.parameters import ParameterError, licensed, start

__all__ = ["ParameterError", "licensed", "start"]

"""AU-LLM (arXiv 2507.21778) as a reproducibility kit: from a release on disk to the paper's tables and figures."""

__version__ = "0.1.0"

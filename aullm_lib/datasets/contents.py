"""What lies in a folder where a release was not found, and what to do about it."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from aullm_lib.support.images import IMAGES

ADVICE = {  # of files in forms that are not read
    r"xls|xlsb|csv|tsv|ods|numbers|gsheet": "open it and save it as .xlsx (Excel workbook)",
    r"zip|rar|7z|tar|t?gz|bz2|xz|z\d\d|\d\d\d": "unpack it; all its parts have to lie together",
    r"avi|mp4|m4v|mov|mkv|webm|wmv|mpe?g|flv": "a video is read where it lies and is named as its clip's folder would, "
    "such as sub01/EP02_01f.avi",
    r"webp|tiff?|gif|jp2|heic|avif|jfif|p[gpn]m|npy|npz|mat|h5|hdf5": "convert the frames to PNG with the same names",
}
SHOWN = 8  # folders and forms that a message names


def describe(root: Path, folders: Iterable[Path]) -> tuple[str, bool]:
    """What the folders hold, for a message.

    Args:
        root: what names are given relative to.
        folders: the folders to look into; those directly below the root are named.

    Returns:
        The description, and whether something is there in a form that is not read.
    """
    forms, below, pictures = defaultdict[tuple[str, str], list[str]](list), list[str](), list[str]()
    for folder in folders:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        if any(Path(entry.name).suffix.lower() in IMAGES for entry in entries):
            pictures.append(os.path.relpath(folder, root))
        for entry in entries:
            if entry.name.startswith((".", "~$", "__MACOSX")):
                continue
            ending = entry.name.rpartition(".")[2].casefold()
            advice = next((advice for endings, advice in ADVICE.items() if re.fullmatch(endings, ending)), None)
            if entry.is_file() and advice:
                forms[ending, advice].append(os.path.relpath(entry.path, root))
            elif folder == root and (entry.is_dir() or entry.is_file()):
                below.append(entry.name[:60] + "/" * entry.is_dir())
    parts = [
        (f"{len(paths)} .{ending} files, such as {paths[0]!r}" if len(paths) > 1 else repr(paths[0])) + f": {advice}"
        for (ending, advice), paths in list(forms.items())[:SHOWN]
    ]
    more = f" and {len(below) - SHOWN} more" if len(below) > SHOWN else ""
    there = f"{root.name or root} holds {', '.join(below[:SHOWN]) or 'nothing else'}{more}"
    if pictures:
        parts.append(f"images lie in {len(pictures)} folders, such as {pictures[0]!r}")
    return "; ".join([*parts, there]), bool(forms)

"""Whom given weights know: a network that was trained on the people it is tested on proves nothing.

``teacher.train`` leaves a note beside its weights. What comes without one (ImageNet and the like) is taken as it is.
"""

from pathlib import Path
from typing import Any

from aullm_lib.clips import ClipStore
from aullm_lib.support import files

NOTE = "teacher.json"


def note(weights: str | Path) -> dict[str, Any] | None:
    """What is written about weights, a teacher's folder or a view's inside it; None where nothing is.

    Raises ValueError for a note that is not readable.
    """
    folder = Path(weights).expanduser()
    for place in (folder, folder.parent):
        found = files.read_json(place / NOTE, missing=None)
        if found is not None:
            if not isinstance(found, dict) or not {"people", "fingerprint", "data"} <= found.keys():
                raise ValueError(f"{place / NOTE}: damaged, or written by another version; delete it and train anew")
            return found
    return None


def people(store: ClipStore) -> list[str]:
    """Who is in a store, to be compared with who is in another.

    Who a synthetic subject is depends on the seed and a number, whatever the release: a seed stands for all its people.
    """
    made = {release["dataset"]: release.get("made") for release in _releases(store.table.attrs)}

    def name(dataset: str, subject: str) -> str:
        how = made.get(dataset)
        return f"synthetic people of seed {how['seed']}" if how else f"{dataset}/{subject}"

    return sorted({name(*pair) for pair in zip(store.table["dataset"], store.table["subject"], strict=True)})


def refuse(weights: str | Path, store: ClipStore) -> None:
    """Raises ValueError for weights that were trained on clips or people of this store."""
    found = note(weights)
    if found is None:
        return
    both = sorted(set(found["people"]) & set(people(store)))
    if both or found["fingerprint"] == store.fingerprint:
        raise ValueError(
            f"{str(weights)!r} was trained on {both[0] if both else 'the same clips'}, and {store.path} holds them "
            "too: what it knows of them would leak into the test. Train it on other people"
        )


def label(found: dict[str, Any] | None) -> str:
    """ " (trained on ...)", in words, from a ``note``; nothing for none."""
    if found is None:
        return ""
    data, made = found["data"], found["data"].get("made")
    if made:
        return f" (trained on synthetic {data['dataset']}, intensity {made['intensity']:g}, seed {made['seed']})"
    return f" (trained on {'synthetic ' if data['synthetic'] else ''}{data['dataset']})"


def _releases(release: dict[str, Any]) -> list[dict[str, Any]]:
    """The releases that a store was built from: several if it was joined."""
    parts = release.get("parts")
    return [release] if parts is None else [one for part in parts for one in _releases(part["release"])]

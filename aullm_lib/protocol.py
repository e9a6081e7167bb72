"""Who is tested on what, and the guard against leaks.

Leave-one-subject-out (paper 4.1), cross-domain (Table 4), and leave-one-release-out, the field's strictest protocol
(CD6ME, Varanka et al. 2024): six releases, trained on five and tested on the sixth, no validation set, last epoch.

Labs that split alike have the same ``split_sha256``, whatever the order of clips and folds and the folds' names. It can
be recomputed from clip ids, ``release/subject/clip`` as in ``casme2/sub01/EP02_01``, without this library::

    hashes = [sha256(json.dumps([sorted(train), sorted(test)]).encode()).hexdigest() for train, test in folds]
    split = sha256("\\n".join(sorted(hashes)).encode()).hexdigest()
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd


class Leak(ValueError):
    """Train and test share a subject, a clip or the same frames; the message names them."""


class Fold(NamedTuple):
    name: str  # unique within a run, and a folder name
    train: tuple[str, ...]  # clip ids
    test: tuple[str, ...]


def fold_sha256(train: Iterable[str], test: Iterable[str]) -> str:
    """The SHA-256 of a fold's clip ids: of both lists, sorted, as JSON with a space after each comma, in ASCII."""
    return hashlib.sha256(json.dumps([sorted(train), sorted(test)]).encode()).hexdigest()


def split_sha256(folds: Iterable[str]) -> str:
    """The SHA-256 of all folds. folds: ``fold_sha256`` of each, which are sorted and joined by newlines."""
    return hashlib.sha256("\n".join(sorted(folds)).encode()).hexdigest()


def loso(table: pd.DataFrame) -> list[Fold]:
    """One fold per subject: tested on all clips of that subject, trained on those of all other subjects.

    Raises:
        ValueError: There are fewer than two subjects.
        Leak: The folds are not apart.
    """
    person = table["dataset"] + "-" + table["subject"]
    if person.nunique() < 2:
        raise ValueError(f"leave-one-subject-out needs at least 2 subjects, the table has {person.nunique()}")
    folds = [
        Fold(str(name), tuple(table.index[person != name]), tuple(table.index[person == name]))
        for name in sorted(person.unique())
    ]
    for fold in folds:
        refuse_leak(fold, table)
    return folds


def cross_domain(train: pd.DataFrame, test: pd.DataFrame) -> list[Fold]:
    """One fold: all clips of one release for training, all of another for testing (paper Table 4).

    Raises:
        ValueError: A table is empty.
        Leak: The two share a clip, a subject or frames.
    """
    if not len(train) or not len(test):
        raise ValueError("cross-domain needs clips to train on and clips to test on")
    names = ["+".join(sorted(table["dataset"].unique())) for table in (train, test)]
    fold = Fold("-to-".join(names), tuple(train.index), tuple(test.index))
    refuse_leak(fold, pd.concat([train, test[~test.index.isin(train.index)]]))
    return [fold]


def leave_one_release_out(table: pd.DataFrame) -> list[Fold]:
    """One fold per release: tested on all of its clips, trained on those of all other releases.

    With fewer releases on the training side (does more data help?) it is ``cross_domain``.

    Args:
        table: Clips of several releases, such as those of a joined store (``clips.join``).

    Raises:
        ValueError: There are fewer than two releases.
        Leak: Two releases share frames, as copies of CASME and CASME II may.
    """
    releases = sorted(table["dataset"].unique())
    if len(releases) < 2:
        raise ValueError(
            f"leave-one-release-out needs at least 2 releases, the table has {', '.join(releases) or 'none'}"
        )
    folds = []
    for release in releases:
        here = table["dataset"] == release
        folds.append(Fold(release, tuple(table.index[~here]), tuple(table.index[here])))
        refuse_leak(folds[-1], table)
    return folds


def growing(table: pd.DataFrame, test: str) -> dict[str, list[Fold]]:
    """Does more data help? One release tested with models trained on one other, then two, and so on to all others.

    Args:
        table: Clips of several releases; their order is that in which they are added.
        test: The release that is tested.

    Returns:
        The name of the release that was added last -> ``cross_domain``.

    Raises:
        ValueError, Leak: As ``cross_domain``.
    """
    tested = table["dataset"] == test
    added = list(table.loc[~tested, "dataset"].unique())
    return {
        name: cross_domain(table[table["dataset"].isin(added[: k + 1])], table[tested]) for k, name in enumerate(added)
    }


def refuse_leak(fold: Fold, table: pd.DataFrame) -> None:
    """Raises ``Leak`` if train and test share a clip, a subject, or (where the table has ``sha256``) equal frames."""
    both = set(fold.train) & set(fold.test)
    if both:
        raise Leak(f"fold {fold.name}: clip {min(both)} is in train and in test")
    train, test = table.loc[list(fold.train)], table.loc[list(fold.test)]
    shared = set(train["dataset"] + "/" + train["subject"]) & set(test["dataset"] + "/" + test["subject"])
    if shared:
        raise Leak(f"fold {fold.name}: subject {min(shared)} is in train and in test")
    if "sha256" in table:
        twins = train.index[train["sha256"].isin(test["sha256"])]
        if len(twins):
            twin = test.index[test["sha256"] == train.loc[twins[0], "sha256"]][0]
            raise Leak(f"fold {fold.name}: {twins[0]} (train) and {twin} (test) hold the same frames; drop one of them")


def fewer_subjects(folds: Sequence[Fold], table: pd.DataFrame, share: float, seed: int) -> list[Fold]:
    """The folds with a share of each one's training subjects; who is tested stays.

    The subjects are put in an order that depends on the seed and their names only, and each fold keeps the first of its
    own in that order: a smaller share's subjects are among a larger one's, and the folds keep nearly the same ones.

    Args:
        folds: On whom, and who is tested.
        table: Subjects, by clip id.
        share: In (0, 1]; of the number of subjects, rounded, at least one.
        seed: The experiment's.
    """
    person = table["dataset"] + "-" + table["subject"]
    order = sorted(person.unique(), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    reduced = []
    for fold in folds:
        of_clip = person[list(fold.train)]
        ordered = [name for name in order if name in set(of_clip)]
        kept = set(ordered[: max(1, round(share * len(ordered)))])
        reduced.append(fold._replace(train=tuple(c for c, name in of_clip.items() if name in kept)))
    return reduced


def described(folds: Sequence[Fold], table: pd.DataFrame) -> dict[str, Any]:
    """The releases that some folds train and test on, and their protocol by its name, as JSON values.

    Returns:
        ``train`` and ``test``: names of releases, sorted; ``protocol``: "leave-one-subject-out" where every subject has
        a fold that tests all of its clips and trains on all others, "leave-one-release-out" where every release has,
        "cross-domain" where no release is on both sides, else "custom".
    """
    train, test = (sorted(set(table.loc[[c for f in folds for c in f[side]], "dataset"])) for side in (1, 2))
    person = table["dataset"] + "/" + table["subject"]
    tested = [set(person[list(fold.test)]) for fold in folds]
    releases = table.groupby("dataset").groups
    whole = all(len(fold.train) + len(fold.test) == len(table) for fold in folds)
    name = "custom"
    if not set(train) & set(test):
        name = "cross-domain"
    elif whole and all(len(one) == 1 for one in tested) and sorted(set.union(*tested)) == sorted(person.unique()):
        name = "leave-one-subject-out"
    elif (
        whole and len(releases) > 1 and sorted(sorted(f.test) for f in folds) == sorted(map(sorted, releases.values()))
    ):
        name = "leave-one-release-out"
    return {"train": train, "test": test, "protocol": name}

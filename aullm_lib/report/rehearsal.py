"""What a synthetic release is like: whether it has shortcuts, by which anything but motion tells a label, and counts.

A method is to learn motion from it: nothing else of a clip, nor its place among the others, may say which AUs it shows.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from aullm_lib import facs
from aullm_lib.datasets import TITLES, documented
from aullm_lib.datasets.folders import numbered
from aullm_lib.datasets.synthetic.plan import plan
from aullm_lib.support import images

ERRORS = 3.0  # standard errors from 0.5, from where a value is said to tell something
_SPANS = {"casme2": "24, 61, 141", "samm": "30, 78, 101"}  # frames: fewest, median, most, as documented


def within_subjects(value: np.ndarray, label: np.ndarray, subject: np.ndarray) -> tuple[float, float]:
    """ROC-AUC over pairs of a subject's clips with and without an AU, and its standard error where nothing tells.

    Subjects' base rates cannot raise it, and no training lowers it below 0.5, as it does where folds are pooled. The
    error is that of stratified rank sums, with ties (Lehmann 1975). Both are NaN without such a pair.

    Args:
        value: What may tell, one per clip.
        label: Whether the clip shows the AU.
        subject: Whose it is.
    """
    above = pairs = variance = 0.0
    for who in np.unique(subject):
        v, y = value[subject == who], label[subject == who].astype(bool)
        n, m, k = len(v), int(y.sum()), int((~y).sum())
        if not m * k:
            continue
        ties = sum(t**3 - t for t in Counter(v.tolist()).values())
        above += stats.rankdata(v)[y].sum() - m * (m + 1) / 2
        pairs += m * k
        variance += m * k / 12 * (n + 1 - ties / (n * (n - 1)))
    return (above / pairs, np.sqrt(variance) / pairs) if pairs else (np.nan, np.nan)


def facts(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """What a clip has besides motion, by clip id: of its frames as they lie in the release, full ones.

    Args:
        table: Of the release's clips.
        root: The synthetic release.
    """
    first = pd.read_csv(root / "SYNTHETIC" / "faces.csv", dtype=str).set_index(["subject", "clip"])["image"]
    number, rows = Counter[str](), []
    for row in table.itertuples():
        number[row.subject] += 1
        frames = in_order((root / first[row.subject, row.clip]).parent)
        apex = len(frames) // 2 if pd.isna(row.apex) else int(row.apex - row.onset)
        ends = [images.read(frames[k]).mean() for k in (0, apex)]
        sizes = np.array([path.stat().st_size for path in frames])
        rows.append(
            {"clip length": len(frames), "clip's number": number[row.subject], "onset frame's number": row.onset,
             "apex' place": apex / (len(frames) - 1), "brightness": ends[0],
             "brightness, apex − onset": ends[1] - ends[0], "file size, mean": sizes.mean(),
             "file size, onset": sizes[0], "file size, apex": sizes[apex],
             "file size, apex : onset": sizes[apex] / sizes[0],
             "file size, largest : onset": sizes.max() / sizes[0]}
        )  # fmt: skip
    return pd.DataFrame(rows, index=table.index)


def in_order(folder: Path) -> list[Path]:
    """The frames of a clip by their number."""
    return [path for _, path in sorted(numbered(folder)[0].items())]


def shortcuts(table: pd.DataFrame, root: Path, aus: Collection[int]) -> pd.DataFrame:
    """``within_subjects`` of each of a synthetic release's ``facts`` and each AU.

    Args:
        table: Of the release's clips.
        root: The synthetic release.
        aus: Their numbers; one that no clip shows is left out.

    Returns:
        One row per AU and fact: ``area``, its ``error``, and ``shortcut``: is it more than ``ERRORS`` errors from 0.5?
    """
    subject, rows = table["subject"].to_numpy(), {}
    for name, value in facts(table, root).items():
        for au in [f"AU{number}" for number in aus if f"AU{number}" in table]:
            area, error = within_subjects(value.to_numpy(float), table[au].to_numpy(int), subject)
            rows[au, name] = (area, error, abs(area - 0.5) > ERRORS * error)
    index = pd.MultiIndex.from_tuples(rows, names=["au", "fact"])
    return pd.DataFrame(rows.values(), index, ["area", "error", "shortcut"])


def in_words(releases: dict[str, pd.DataFrame]) -> str:
    """The ``shortcuts`` of some releases by name, in words."""
    if not releases:
        return "No release here is synthetic: what tells the labels of genuine ones is not asked."
    lines = []
    for release, frame in releases.items():
        tested = frame.dropna()
        found = tested[tested["shortcut"].astype(bool)]
        named = "; ".join(f"{au} by {fact}: {row['area']:.2f}" for (au, fact), row in found.iterrows())
        lines.append(
            f"Synthetic {TITLES[release]}: of {len(tested)} values {len(found) or 'none'} "
            f"{'is' if len(found) < 2 else 'are'} more than three standard errors from 0.5"
            f"{f' ({named})' if named else ''}; by chance {2 * stats.norm.sf(ERRORS) * len(tested):.1f} would be."
        )
    return " ".join(lines)


def counts(release: str, seed: int) -> pd.DataFrame:
    """A synthetic release of the documented size beside what is documented; nothing is rendered for it.

    Args:
        release: "casme2" or "samm".
        seed: Of the release.
    """
    there = documented.CASME2[256] if release == "casme2" else documented.OTHERS[release]
    settings = {"release": release, "subjects": there.subjects, "clips_per_subject": None}
    clips, aus = plan(settings | {"intensity": 1.0, "seed": seed}), facs.BENCHMARK[release]
    shown = [{action.au for action in clip.actions} for clip in clips]
    rows: dict[str, tuple[object, object]] = {
        "clips": (len(clips), there.clips),
        "subjects": (len({c.subject for c in clips}), there.subjects),
    }
    for au in aus:
        those = [clip.subject for clip, seen in zip(clips, shown, strict=True) if au in seen]
        rows[f"AU{au}: clips, subjects"] = (
            f"{len(those)}, {len(set(those))}", f"{there.positives[au]}, {there.subjects_with[au]}"
        )  # fmt: skip
    rows["clips with none of these"] = (sum(not seen & set(aus) for seen in shown), there.empty)
    pairs = Counter((a, b) for seen in shown for a in aus for b in aus if a < b and {a, b} <= seen)
    often = ", ".join(f"{a}+{b} {n}" for (a, b), n in pairs.most_common(6))
    rows["pairs most often together"] = (often, "not documented")
    rows["frames: least, median, most"] = (_span([c.offset - c.onset + 1 for c in clips]), _SPANS[release])
    per = list(Counter(clip.subject for clip in clips).values())
    rows["clips per subject: likewise"] = (_span(per), _span(list(there.by_subject.values())))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["synthetic", "documented"]).astype(str)


def _span(values: Sequence[int]) -> str:
    return f"{min(values)}, {np.median(values):g}, {max(values)}"

"""The audit's arithmetic by hand."""

import pandas as pd
import pytest

from aullm_lib import audit, metrics
from aullm_lib.datasets.documented import CASME2, OTHERS, Counts


def test_constant_cells_are_found_to_the_decimal():
    counts = Counts("ten clips", 10, 2, {4: 2, 12: 5})
    # all-absent on AU4: absent F1 = 16 / 18, so 44.44; all-present: 4 / 12, so 16.67; AU12: 33.33 both ways
    cells = pd.DataFrame({"AU4": [44.4, 16.6, 44.5], "AU12": [33.3, 60.0, 33.4]}, index=["a", "b", "c"])
    found = audit.constants(cells, {"ten": counts})
    assert set(found.itertuples(index=False, name=None)) == {
        ("a", "AU4", 44.4, "all-absent", "ten"), ("b", "AU4", 16.6, "all-present", "ten"),
        ("a", "AU12", 33.3, "all-absent", "ten"), ("a", "AU12", 33.3, "all-present", "ten"),
    }  # fmt: skip
    low = audit.below(cells, counts)
    assert low.to_numpy().tolist() == [["b", "AU4", 16.6, 44.4]]


def test_the_published_cross_domain_cells_that_equal_a_constant():
    """By hand: 47.0, 41.5 and 45.1 on SAMM; on CASME II 47.8 (47.755) with 256 clips alone, 46.4 with 255 too."""
    samm = audit.constants(pd.DataFrame({"AU2": [47.0], "AU7": [41.5], "AU12": [45.1]}), {"samm": OTHERS["samm"]})
    assert len(samm) == 3
    versions = {str(n): CASME2[n] for n in (256, 255, 247)}
    found = audit.constants(pd.DataFrame({"AU2": [47.8], "AU12": [46.4]}), versions)
    assert dict(zip(found["au"], found["versions"], strict=True)) == {"AU2": "256", "AU12": "256, 255"}


def test_ways_to_choose_the_epoch():
    labels = pd.DataFrame(
        {"clip_id": list("abcd"), "au": "AU4", "fold": ["s", "s", "t", "t"], "subject": ["s", "s", "t", "t"],
         "label": [1, 0, 1, 0]}
    )  # fmt: skip
    said = {1: [0.9, 0.1, 0.4, 0.6], 2: [0.9, 0.9, 0.9, 0.1], 3: [0.1, 0.1, 0.9, 0.6]}
    trace = pd.concat([labels[["clip_id", "au", "fold"]].assign(epoch=e, probability=p) for e, p in said.items()])
    predictions = labels.assign(probability=said[3])
    ways = audit.by_epoch(predictions, trace)
    assert list(ways) == ["last epoch", "best epoch on test (2)", "best epoch a subject"]
    got = [frame.sort_values("clip_id")["probability"].tolist() for frame in ways.values()]
    assert got == [said[3], said[2], [0.9, 0.1, 0.9, 0.1]]
    for frame in ways.values():
        metrics.score(frame, resamples=10)
    with pytest.raises(ValueError, match="the trace lacks"):
        audit.by_epoch(predictions, trace[1:])

"""Which rows and columns of ours a table has, run or not, and what its reader has to know."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aullm_lib.experiment import AU_LLM
from aullm_lib.report import published
from aullm_lib.report.results import PLAIN, Result, title

TUNED = "test-tuned"  # of ``thresholds.POLICIES``


@dataclass(frozen=True)
class Row:
    """A row of ours in Table 1, 2 or 4, or a line for several that were not run."""

    label: str
    notebook: str  # that runs it
    name: str = ""  # of its results; "" where none was run
    printed: str = ""  # the publication's row, if it has one
    what: str = "it"  # that was not run

    def why(self, place: str) -> str:
        """Why it has no number."""
        return f"no run of {self.what} on {title(place)} is recorded under this profile ({self.notebook})"


def rows(number: int, found: Sequence[Result]) -> list[Row]:
    """The rows of a table: baselines in the printed order, those not run in one line, further ones, then AU-LLM's.

    found: the table's results. A further baseline is one of which this table prints nothing, and its row says so.
    """
    notebook = "05_cross_domain" if number == 4 else "03_baselines"
    ran = dict.fromkeys((result.method, result.name) for result in found if result.baseline)
    out, missing = [], []
    for method in published.BASELINES:
        if row := published.baseline(number, method):
            same = [Row(name, notebook, name, row[0]) for run, name in ran if run == method]
            out += same
            missing += [] if same else [row[1]]
    if missing:
        every = ", ".join(missing)
        label = every if len(missing) < 3 else f"{len(missing)} {'other ' * bool(out)}baselines"
        out.append(Row(label, notebook, what=every))
    further = [name for method, name in ran if not published.baseline(number, method)]
    out += [Row(f"{name} (no published number)", notebook, name) for name in further]
    own = au_llm(found)
    if number == 4:  # its printed row is that of no LLM in particular
        own = {name: result for name, result in own.items() if result} or {"AU-LLM": None}
    for name, result in own.items():
        names = known(name, result)
        printed = "" if names is None else "AU-LLM (Ours)" if number == 4 else names[0]
        out.append(Row(name, notebook if number == 4 else "llm in 02_train_loso", name, printed))
    return out


def known(name: str, result: Result | None) -> tuple[str, str] | None:
    """The publication's row and column for AU-LLM: by its LLM, or by name where it was not run."""
    if result:
        return published.llm(result.llm)
    return next((names for names in published.LLMS.values() if names[0] == name), None)


def short(name: str, names: tuple[str, str] | None) -> str:
    """A row's name as a column's: "Q2.5" for "AU-Qwen2.5(1.5B)"; names: of ``known``."""
    return name.replace(*names) if names else name.removeprefix("AU-LLM, ")


def au_llm(found: Iterable[Result]) -> dict[str, Result | None]:
    """AU-LLM's names -> a result of each: the publication's three in its order, None if not run, then other LLMs."""
    by_name: dict[str, Result] = {}
    for result in found:
        if not result.baseline and (result.name not in by_name or by_name[result.name].why):
            by_name[result.name] = result
    out: dict[str, Result | None] = {}
    for names in published.LLMS.values():
        same = {name: result for name, result in by_name.items() if known(name, result) == names}
        if same:
            out |= same
        else:
            out[names[0]] = None
    return out | by_name


def notes(
    number: int, places: Sequence[str], scored: Sequence[Result], policies: Sequence[str], differences: bool
) -> list[str]:
    """What a reader of the table has to know, a line each."""
    out = []
    for place in places:
        run = next((r for r in scored if r.where == place), None)
        if run:
            frame = run.predictions[0]
            how = "trained on the first, tested on the second" if " → " in place else "leave-one-subject-out, pooled"
            clips, subjects = frame["clip_id"].nunique(), frame["subject"].nunique()
            out.append(
                f"{'Synthetic release in the layout of ' * run.synthetic}{title(place)}: {clips} clips of {subjects} "
                f"subjects scored; {how}; in brackets, 95 % bootstrap intervals over subjects."
            )
    if scored and TUNED in policies:
        out.append(
            "Tuned on the test labels: every resample is tuned anew, so these intervals lie too high, as the numbers "
            f'do. The trivial classifier "random scores, {TUNED}" counts for them alone.'
        )
    if any(r.synthetic for r in scored):
        out.append(
            "The synthetic release is rendered and a check of the path: its numbers are no result on CASME II or SAMM, "
            "and no difference to the published numbers is computed."
        )
    seeds = sorted({len(r.runs) for r in scored})
    if seeds and seeds[-1] > 1:
        many = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
        out.append(f"Ours is the mean of the scores of {many} seeds, and an interval the mean of the seeds' intervals.")
    if any(r.method != AU_LLM for r in scored):
        out.append(
            "Baselines of ours are written anew for this kit and trained by recipes of their own, on the same clips as "
            "AU-LLM, each in the frame size and colours that it reads."
        )
    if any(r.variant == PLAIN for r in scored):
        out.append("3D-CNN: the plain network of the publication's Figure 3b, without a language model.")
    if differences:
        out.append("The interval of a difference is that of ours: the publication gives its numbers without one.")
        if number == 4:
            out.append("The publication does not say which LLM its Table 4 is of.")
    shown = "as its" if number == 4 else "to go by Table 4, whose"
    out.append(
        f"Published: {published.place(number)}, as printed. Its F1 is two-class macro F1, {shown} constant predictors "
        f"show. {published.comment(number)}"
    )
    return out

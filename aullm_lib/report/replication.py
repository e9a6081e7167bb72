"""The replication report of a profile: one document from its run folders, in the sections of a replication venue.

Every number is computed here from run folders or from the print, and stands beside links to the folders that it comes
from. What is missing or mixed (runs that were not made, of several revisions, of several versions of a release) is
said, with the command that fills it, and never keeps the report from being written.
"""

import ast
import dataclasses
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aullm_lib import baselines, facs
from aullm_lib.datasets import documented
from aullm_lib.experiment import AU_LLM
from aullm_lib.metrics import significance
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.recipe import Recipe, compared
from aullm_lib.report import cd6me, claims, document, printed, results, tables
from aullm_lib.report.claims import MISSING, UNTESTABLE
from aullm_lib.report.document import Block, Code, Figure, Grid, Heading, Items, Link, Text
from aullm_lib.report.results import ONE_OUT, RELEASES, Result, title
from aullm_lib.runs import Run
from aullm_lib.support import files
from aullm_lib.support.provenance import provenance

NAME = "replication"  # of the files
TITLE = "AU-LLM: a replication report"
GAPS = "What is missing or mixed"  # heading of the section
PARTS = ("led", "backbone", "efp", "llm", "asl", "model", "explain.maps")  # of the paper, 3.1 to 3.4 and 4.6
SOURCES = {  # first words of a setting's source -> how they are counted
    "paper": "stated in the paper's text",
    "released script": "known from the released script alone",
    "ours": "in neither, and chosen here",
}
SCRIPT = (  # what no field of the recipe holds; the fields that differ are added from ``recipe.RELEASED``
    (
        "measure", "F1 of each AU, averaged (Eq. 5)", "two-class macro F1 of each AU over pooled folds, averaged",
        "both; the second decides, as it is the published tables' own",
    ),
    (
        "thresholds", "not stated", "for each AU the best of 16 on the pooled test labels",
        "nested (chosen on the other subjects) decides; 0.5 and the script's stand beside it",
    ),
    ("clips of CASME II", "247", "the sheet that is given", "the sheet that is given; casme2_variant=247"),
    (
        "faces", "not stated", "the whole frame, squashed to 64×64, or crops where they are given",
        "found in the onset frame and aligned; align=whole-frame for the script's",
    ),
    ("clips of seven frames", "not stated", "all are taken, and the 6×6 filter fails", "six are taken, as of others"),
    ("LED's rates", "learned", "stored as logarithms, which lets them pass 1", "stored as logits: between 0 and 1"),
    ("seed", "not stated", "1, set once before all folds", "one for each fold, so that a fold is the same by itself"),
    ("runs", "not stated", "one", "as many seeds as the profile asks for, with their variance"),
)  # fmt: skip
FIGURES = {  # file -> notebook, caption, what is seen
    "fig1_architecture": (
        "06_visualize", "Figure 1: the model's parts with shapes and parameters, and one held-out clip on its way.",
        "Boxes from six frames through LED, 3D-CNN, EFP and LLM to the logits of the AUs",
    ),
    "fig2_ablations": (
        "07_paper", "Figure 2: the average of every ablation of Table 3, with intervals over subjects.",
        "Bars of two-class macro F1, one for each ablation and language model, with error bars",
    ),
    "fig3_attention": (
        "06_visualize", "Figure 3: heat maps of AU-LLM and of the plain 3D-CNN over held-out clips, and SE's weights.",
        "Rows of face frames with heat maps, and a matrix of channel weights over time",
    ),
    "claims": (
        "07_paper", "Every comparison of every claim with its interval; open signs are what 4 of 5 tests would find.",
        "Points with intervals around zero, one line for each comparison, grouped by claim",
    ),
    "scores_per_au": (
        "07_paper", "AU-LLM's two-class macro F1 of each AU with its interval, beside the always-negative classifier.",
        "Points with intervals for each AU, bars for the trivial classifier behind them",
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Profile:
    """What a report is made of.

    Attributes:
        name: Of the profile.
        command: That runs it.
        figures: The folder of tables and figures, into which the report is written.
        results: The folder of runs.
        localisation, integrity: The folders that ``06_visualize`` and ``01_preprocess`` wrote; they need not be there.
        not_run: The notebooks that were not run to their end.
    """

    name: str
    command: str
    figures: Path
    results: Path
    localisation: Path
    integrity: Path
    not_run: Sequence[str] = ()

    @cached_property
    def loaded(self) -> tuple[list[Result], list[str]]:
        """The results, and what ``results.load`` warned of."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = results.load(self.results)
        return found, [str(one.message) for one in caught]

    @cached_property
    def found(self) -> list[Result]:
        """The results; synthetic ones are left out where there are licensed ones."""
        licensed = [r for r in self.loaded[0] if not r.synthetic]
        return licensed or self.loaded[0]

    @cached_property
    def runs(self) -> list[Run]:
        return [run for r in self.found for run in r.runs]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The name of a run's folder -> its number in the list of runs."""
        return {run.path.name: number for number, run in enumerate(self.runs, 1)}

    @property
    def synthetic(self) -> bool:
        return any(r.synthetic for r in self.found)

    def fill(self, **parameters: str) -> str:
        """The command with some parameters, or for one notebook (``only``)."""
        given = " ".join(f"--only {v}" if k == "only" else f"-p {k}={v}" for k, v in parameters.items())
        return claims.filled(self.command, given)

    def path(self, target: Path) -> str:
        """A path relative to the report."""
        return Path(os.path.relpath(target, self.figures)).as_posix()

    def cite(self, names: Iterable[str]) -> Text:
        """Links to run folders by number: "R3", or "R3 to R7"."""
        known = sorted({self.numbers[name] for name in names if name in self.numbers})
        spans: list[list[int]] = []
        for number in known:
            if spans and number == spans[-1][1] + 1:
                spans[-1][1] = number
            else:
                spans.append([number, number])
        parts: list[str | Link | Code] = []
        for first, last in spans:
            parts += [", "] * bool(parts) + [self._link(first)]
            parts += [] if first == last else ([", "] if last == first + 1 else ["to"]) + [self._link(last)]
        return parts

    def _link(self, number: int) -> Link:
        return Link(f"R{number}", self.path(self.runs[number - 1].path) + "/")


def write(profile: Profile, content: Sequence[Block]) -> list[Path]:
    """Writes the report as replication.md, .html, .tex and .json (its provenance).

    Args:
        profile: Whose report it is.
        content: ``blocks`` of the profile.

    Returns:
        The files that were written.

    Raises:
        OSError: The folder of figures cannot be written.
    """
    paths = [profile.figures / f"{NAME}.{end}" for end in ("md", "html", "tex", "json")]
    texts = [draw(TITLE, content) for draw in (document.markdown, document.page, document.latex)]
    with files.explained(profile.figures, "the replication report"):
        for path, text in zip(paths, texts, strict=False):
            files.write_text(path, text)
        files.write_json(paths[-1], results.made_by(profile.found))
    return paths


def blocks(profile: Profile) -> list[Block]:
    """The report.

    Raises:
        ValueError: A run folder is damaged; the message names the file.
    """
    at_hand = claims.Runs(profile.found, profile.localisation)
    compared = claims.table(at_hand)
    verdicts = claims.verdicts(compared)
    gaps = _missing(profile, verdicts)
    out: list[Block] = [Heading("Summary", 3), _label(profile), *_summary(profile, verdicts, gaps)]
    out += [Heading("Scope of the replication"), *_scope(verdicts)]
    out += [Heading("Data and their checks"), *_data(profile)]
    out += [Heading("Methods, and every departure with its reason"), *_methods(profile)]
    out += [Heading("Results, claim by claim"), *_results(profile, compared, verdicts)]
    out += [Heading("Tables and figures"), *_tables(profile), *_figures(profile)]
    out += [Heading("What was easy"), Items(_easy(profile))]
    out += [Heading("What was difficult"), Items(_difficult(profile, compared))]
    out += [Heading("What differs between text and script"), *_text_and_script()]
    out += [Heading("Limits"), Items(_limits(profile))]
    out += [Heading("Computing cost"), *_costs(profile)]
    out += [Heading(GAPS), *gaps]
    out += [Heading("Runs"), *_listed(profile)]
    return out


def _label(profile: Profile) -> Text:
    """What the numbers are worth."""
    if not profile.found:
        return "No run is in this profile's results: what follows is decided by the print alone, or not at all."
    if profile.synthetic:
        return (
            f"A rehearsal on synthetic releases in the layout of {_layouts(profile)}: faces are rendered, no number "
            "here is a result on CASME II or SAMM, and none is compared with a published one."
        )
    return f"From licensed data: {_layouts(profile)}."


def _layouts(profile: Profile) -> str:
    names = dict.fromkeys(title(name) for run in profile.runs for name in [*run.info["train"], *run.info["test"]])
    return " and ".join(names)


# Summary and scope


def _summary(profile: Profile, verdicts: pd.DataFrame, gaps: Sequence[Block]) -> Iterator[Block]:
    rehearsal = " (a rehearsal, but for what the print decides)" * profile.synthetic
    yield f"The verdicts on the paper's {len(verdicts)} claims: {claims.counted(verdicts)}{rehearsal}."
    main = [r for r in profile.found if r.method == AU_LLM and r.variant == "all" and not r.why]
    rows = []
    for r in main:
        policy = _policy(r)
        mean, chance = 100 * r.score(policy).loc["mean"], 100 * r.trivial[CHANCE].loc["mean"]
        negative = 100 * r.trivial["always-negative"].loc["mean", "f1_macro"]
        rows.append(
            {
                "test set": _data_of(r), "model": r.name, "thresholds": policy, "seeds": str(len(r.runs)),
                "two-class macro F1": _score(mean, "f1_macro"), "F1 of Eq. 5": _score(mean, "f1"),
                "always-negative": tables.number(negative), "base-rate random": _score(chance, "f1_macro"),
                "runs": profile.cite(run.path.name for run in r.runs),
            }
        )  # fmt: skip
    if rows:
        caption = "AU-LLM in percent, beside trivial classifiers on the same labels, averaged over AUs"
        yield Grid(f"{caption} [95 % intervals over subjects; of guessing, over draws]", pd.DataFrame(rows))
    yield Grid(
        "The verdicts",
        pd.DataFrame(
            {
                "claim": [f"{key}: {row.words}" for key, row in verdicts.iterrows()],
                "verdict": [row.verdict + " (rehearsal)" * row.synthetic for row in verdicts.itertuples()],
                "comparisons supported": list(verdicts["supported"]),
                "which decides": list(verdicts["decisive"]),
            }
        ),
    )
    if gaps:
        yield "Something is missing or mixed; section 11 says what, and how to fill it."


def _policy(result: Result) -> str:
    """Nested thresholds, or 0.5 across domains, where there is no other subject to choose them on."""
    return "nested" if result.test_set in RELEASES else "fixed"


def _data_of(result: Result) -> str:
    return "synthetic, as " * result.synthetic + title(result.test_set)


def _score(mean: pd.Series, measure: str) -> str:
    low, high = (mean[f"{measure}_{end}"] for end in ("low", "high"))
    return _unbroken(f"{tables.number(mean[measure])} {tables.interval(low, high)}")


def _unbroken(number: str) -> str:
    """A number with its interval, in one line."""
    return number.strip().replace(" ", "\N{NO-BREAK SPACE}")


def _scope(verdicts: pd.DataFrame) -> Iterator[Block]:
    yield (
        "The paper (Liu et al.,",
        Link("arXiv 2507.21778", "https://arxiv.org/abs/2507.21778"),
        ") detects action units in micro-expressions with a language model that reads one visual token. What is "
        "replicated is its text, section 3 and 4; where the text is silent, what is publicly known of the script that "
        "its authors once released. Nothing of theirs is contained here. The claims:",
    )
    yield Grid(
        "What the paper claims, and where",
        pd.DataFrame({"claim": [*verdicts.index], "what": [*verdicts["words"]], "place": [*verdicts["place"]]}),
    )
    yield (
        "What decides each claim was fixed before anything was run, in",
        Code("aullm_lib/report/claims.py"),
        ": the difference between the full model and what it is compared with, averaged over seeds, tested by swapping "
        "whole subjects between the two, with p corrected over all tests of the claim (Holm). Supported: p below "
        f"{significance.LEVEL:g} in the claimed direction. Not supported: so in the other direction, or an interval, "
        "at the level of all those tests, that ends below the published margin. Else it cannot be told, and the "
        "smallest difference that one test would find in four of five cases says why. Intervals are those of the "
        "jackknife that leaves out one subject at a time, with the variance of the seeds where there are several.",
    )


# Data


def _data(profile: Profile) -> Iterator[Block]:
    first = {r.test_set: r for r in reversed(profile.found) if not r.why}
    if not first:
        yield "No run, no data."
        return
    counts, stored, folds = [], [], []
    for _, r in sorted(first.items()):
        labels, info = r.predictions[0], r.runs[0].info
        by_au = labels[labels["label"] == 1].groupby("au", sort=False).size()
        positives = ", ".join(f"{au} {by_au.get(au, 0)}" for au in labels["au"].unique())
        trivial = {name: 100 * frame.loc["mean"] for name, frame in r.trivial.items()}
        counts.append(
            {
                "test set": _data_of(r), "protocol": info["protocol"],
                "clips": f"{labels['clip_id'].nunique()}", "subjects": f"{labels['subject'].nunique()}",
                "clips that show each AU": positives,
                "always-negative": tables.number(trivial["always-negative"]["f1_macro"]),
                "base-rate random": _score(trivial[CHANCE], "f1_macro"),
            }
        )  # fmt: skip
        folds.append(
            {
                "test set": _data_of(r), "folds": f"{len(r.runs[0].folds)}",
                "SHA-256": Code(r.runs[0].split_sha256),
            }
        )  # fmt: skip
        parts = [part["release"] | {"align": part.get("align")} for part in info["data"].get("parts", [])]
        for part in parts or [info["data"] | {"align": info["store"].get("align")}]:
            stored.append(_stored(r, part, info))
    yield Grid("Clips and labels; trivial classifiers in percent of two-class macro F1", pd.DataFrame(counts))
    yield Grid("Where they are from, and how frames are stored", pd.DataFrame(stored).drop_duplicates())
    yield from _documented(first)
    yield Grid("Folds, as a hash of the clips of each: labs whose hashes agree split alike", pd.DataFrame(folds))
    yield from _integrity(profile)


def _stored(result: Result, part: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Text]:
    """One release behind a test set."""
    made = part.get("made") or {}
    settings = [key for key in ("subjects", "clips_per_subject", "intensity", "seed") if key in made]
    rendered = [f"{key.replace('_', ' ')} {'as documented' if made[key] is None else made[key]}" for key in settings]
    choices = [f"{key} {part[key]}" for key in ("variant", "images", "errata") if part.get(key) is not None]
    return {
        "test set": _data_of(result), "release": title(part["dataset"]),
        "rendered with": ", ".join(rendered) if result.synthetic else "not rendered",
        "choices": ", ".join(choices), "frames": f"{info['store'].get('size', '?')} px, align {part.get('align')}",
        "fingerprint": Code(info["data"]["fingerprint"][:12]),
    }  # fmt: skip


def _documented(first: Mapping[str, Result]) -> Iterator[Block]:
    rows = []
    for release in (name for name in RELEASES if name in first):
        r = first[release]
        labels = r.predictions[0]
        clips = labels["clip_id"].nunique()
        likely = clips if release == "casme2" and clips in documented.CASME2 else None  # which sheet it is
        there = documented.counts(release, r.runs[0].info["data"].get("variant") or likely)
        if there is None:
            continue
        here = labels[labels["label"] == 1].groupby("au").size()
        positives = ", ".join(f"{au} {n}" for au, n in there.positives.items() if au in facs.BENCHMARK[release])
        same = not r.synthetic and (
            (clips, labels["subject"].nunique()) == (there.clips, there.subjects)
            and all(here.get(f"AU{au}", 0) == there.positives.get(au, 0) for au in facs.BENCHMARK[release])
        )
        agrees = "rendered: not compared" if r.synthetic else "yes" if same else "no"
        rows.append(
            {
                "release": title(release), "documented version": there.source, "clips": f"{there.clips}",
                "subjects": f"{there.subjects}", "positives by AU": positives, "agrees": agrees,
            }
        )  # fmt: skip
    if rows:
        yield Grid("What is documented of the true releases", pd.DataFrame(rows))


def _integrity(profile: Profile) -> Iterator[Block]:
    """How many findings there are of each kind; which clips they name stays in the file."""
    lines: list[Text] = []
    for path in sorted(profile.integrity.glob("*.csv")):
        findings = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not {"check", "status"} <= set(findings):
            continue  # no integrity report
        warned = findings[findings["status"] == "warning"]["check"].value_counts()
        kinds = "; ".join(f"{kind} ({n})" for kind, n in warned.items()) or "none"
        notes = (findings["status"] == "note").sum()
        lines.append(
            (
                f"{title(path.stem)}: {len(findings)} checks, {notes} notes, {len(warned) and warned.sum()} warnings:",
                f"{kinds},", Link(path.name, profile.path(path)),
            )
        )  # fmt: skip
    if lines:
        yield "The integrity report of the clips on disk:"
        yield Items(lines)
    else:
        yield ("The integrity report of the clips on disk was not made:", Code(profile.fill(only="01_preprocess")))


# Methods


def _source(module: str) -> ast.Module:
    spec = find_spec(f"aullm_lib.{module}")
    assert spec and spec.origin
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def departures(module: str) -> list[str]:
    """What a module of the library says of itself under "Where this departs, and why", point by point."""
    found = re.search(r"departs,\s+and\s+why:\s*(.*)", ast.get_docstring(_source(module)) or "", re.DOTALL)
    if not found:
        return []
    text = found[1].split("\n\n")[0].replace("``", "")
    points = re.split(r"^- ", text, flags=re.MULTILINE) if text.startswith("- ") else [text[0].upper() + text[1:]]
    return [" ".join(point.split()) for point in points if point.strip()]


def behind(method: str) -> list[str]:
    """The modules of a baseline, its own first, then those of its kind that it is built from."""
    found, open_ = dict[str, None](), [f"baselines.{baselines.METHODS[method]}"]
    for module in open_:
        if module not in found:
            found[module] = None
            for node in ast.walk(_source(module)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aullm_lib.baselines"):
                    below = [f"{node.module}.{name.name}" for name in node.names] + [str(node.module)]
                    names = (name.removeprefix("aullm_lib.") for name in below)
                    open_ += [name for name in names if name.count(".") == 1 and find_spec(f"aullm_lib.{name}")]
    return list(found)


def _methods(profile: Profile) -> Iterator[Block]:
    yield (
        "LED and a 3D-CNN with squeeze-and-excitation read six frames, the EFP makes one token of two levels of "
        "features, a language model with LoRA reads it beside a prompt, and a linear head, trained with the Asymmetric "
        "Loss, gives a logit for each AU. Folds hold out one subject each, or one release is trained on and the other "
        "tested; the last epoch is taken. Training stores probabilities; thresholds, scores and tests come afterwards."
    )
    yield Heading("Settings that the profile changed", 3)
    rows = []
    for r in profile.found:
        recipe = r.runs[0].experiment.recipe
        rows += [
            {"method": r.recipe if r.method == AU_LLM else r.method, "field": Code(name), "source's": a, "here": b}
            for name, a, b in _changed(r.method, r.recipe, recipe)
        ]
    unique = pd.DataFrame(rows).drop_duplicates() if rows else pd.DataFrame()
    if len(unique):
        if all(r.synthetic for r in profile.found):
            why = "The reason is the same for all: the profile's size, for which they were set in"
        else:
            why = "They were given when it was run, or are set in"
        yield why, Code(f"notebooks/profiles/{profile.name}.yaml"), "."
        yield Grid("Settings here that are not those of the named recipe", unique)
    else:
        yield "None: all runs have the settings of their named recipe."
    yield Heading("Departures from the paper's text and the released script", 3)
    for module in PARTS:
        yield from _departures(module)
    ran = dict.fromkeys(r.method for r in profile.found if r.method != AU_LLM)
    if ran:
        yield Heading("Departures of the baselines from their sources", 3)
        for module in dict.fromkeys(module for method in ran for module in behind(method)):
            yield from _departures(module)
    excluded = {r.name: r.not_comparable for r in profile.found if not r.comparable}
    if excluded:
        yield "Baselines that take part in no claim, for they began without the pretrained weights of their source:"
        yield Items([f"{name}: {why}" for name, why in excluded.items()])


def _departures(module: str) -> Iterator[Block]:
    points = departures(module)
    if points:
        yield (Code(f"{module.replace('.', '/')}.py"), ":")
        yield Items(points)


def _changed(method: str, name: str, recipe: Any) -> Iterator[tuple[str, str, str]]:
    """The fields in which a recipe is not the one of its name."""
    named = Recipe.named(name) if method == AU_LLM else baselines.recipe(method)
    for field in dataclasses.fields(recipe):
        a, b = getattr(named, field.name), getattr(recipe, field.name)
        if a != b and field.name not in ("name", "teacher"):  # a teacher is always given, as a folder
            yield field.name, _value(a), _value(b)


def _value(value: Any) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


# Results


def _results(profile: Profile, compared: pd.DataFrame, verdicts: pd.DataFrame) -> Iterator[Block]:
    yield (
        "Differences in points of two-class macro F1 unless said otherwise, full model less what it is compared with "
        "[95 % interval]; thresholds chosen on the other subjects, across domains 0.5. Those that are marked "
        "(beside) decide nothing."
    )
    for key, verdict in verdicts.iterrows():
        yield Heading(f"{key}: {verdict['words']}", 3)
        word = verdict["verdict"] + " (rehearsal)" * bool(verdict["synthetic"])
        yield f"{verdict['place']}. Verdict: {word}; {verdict['supported']} comparisons supported."
        rows = compared.xs(key, level="claim")
        run = rows[~rows["verdict"].isin([MISSING, UNTESTABLE])]
        lines = [_comparison(profile, names, row) for names, row in run.iterrows()]
        if lines:
            frame = pd.DataFrame(lines)
            yield Grid(f"{key}, every comparison that was run", frame.loc[:, frame.ne("").any()])
        if verdict["missing"]:
            yield (f"Not run: {verdict['missing']}. It runs with", Code(profile.fill(claims=f"[{key}]")), ".")


def _comparison(profile: Profile, names: Any, row: pd.Series) -> dict[str, Text]:
    data, model, against = names
    apart = f"{tables.number(row['difference'], signed=True)} {tables.interval(row['low'], row['high'])}"
    p = row["p (Holm)"]
    return {
        "against": against + " (beside)" * (not row["decides"]), "data": data, "model": model,
        "difference": "" if pd.isna(row["difference"]) else _unbroken(apart),
        "p": "" if pd.isna(p) else "< .001" if p < 0.001 else f"{p:.3f}",
        "detectable": "" if pd.isna(row["detectable"]) else tables.number(row["detectable"]),
        "published": "" if pd.isna(row["published"]) else tables.number(row["published"], signed=True),
        "seeds": "" if pd.isna(row["seeds"]) else f"{row['seeds']:.0f}",
        "verdict": row["verdict"], "runs": profile.cite(row["runs"].split()) or "the print",
    }  # fmt: skip


def _tables(profile: Profile) -> Iterator[Block]:
    """Tables 1 to 4 at the thresholds that decide, and Table 5 if it was run, each with the folders of its runs."""
    found, nested = profile.found, ["nested"]
    made = [tables.per_release(1, found, nested), tables.per_release(2, found, nested)]
    made += [tables.ablations(found, nested), tables.cross_domain(found)]
    made += [cd6me.table(found)] * any(ONE_OUT in r.test_set for r in found)
    for table in made:
        measure = tables.MEASURES["f1" if table.number == 5 else "f1_macro"]  # that protocol's own
        yield dataclasses.replace(table, frame=table.frame[table.frame["measure"] == measure])
        cited = profile.cite(Path(path).name for path in table.provenance["runs"])
        ends = {".md": "Markdown", ".csv": "CSV", ".tex": "LaTeX", "_scores.csv": "every score"}
        beside = [
            Link(name, f"{table.name}{end}")
            for end, name in ends.items()
            if (profile.figures / f"{table.name}{end}").is_file()
        ]
        whole = (
            ["; with both F1s and all threshold policies:", *_listing([[link] for link in beside])] if beside else []
        )
        parts: list[Any] = [f"Runs of Table {table.number}:", *_flat(cited or "none"), *whole, "."]
        yield parts


def _flat(text: Text) -> list[Any]:
    return [text] if isinstance(text, str | Link | Code) else list(text)


def _figures(profile: Profile) -> Iterator[Block]:
    known = {str(run.path) for run in profile.runs}
    for name, (notebook, caption, alt) in FIGURES.items():
        path = profile.figures / name
        if all(path.with_suffix(end).is_file() for end in (".png", ".pdf")):
            made = files.read_json(path.with_suffix(".json"), missing={})
            other = set(made.get("runs", {})) - known if isinstance(made.get("runs"), dict) else set()
            stale = f" Drawn from {len(other)} runs that are not those of this report: run {notebook} again." * bool(
                other
            )
            label = " Synthetic release: no result on CASME II or SAMM." * (made.get("synthetic") is not False)
            yield Figure(path, caption + label + stale, alt)


# In words


def _easy(profile: Profile) -> list[Text]:
    stated = _by_source()
    total = sum(stated.values())
    out: list[Text] = [
        f"The model from its text: of {total} settings of the model and its training, {stated['paper']} are stated in "
        "the paper, and LED, EFP and the loss are given as formulas.",
        "The protocol: leave-one-subject-out on public annotations, with one prediction for each clip, so that every "
        "score follows from stored probabilities and can be computed anew under another definition.",
    ]
    finished = [run for run in profile.runs if not run.missing]
    if finished:
        seconds = sum(run.seconds() for run in finished)
        out.append(
            f"Running it: the {len(finished)} runs of this report took {_duration(seconds)} of training in all; "
            "finished folds are kept, and the same command goes on."
        )
    return out


def _by_source() -> dict[str, int]:
    """How many settings are stated by whom; "token" of a source is its first word or two."""
    counts = dict.fromkeys(SOURCES, 0)
    for _, _, _, source in compared():
        word = next((word for word in SOURCES if source.startswith(word)), "ours")
        counts[word] += 1
    return counts


def _difficult(profile: Profile, frame: pd.DataFrame) -> list[Text]:
    stated = _by_source()
    grim = printed.everywhere(printed.grim)
    clips = [name for name in printed.versions("casme2") if name in grim]
    casme2 = grim[grim[clips].notna().all(axis=1)]
    impossible = {name: int((casme2[name] == 0).sum()) for name in clips}
    fit = ", ".join(f"{name}: {n}" for name, n in impossible.items())
    out: list[Text] = [
        f"What the text leaves open: {stated['released script']} settings are known from the released script alone, "
        f"{stated['ours']} had to be chosen here; N and B of Eq. 4 are not defined, sigma of Eq. 3 is not named, nor "
        "is the language model of Table 4.",
        "Which clips: the text says 247 clips of CASME II. Published cells that no confusion table of so many clips "
        f"prints, by version of the annotations: {fit}.",
        "The measure: Eq. 5 is the F1 of each AU; the published numbers are two-class macro F1, in which always saying "
        "'absent' scores about 45. Both are given throughout.",
    ]
    own = frame[frame["decides"] & frame["detectable"].notna() & (frame["measure"] == "f1_macro")]
    own = own[own.index.get_level_values("claim").isin([f"C{i}" for i in range(1, 8)])]
    if len(own):
        smallest = own["detectable"].median()
        out.append(
            f"Power: over the {len(own)} comparisons of C1 to C7 that were run, the median of the smallest difference "
            f"that one test would find in four of five cases is {smallest:.1f} points. The paper's margins over the "
            f"best baseline are {' and '.join(_margins())} points."
        )
    lacking = sorted({r.name for r in profile.found if not r.comparable})
    if lacking:
        out.append(f"Pretrained weights of the baselines' sources, which were not at hand for {', '.join(lacking)}.")
    return out


def _margins() -> list[str]:
    best = printed.over_baselines()["margin"].groupby(level="table").max()
    return [tables.number(float(best[place])) for place in best.index[:2]]


def _text_and_script() -> Iterator[Block]:
    rows: list[dict[str, Text]] = [
        {"what": Code(name), "paper": str(paper), "released script": str(script), "here": f"both; {source}"}
        for name, paper, script, source in compared()
        if paper != script
    ]
    rows += [dict(zip(("what", "paper", "released script", "here"), line, strict=True)) for line in SCRIPT]
    yield "Differences as far as they are known; each is a fact about two texts, and none is a remark on anybody."
    yield Grid("The paper's text, the script that was released for a time, and what is done here", pd.DataFrame(rows))


def _limits(profile: Profile) -> list[Text]:
    seeds = sorted({len(r.runs) for r in profile.found}) or [0]
    out: list[Text] = []
    if profile.synthetic:
        out.append(
            "Rendered faces and planted action units: the report shows that the path works and that its tests can be "
            "decided, and says nothing about CASME II or SAMM. Language models that are small or random are none of "
            "the paper's."
        )
    subjects = sorted({r.predictions[0]["subject"].nunique() for r in profile.found if not r.why})
    if subjects:
        out.append(
            f"{_span(subjects)} subjects, {_span(seeds)} {'seed' if seeds[-1] == 1 else 'seeds'}: intervals hold for "
            "these clips and for people like these; AUs that few subjects show have none."
        )
    out += [
        "Probabilities are trained with a loss that weighs classes unequally: they are no frequencies.",
        "An action unit is a movement of the face: no emotion, and no sign of lying. Models trained on such data must "
        "not be used to judge people.",
    ]
    return out


def _span(values: Sequence[int]) -> str:
    return f"{values[0]}" if values[0] == values[-1] else f"{values[0]} to {values[-1]}"


# Costs, gaps, runs


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _row_name(result: Result) -> str:
    return result.name if result.baseline else f"{result.name}, {result.variant}"


def _costs(profile: Profile) -> Iterator[Block]:
    rows = []
    for r in profile.found:
        costs = pd.concat([run.costs() for run in r.runs])
        if costs["seconds"].isna().all():
            continue
        means, trained = costs.mean(), costs[["trained_parameters", "total_parameters"]].mean() / 1e6
        parameters = ["" if np.isnan(value) else f"{value:.2f}" for value in trained]
        rows.append(
            {
                "data": _data_of(r), "row": _row_name(r),
                "parameters trained (M)": parameters[0], "in all (M)": parameters[1],
                "s per fold": f"{means['seconds']:.1f}", "folds × seeds": f"{len(costs)}",
                "in all": _duration(costs["seconds"].sum()),
                "peak memory (MB)": "" if np.isnan(means["peak_memory_mb"]) else f"{costs['peak_memory_mb'].max():.0f}",
                "device": "; ".join(dict.fromkeys(name for run in r.runs for name in run.devices())),
                "runs": profile.cite(run.path.name for run in r.runs),
            }
        )  # fmt: skip
    if not rows:
        yield "Nothing was run."
        return
    total = sum(run.seconds() for run in profile.runs)
    yield f"Training and test of all folds took {_duration(total)}; preprocessing and figures are not counted."
    yield Grid("What each row took", pd.DataFrame(rows))


def _missing(profile: Profile, verdicts: pd.DataFrame) -> list[Block]:
    """What is missing, and what comes from more than one source, with what to do about it."""
    again = "run its notebook again"
    lines: list[Text] = []
    if not profile.loaded[0]:
        lines.append((f"No run lies in {profile.results}:", Code(profile.command), "makes them."))
    lines += [(f"{name} was not run to its end:", Code(profile.fill(only=name))) for name in profile.not_run]
    lines += [f"{warning}." for warning in profile.loaded[1]]
    for r in profile.found:
        where = f"{_row_name(r)}, {_data_of(r)}"
        if r.why:
            lines.append(f"{where}: not scored, for {r.why}; {again}.")
        if r.unfinished:
            names = ", ".join(f"{run.path.name} ({len(run.done)} of {len(run.folds)} folds)" for run in r.unfinished)
            lines.append(f"{where}: seeds that are not finished do not count: {names}; {again}.")
        if r.older:
            names = ", ".join(run.path.name for run in r.older)
            lines.append(f"{where}: passed over for newer runs or other settings: {names}; delete what is not wanted.")
    if len(profile.found) < len(profile.loaded[0]):
        lines.append("Synthetic runs lie beside licensed ones, and are left out: give each a profile of its own.")
    lines += _mixed(profile)
    for key, verdict in verdicts.iterrows():
        if verdict["missing"]:
            lines.append((f"{key}: not run is {verdict['missing']}:", Code(profile.fill(claims=f"[{key}]"))))
    for name, (notebook, *_) in FIGURES.items():
        if not (profile.figures / f"{name}.png").is_file():
            lines.append((f"{name} was not drawn:", Code(profile.fill(only=notebook))))
    return [Items(lines)] if lines else []


def _mixed(profile: Profile) -> Iterator[Text]:
    revisions: dict[str, list[str]] = {}
    variants: dict[tuple[str, str], list[str]] = {}
    for run in profile.runs:
        for made in run.made_by():
            git = made["git"]
            name = f"{git['revision'][:10]}{' with uncommitted changes' * git['changed']}" if git else "no git revision"
            revisions.setdefault(name, []).append(run.path.name)
        data = run.info["data"]
        for part in [part["release"] for part in data.get("parts", [])] or [data]:
            version = ", ".join(f"{key} {part.get(key)}" for key in ("variant", "images", "errata"))
            variants.setdefault((part["dataset"], version), []).append(run.path.name)
    if len(revisions) > 1 or any("uncommitted" in name for name in revisions):
        told = [[f"{name} (", *_flat(profile.cite(names)), ")"] for name, names in revisions.items()]
        yield (
            "Code of more than one state trained these runs:",
            *_listing(told),
            "; for one, train again from one revision.",
        )
    for release in dict.fromkeys(release for release, _ in variants):
        several = [(version, names) for (one, version), names in variants.items() if one == release]
        if len(several) > 1:
            told = [[f"{version} (", *_flat(profile.cite(names)), ")"] for version, names in several]
            yield (f"Versions of {title(release)} are mixed:", *_listing(told), "; train again on one of them.")


def _listing(parts: Sequence[Sequence[Any]]) -> list[Any]:
    return [item for number, part in enumerate(parts) for item in ([", "] * bool(number) + list(part))]


def _listed(profile: Profile) -> Iterator[Block]:
    made = provenance()
    git = made["git"]
    state = f"revision {git['revision']}{', with uncommitted changes' * git['changed']}" if git else "no git revision"
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    yield [f"This report was written by {state}; {versions}. Run and report:", Code(profile.command), "."]
    rows = []
    for r in profile.found:
        for run in r.runs:
            trained = {made["git"]["revision"][:10] if made["git"] else "no git" for made in run.made_by()}
            rows.append(
                {
                    "": f"R{profile.numbers[run.path.name]}",
                    "folder": Link(run.path.name, profile.path(run.path) + "/"), "test set": _data_of(r),
                    "row": _row_name(r), "seed": f"{run.experiment.seed}",
                    "folds": f"{len(run.done)} of {len(run.folds)}", "trained by": ", ".join(sorted(trained)),
                }
            )  # fmt: skip
    if rows:
        yield Grid(
            "The runs of this report, each a folder with its configuration and probabilities", pd.DataFrame(rows)
        )

"""The model card of a run folder that keeps weights: ``README.md``, whose metadata Hugging Face reads.

It says what a stranger needs before using the weights (Mitchell et al. 2019): data, protocol, scores beside trivial
classifiers, calibration, limits and ethics. All of it is counts, settings and scores: it names no subject, clip or fold
and no folder of a machine, and holds no annotation of a clip.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from huggingface_hub import EvalResult, ModelCardData

from aullm_lib import facs, metrics
from aullm_lib.datasets import TITLES
from aullm_lib.datasets.table import rendered
from aullm_lib.experiment import AU_LLM
from aullm_lib.metrics import calibration
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.model import needs_llm, parts_of
from aullm_lib.recipe import RELEASED
from aullm_lib.runs import Run
from aullm_lib.support import files
from aullm_lib.support.markdown import escape, table
from aullm_lib.trained import FILE as WEIGHTS
from aullm_lib.trained import Ensemble

FILE = "README.md"  # as Hugging Face calls a model card
TRIVIAL = ("always-negative", "always-positive", CHANCE)
SCORES = {"f1_macro": "Two-class macro F1", "f1": "F1 of Eq. 5"}
PAPER = "https://arxiv.org/abs/2507.21778"
ETHICS = (
    "An action unit is a movement of the face. It is no emotion, no intent, and no sign of lying or of illness.",
    "Please do not use this model to judge people: not in hiring, teaching, policing, courts, insurance or at borders. "
    "Who is filmed should know it and agree to it. Inferring emotions at work and in education is forbidden in the "
    "European Union, but for medical and safety reasons (Regulation 2024/1689, Article 5).",
    "Scores differ between people, and no group of people was compared: a mean says nothing on how well the model does "
    "on anybody in particular.",
)


def write(run: Run) -> Path | None:
    """Writes the card from the folds that are finished, in place of an earlier one.

    Returns:
        Its path, or None for a run that keeps no weights, which has no card.

    Raises:
        ValueError: A file of the run is damaged; the message names it.
        OSError: The folder cannot be written.
    """
    kept = tuple(path for name in run.done if (path := run.fold(name) / WEIGHTS).is_file())
    if not kept:
        return None
    path, text = run.path / FILE, _text(run, kept)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with files.explained(path, "the model card"):
            files.write_text(path, text)
    return path


def _text(run: Run, kept: tuple[Path, ...]) -> str:
    predictions, rehearsal = run.predictions(), rendered(run.info["data"])
    score, trivial = metrics.score(predictions), metrics.trivial(predictions)
    data = " and ".join(TITLES.get(name, name) for name in dict.fromkeys([*run.info["train"], *run.info["test"]]))
    data = data or "clips that run.json does not name"
    data = f"a synthetic release in the layout of {data}" if rehearsal else data
    experiment = run.experiment
    model = f"AU-LLM, {experiment.variant}" if experiment.method == AU_LLM else experiment.method
    title = f"{model}, trained on {data}"
    title = f"Rehearsal: {title}" if rehearsal else title
    parts = {
        "": _summary(run, data, rehearsal),
        "Model": _model(run, kept),
        "Data": _data(run, predictions, data, rehearsal),
        "Protocol": _protocol(run, kept),
        "Scores": _scores(score, trivial),
        "Calibration": _calibration(predictions),
        "Limits": _limits(run, kept, predictions),
        "Ethics": _listed(ETHICS),
        "Recipe": _recipe(run),
        "Training": _training(run),
        "Use": _use(run),
    }
    body = [f"# {escape(title)}"]
    for heading, paragraphs in parts.items():
        body += [f"## {heading}"] * bool(heading) + list(paragraphs)
    return f"---\n{_metadata(run, title, data, rehearsal, score).to_yaml()}\n---\n\n" + "\n\n".join(body) + "\n"


def _metadata(run: Run, title: str, data: str, rehearsal: bool, score: pd.DataFrame) -> ModelCardData:
    experiment, names = run.experiment, "-".join(dict.fromkeys([*run.info["train"], *run.info["test"]]))
    kind = f"synthetic-{names}" if rehearsal else names
    results = [
        EvalResult(
            task_type="video-classification", task_name="Detection of action units in micro-expressions",
            dataset_type=kind or "unnamed", dataset_name=data, dataset_split=run.info["protocol"], metric_type="f1",
            metric_name=f"{name}, mean over AUs, in percent",
            metric_value=round(100 * float(score.loc["mean", key]), 1),
        )
        for key, name in SCORES.items()
        if pd.notna(score.loc["mean", key])
    ]  # fmt: skip
    # A hub's name, and no folder: run.json has the way to one that lies beside it.
    hub = re.fullmatch(r"[\w.-]+/[\w.-]+", experiment.llm) and "llm_folder" not in run.info
    return ModelCardData(
        license="mit" if rehearsal else "other",
        license_name=None if rehearsal else "licence-agreement-of-the-release",
        library_name="aullm_lib",
        pipeline_tag="video-classification",
        tags=["micro-expression", "facial-action-units", experiment.method]
        + ["rehearsal", "synthetic-data"] * rehearsal,
        base_model=experiment.llm if hub and _reads_llm(run) and not _random(run) else None,
        metrics=["f1"],
        model_name=title,
        eval_results=results or None,
    )


def _reads_llm(run: Run) -> bool:
    return run.experiment.method == AU_LLM and needs_llm(run.experiment.variant)


def _random(run: Run) -> bool:
    return parts_of(run.experiment.variant).random_llm


def _summary(run: Run, data: str, rehearsal: bool) -> Iterator[str]:
    units = ", ".join(f"AU{number}" for number in run.experiment.aus)
    yield f"Probabilities that action units occur in a short clip of a face: {units}. Trained on {escape(data)}."
    if rehearsal:
        yield (
            "**A rehearsal.** The faces are rendered and their movements planted: no number here is a result on a real "
            "release, and on a real face the model shows that the path works, no more."
        )
    else:
        yield (
            "**Licence.** The weights were trained on licensed data and are under that release's licence: whether and "
            "to whom they may be given is for its holders to say. This card holds settings, counts and scores; no "
            "subject, clip, annotation or picture is in it."
        )


def _model(run: Run, kept: tuple[Path, ...]) -> Iterator[str]:
    experiment, costs = run.experiment, run.costs()
    lines = [
        f"Method: {experiment.method}, variant {experiment.variant}, recipe {run.info['recipe_name']}.",
        f"{len(kept)} of {len(run.folds)} folds keep their weights: each is a model of its own, trained without the "
        "clips that it is tested on.",
    ]
    if _reads_llm(run):
        lines.append(
            f"Language model: {_last(experiment.llm)}{', with random weights' * _random(run)}; identity of its weights "
            f"(SHA-256): {run.info['data'].get('llm', 'not noted')}. They are frozen, not in this folder, and under "
            "their own licence; here is what training changed."
        )
    for key, what in {"trained_parameters": "trained", "total_parameters": "in all"}.items():
        if costs[key].notna().any():
            lines.append(f"Parameters {what}: {costs[key].max():,.0f}.")
    lines.append("Written anew from publications; nothing of the paper's authors is in it.")
    yield from _listed(lines)


def _data(run: Run, predictions: pd.DataFrame, data: str, rehearsal: bool) -> Iterator[str]:
    info, store = run.info["data"], run.info["store"]
    sizes = sorted({fold["train_clips"] for fold in run.info["folds"]})
    lines = [
        f"{info['clips']} clips of {data}; {sizes[0]}{f' to {sizes[-1]}' * (len(sizes) > 1)} of them train a fold.",
        f"Tested: {predictions['clip_id'].nunique()} clips of {predictions['subject'].nunique()} subjects.",
        f"Fingerprint of clips and frames (SHA-256): {info['fingerprint']}.",
    ]
    detector = (store.get("detector") or {}).get("name")
    told = {
        "pixels": store.get("size"), "alignment": store.get("align"), "faces found by": detector,
        "median length in frames": store.get("median_frames"),
    }  # fmt: skip
    if given := ", ".join(f"{key} {value}" for key, value in told.items() if value is not None):
        lines.append(f"Frames: {given}.")
    if rehearsal:
        lines.append("The release is rendered by aullm_lib.datasets.synthesize; its croissant.json describes it.")
    yield from _listed(lines)


def _protocol(run: Run, kept: tuple[Path, ...]) -> Iterator[str]:
    names = {key: ", ".join(TITLES.get(name, name) for name in run.info[key]) for key in ("train", "test")}
    yield from _listed(
        [
            f"{run.info['protocol']}: trained on {names['train'] or 'unnamed'}, tested on "
            f"{names['test'] or 'unnamed'}; {len(run.done)} of {len(run.folds)} folds are finished, and the scores are "
            "of these.",
            f"SHA-256 of the list of folds, the same in every lab that splits alike: {run.split_sha256}.",
            f"Seed {run.experiment.seed}. It is one run: other seeds are runs of their own and not in these numbers, "
            "and the intervals hold what varies between subjects, not what varies between seeds.",
            "No setting, epoch or threshold was chosen on the clips that are tested: the last epoch counts, at a "
            "threshold of 0.5.",
        ]
    )


def _number(value: float, low: float = float("nan"), high: float = float("nan")) -> str:
    """In percent, with its interval if there is one."""
    if pd.isna(value):
        return "–"
    return f"{100 * value:.1f}" + ("" if pd.isna(low) else f" [{100 * low:.1f}, {100 * high:.1f}]")


def _scores(score: pd.DataFrame, trivial: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    yield (
        "In percent, at a threshold of 0.5, pooled over folds, with 95 % intervals over subjects (of guessing: over "
        "draws), beside classifiers that see no clip. – is what these clips do not tell: an AU that does not occur, or "
        "an interval over too few subjects."
    )
    columns = {"this model": score} | {name: trivial[name] for name in TRIVIAL}
    for key, name in SCORES.items():
        what = {"f1_macro": "mean of the F1 of present and of absent", "f1": "F1 of present"}[key]
        rows = [
            [au, *(_number(*frame.loc[au, [key, f"{key}_low", f"{key}_high"]]) for frame in columns.values())]
            for au in score.index
        ]
        yield f"**{name}** ({what})"
        yield table(["AU", *columns], rows)
    rows = [
        [
            f"{au}, {facs.NAMES[int(au[2:])]}" if au != "mean" else "sum; mean",
            f"{line['TP'] + line['FN']:.0f} of {line[metrics.COUNTS].sum():.0f}",
            f"{line['positive_subjects']:.0f}" if au != "mean" else "",
            *(f"{line[count]:.0f}" for count in metrics.COUNTS),
            _number(line["roc_auc"], line["roc_auc_low"], line["roc_auc_high"]),
        ]
        for au, line in score.iterrows()
    ]
    yield "**Counts**"
    yield table(["AU", "clips that show it", "subjects who do", *metrics.COUNTS, "ROC-AUC"], rows)


def _calibration(predictions: pd.DataFrame) -> Iterator[str]:
    yield (
        "How far probabilities are from frequencies: the expected calibration error (ten bins of equal width), in "
        "percent. On few clips some of it remains by chance even where probabilities are right."
    )
    errors, means = calibration.expected_error(predictions), predictions.groupby("au")[["probability", "label"]].mean()
    rows = [
        [au, _number(error), _number(means.loc[au, "probability"]), _number(means.loc[au, "label"])]
        for au, error in errors.items()
    ]
    yield table(
        ["AU", "calibration error", "mean probability", "frequency"], [*rows, ["mean", _number(errors.mean()), "", ""]]
    )


def _limits(run: Run, kept: tuple[Path, ...], predictions: pd.DataFrame) -> Iterator[str]:
    subjects = predictions["subject"].nunique()
    yield from _listed(
        [
            *Ensemble(run.experiment, kept, run, None, torch.device("cpu")).limits()[:-1],  # the last one is of ethics
            f"{subjects} subjects were tested: the intervals hold for people, cameras and clips like these.",
        ]
    )


def _recipe(run: Run) -> Iterator[str]:
    """The fields that are not the defaults, with where each is from."""
    recipe = run.experiment.recipe
    paper = run.experiment.method == AU_LLM
    rows = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if field.name != "name" and value != field.default:
            shown = [value, field.default, *([RELEASED.get(field.name, field.default)] if paper else [])]
            texts = [json.dumps(_last(one) if _is_path(one) else one, ensure_ascii=False) for one in shown]
            rows.append([field.name, *texts, str(field.metadata.get("source", ""))])
    standard = "the paper's text (and the released script where the text is silent)" if paper else "the method's recipe"
    if not rows:
        yield f"Every setting is that of {standard}."
        return
    yield f"Settings that depart from {standard}; all are in run.json."
    yield table(["setting", "here", "paper" if paper else "default", *["released script"] * paper, "source"], rows)


def _is_path(value: Any) -> bool:
    """Whether a setting is a place on a machine, such as that of pretrained weights."""
    return isinstance(value, str) and re.match(r"[/\\~]|[A-Za-z]:[/\\]|\.\.?[/\\]", value) is not None


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _training(run: Run) -> Iterator[str]:
    costs, made = run.costs(), run.made_by()
    lines = [
        f"{run.seconds():.0f} s of training and test in all, {costs['seconds'].mean():.1f} s a fold; "
        f"{'; '.join(run.devices())}.",
    ]
    if costs["peak_memory_mb"].notna().any():
        lines.append(f"Peak memory {costs['peak_memory_mb'].max():.0f} MB.")
    for one in made:
        git = one["git"]
        code = f"revision {git['revision']}" if git else "no git revision"
        changed = ", with uncommitted changes" * bool(git and git["changed"])
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        lines.append(f"Code: {code}{changed}; {versions}.")
    yield from _listed(lines)


def _use(run: Run) -> Iterator[str]:
    yield (
        "```python\nfrom aullm_lib import trained\nfrom aullm_lib.runs import Run\n\n"
        'run = Run(".")  # this folder\nmodel = trained.load(run, run.folds[0])  # of one fold, in eval mode\n```'
    )
    if run.experiment.method == AU_LLM:
        yield "`aullm_lib.predict.clip` and `predict.video` read videos with it."
    if _reads_llm(run):
        yield "The language model's adapter of a fold is peft's own folder beside its weights, `adapter`."
    yield f"The paper that is reproduced: Liu et al., AU-LLM, [{PAPER}]({PAPER})."


def _listed(lines: Any) -> Iterator[str]:
    yield "\n".join(f"- {escape(line)}" for line in lines)

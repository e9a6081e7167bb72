"""The command ``aullm``, which ``python -m aullm_lib`` is, too: ``aullm --help``.

A subcommand's module is imported when it is asked for, so that help comes at once. Each has ``main(options)``, which
returns the exit code.
"""

import argparse
import logging
import math
import sys
from importlib import import_module
from typing import Any

log = logging.getLogger("aullm")

EXIT_CODES = """
exit codes:
  0    all is done
  1    something failed, each by its name; the others went on
  2    a wrong call or setting, or something is not there
  130  stopped with Ctrl-C; what is finished is kept
"""
PREDICT = """
examples:
  aullm predict talk.mp4 --run runs/demo/results/RUN --out talk
  aullm predict videos/ other/clip.avi --run RUN --out tables --length 0.5 --stride 0.25 --unit seconds
  aullm predict interview.mp4 --run RUN --out interview --neutral --policy nested
  aullm predict sub01/EP02_01f sub02/EP01_11 --run RUN --out tables

A folder with numbered pictures is one clip, a folder with videos is all of them. DIR gets of each
NAME.csv (one row per window and AU), NAME_wide.csv (one row per window), NAME.json (how it was made) and NAME.mp4 (the
video annotated), and summary.csv with one row per file: whether it is done, or why not. Nothing else that is there is
overwritten.
"""
REPORT = """
examples:
  aullm report
  aullm report paper
"""
KEEP = """
examples:
  aullm outputs demo
"""
CRATE = """
examples:
  aullm crate
  aullm crate paper

Weights stay out, and so does all that is licensed: annotations, frames, and scores of single clips.
"""
DEMO = """
examples:
  aullm demo
  aullm demo --only 00_quickstart --only 01_preprocess
  aullm demo -p seeds=[1,2]
"""
BATCH = """
examples:
  aullm batch demo-full
  aullm batch paper -p casme2_root=/data/CASME2 -p releases=[casme2] --only 02_train_loso -p seeds=[1,2,3]

Relative folders count from where the command is called.
"""
GRID = """
examples:
  aullm grid demo "recipe=paper,released seeds=1,2"
  aullm grid paper "llm=Qwen/Qwen2-1.5B,'/data/my model'" -p casme2_root=/data/CASME2 -p releases=[casme2]
  aullm grid demo grid.yaml
"""


def _positive(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return float(text)


def parser() -> argparse.ArgumentParser:
    """The options of every subcommand, and its ``module``."""
    root = argparse.ArgumentParser(
        "aullm", description="A reproducibility kit for AU-LLM (arXiv 2507.21778).", epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, module: str, does: str, examples: str, **more: Any) -> argparse.ArgumentParser:
        new = commands.add_parser(
            name, help=does, description=f"{does[0].upper()}{does[1:]}.", epilog=examples + EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **more,
        )  # fmt: skip
        new.set_defaults(module=f"aullm_lib.{module}", command=name)
        return new

    predict = command("predict", "predict.many", "predict the AUs of videos, window by window", PREDICT)
    predict.add_argument("source", nargs="+", metavar="VIDEO|FOLDER")
    predict.add_argument("--run", required=True, help="a run folder that kept its weights, or one weights.safetensors")
    predict.add_argument("--out", required=True, metavar="DIR", help="the folder of the tables")
    predict.add_argument("--fold", action="append", help="of the run (may be repeated); the mean of all by default")
    predict.add_argument("--llm", help="where the run's language model lies now, if not where training had it")
    predict.add_argument("--length", type=_positive, help="of a window; by default that of the run's median clip")
    predict.add_argument("--stride", type=_positive, help="from window to window; by default half the length")
    predict.add_argument("--unit", choices=("frames", "seconds"), default="frames", help="of length and stride")
    predict.add_argument("--fps", type=_positive, help="frames per second, where a file says it wrongly or not at all")
    predict.add_argument("--align", help="similarity, crop, none or whole-frame; by default as in training")
    predict.add_argument(
        "--face", type=int, default=0, help="whose, where there are several: 0 the largest, 1 the next"
    )
    predict.add_argument("--neutral", action="store_true", help="also give what differs from the person's usual state")
    predict.add_argument("--no-overlay", dest="overlay", action="store_false", help="write no annotated videos")
    predict.add_argument("--policy", choices=("fixed", "nested"), default="fixed", help="the thresholds' (fixed: 0.5)")

    command("report", "notebook.site", "write the report of a profile that was run", REPORT).add_argument(
        "profile", nargs="?", default="demo", help="such as demo, the default"
    )

    command("crate", "notebook.crate", "pack what a profile has made as an RO-Crate", CRATE).add_argument(
        "profile", nargs="?", default="demo", help="such as demo, the default"
    )

    command("outputs", "notebook.committed", "put a profile's outputs into the notebooks", KEEP).add_argument(
        "profile", nargs="?", default="demo", help="such as demo, the default"
    )

    notebooks = argparse.ArgumentParser(add_help=False)
    notebooks.add_argument("--only", metavar="NOTEBOOK", action="append", help="run this notebook (may be repeated)")
    notebooks.add_argument(
        "-p", metavar="NAME=VALUE", action="append", default=[],
        help="a parameter of the notebooks (may be repeated): text as it stands, anything else as YAML",
    )  # fmt: skip
    demo = command("demo", "notebook.batch", "run all notebooks on synthetic data", DEMO, parents=[notebooks])
    demo.set_defaults(profile="demo", grid=None)
    batch = command("batch", "notebook.batch", "run the notebooks of a profile", BATCH, parents=[notebooks])
    batch.set_defaults(grid=None)
    grid = command("grid", "notebook.batch", "run every combination of some parameters", GRID, parents=[notebooks])
    for each in (batch, grid):
        each.add_argument("profile", help="a file in notebooks/profiles, without .yaml")
    grid.add_argument("grid", metavar="GRID", help='"name=value,value name=value,value", or a YAML file of lists')
    return root


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code (``EXIT_CODES``); argparse itself exits where the call is wrong."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    try:
        return import_module(options.module).main(options)
    except ModuleNotFoundError as error:
        if (error.name or "aullm_lib").startswith("aullm_lib"):
            raise
        log.error("aullm %s needs the package %s: pip install 'aullm-lib[notebooks]'", options.command, error.name)
        return 2
    except (ValueError, OSError, RuntimeError) as error:
        log.error("%s", error)
        return 2
    except KeyboardInterrupt as error:
        notes = getattr(error, "__notes__", ["what is finished is kept, and the same command goes on"])
        log.error("stopped; %s", "; ".join(notes))
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""The explorer of notebook 00: choose release, subject, clip and AU, scrub through the frames, move the threshold.

``viewing.Release`` looks things up, ``report.view`` draws them, ``Explorer`` joins both to ipywidgets. In a live front
end (JupyterLab) it shows its controls; where the notebook is run without one (papermill, nbval), or shown later
(nbviewer, HTML), the same cell has a figure instead.
"""

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from aullm_lib.notebook.viewing import Release
from aullm_lib.report.figures import view
from aullm_lib.report.figures.view import SHOWN

DOTS = 100  # an inch, of the figure


def live_front_end() -> bool:
    """Whether a person's front end asked for the cell that runs: it says so beside its request, a batch run does not.

    JupyterLab, Notebook and VS Code send the cell's id; papermill, nbclient and nbval send nothing.
    """
    try:
        from IPython import get_ipython

        return bool(get_ipython().kernel.get_parent("shell")["metadata"])
    except (ImportError, AttributeError, KeyError):
        return False


class Explorer:
    """Releases by name, and what is chosen of them; the last line of a cell shows it.

    live: whether to show controls; None asks ``live_front_end``. Raises ValueError where there is no release.
    """

    def __init__(self, releases: Mapping[str, Release], *, live: bool | None = None) -> None:
        if not releases:
            raise ValueError("releases: the explorer needs at least one")
        self.releases, self.live = releases, live_front_end() if live is None else live
        self._figure: Figure | None = None
        self.threshold, self.shown = 0.5, SHOWN[0]
        self.choose(next(iter(releases)))
        self.box = self._controls() if self.live else None

    def choose(self, release: str, clip_id: str | None = None, unit: str | None = None) -> None:
        """Goes to a release, a clip of it (the one with most of its AUs, the first of those, unless given) and its
        apex, and to an AU (one that the clip shows)."""
        there = self.releases[release]
        self.release = release
        self.clip_id = clip_id or max(there.ids, key=lambda c: len(set(there.truth(c)) & set(there.units)))
        self.unit = unit or next((au for au in there.units if au in there.truth(self.clip_id)), there.units[0])
        self.frame = there.apex(self.clip_id)

    def render(self) -> tuple[bytes, str]:
        """What is chosen, as PNG and in words. Raises as ``Release.look``."""
        chosen = self.releases[self.release].look(self.clip_id, self.frame, self.unit, self.threshold)
        self._figure, file = view.draw(chosen, self.shown, self._figure), io.BytesIO()
        quick = {"compress_level": 1}
        self._figure.savefig(file, format="png", dpi=DOTS, metadata={"Software": None}, pil_kwargs=quick)
        return file.getvalue(), view.words(chosen)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        """A figure with its text for whoever shows no controls, and the controls if a front end is live."""
        png, said = self.render()
        data = {"text/plain": said, "image/png": base64.b64encode(png).decode()}
        if self.box is not None:
            data |= {k: v for k, v in self.box._repr_mimebundle_().items() if k not in data}
        return data, {"image/png": {"alt": said}}

    def _controls(self) -> Any:
        """The controls over the figure; each has a label, and all answer to the keyboard."""
        import ipywidgets as widgets  # of the extra "notebooks"

        form: dict[str, Any] = {"style": {"description_width": "7em"}, "layout": {"width": "30em"}}
        titles = [(there.name, key) for key, there in self.releases.items()]
        release = widgets.Dropdown(description="Release", options=titles, **form)
        subject = widgets.Dropdown(description="Subject", **form)
        clip = widgets.Dropdown(description="Clip", **form)
        unit = widgets.Dropdown(description="Action unit", **form)
        shown = widgets.Dropdown(description="Show", options=SHOWN, **form)
        frame = widgets.IntSlider(description="Frame", min=1, **form)
        threshold = widgets.FloatSlider(description="Threshold", min=0, max=1, step=0.01, **form)
        picture, said = widgets.Image(format="png", layout={"max_width": "100%"}), widgets.HTML()
        busy = False

        def show() -> None:
            """Brings every control, the figure and its text to what is chosen."""
            nonlocal busy
            busy, there = True, self.releases[self.release]
            try:
                of = there.store.table.loc[self.clip_id, "subject"]
                clips = [(there.title(c), c) for c in there.clips(of)]
                units = [(view.named(au), au) for au in there.units]
                lists: Any = ((subject, there.subjects), (clip, clips), (unit, units))
                for control, options in lists:
                    if list(control.options) != options:
                        control.options = options
                frame.max = int(there.store.table.loc[self.clip_id, "n_frames"])
                release.value, subject.value, clip.value, unit.value = self.release, of, self.clip_id, self.unit
                shown.value, frame.value, threshold.value = self.shown, self.frame + 1, self.threshold
                picture.value, text = self.render()
            except (OSError, ValueError) as error:  # such as a frame whose file is gone
                text = str(error)
            finally:
                busy = False
            said.value = html.escape(text)

        def changed(change: Any) -> None:
            if busy:
                return
            if change.owner is release:
                self.choose(release.value)
            elif change.owner is subject:
                self.choose(self.release, self.releases[self.release].clips(subject.value)[0], self.unit)
            elif change.owner is clip:
                self.choose(self.release, clip.value, self.unit)
            else:
                self.unit, self.shown, self.threshold = unit.value, shown.value, threshold.value
                self.frame = frame.value - 1
            show()

        controls = (release, subject, clip, unit, shown, frame, threshold)
        show()
        for control in controls:
            control.observe(changed, names="value")
        columns = [widgets.VBox(controls[:4]), widgets.VBox(controls[4:])]
        return widgets.VBox([widgets.HBox(columns, layout={"flex_flow": "row wrap"}), picture, said])

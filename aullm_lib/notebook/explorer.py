"""The explorer of notebook 00: choose release, subject, clip and AU, scrub through the frames, move the threshold.

``viewing.Release`` looks up what there is to see, ``report.figures.view`` draws it, ``Explorer`` joins both to
ipywidgets. In a live front end (JupyterLab) it shows its controls; where the notebook is run without one (papermill,
nbval), or shown later (nbviewer, HTML), the same cell has a figure instead.
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

DPI = 140


def live_front_end() -> bool:
    """Whether a person's front end asked for the cell that runs.

    JupyterLab, Notebook and VS Code send the cell's id beside their request; papermill, nbclient and nbval nothing.
    """
    try:
        from IPython import get_ipython

        return bool(get_ipython().kernel.get_parent("shell")["metadata"])
    except (ImportError, AttributeError, KeyError):
        return False


class Explorer:
    """A choice among releases, shown as controls with a figure by the last line of a cell.

    Args:
        releases: The releases by name.
        live: Whether to show controls; by default whether ``live_front_end``.

    Raises:
        ValueError: There is no release.
    """

    def __init__(self, releases: Mapping[str, Release], *, live: bool | None = None) -> None:
        if not releases:
            raise ValueError("releases: the explorer needs at least one")
        self.releases, self.live = releases, live_front_end() if live is None else live
        self._figure: Figure | None = None
        self.threshold, self.shown = 0.5, SHOWN[0]
        self.choose(next(iter(releases)))
        self.box = self._controls() if self.live else None

    def choose(self, release: str, clip_id: str | None = None, au: str | None = None) -> None:
        """Goes to a release, a clip of it, the clip's apex, and an AU.

        Args:
            release: One of ``releases``.
            clip_id: By default the first clip with the most AUs.
            au: By default the first one that the clip shows.
        """
        source = self.releases[release]
        self.release = release
        self.clip_id = clip_id or max(source.ids, key=lambda c: len(set(source.truth(c)) & set(source.aus)))
        self.au = au or next((au for au in source.aus if au in source.truth(self.clip_id)), source.aus[0])
        self.frame = source.apex(self.clip_id)

    def render(self) -> tuple[bytes, str]:
        """The chosen frame as PNG and in words. Raises as ``Release.look``."""
        frame = self.releases[self.release].look(self.clip_id, self.frame, self.au, self.threshold)
        self._figure, file = view.draw(frame, self.shown, self._figure), io.BytesIO()
        options = {"compress_level": 1}  # quick
        self._figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}, pil_kwargs=options)
        return file.getvalue(), view.words(frame)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        """A figure with its text for whoever shows no controls, and the controls if a front end is live."""
        png, text = self.render()
        data = {"text/plain": text, "image/png": base64.b64encode(png).decode()}
        if self.box is not None:
            data |= {k: v for k, v in self.box._repr_mimebundle_().items() if k not in data}
        return data, {"image/png": {"alt": text}}

    def _controls(self) -> Any:
        """The controls over the figure; each has a label, and all answer to the keyboard."""
        import ipywidgets as widgets  # of the extra "notebooks"

        form: dict[str, Any] = {"style": {"description_width": "7em"}, "layout": {"width": "30em"}}
        titles = [(source.name, key) for key, source in self.releases.items()]
        release = widgets.Dropdown(description="Release", options=titles, **form)
        subject = widgets.Dropdown(description="Subject", **form)
        clip = widgets.Dropdown(description="Clip", **form)
        au = widgets.Dropdown(description="Action unit", **form)
        shown = widgets.Dropdown(description="Show", options=SHOWN, **form)
        frame = widgets.IntSlider(description="Frame", min=1, **form)
        threshold = widgets.FloatSlider(description="Threshold", min=0, max=1, step=0.01, **form)
        picture, caption = widgets.Image(format="png", layout={"max_width": "100%"}), widgets.HTML()
        busy = False

        def show() -> None:
            """Brings every control, the figure and its text to what is chosen."""
            nonlocal busy
            busy, source = True, self.releases[self.release]
            try:
                row = source.store.table.loc[self.clip_id]
                clips = [(source.title(c), c) for c in source.clips(row["subject"])]
                aus = [(view.named(name), name) for name in source.aus]
                lists: Any = ((subject, source.subjects), (clip, clips), (au, aus))
                for control, options in lists:
                    if list(control.options) != options:
                        control.options = options
                frame.max = int(row["n_frames"])
                release.value, subject.value, clip.value, au.value = self.release, row["subject"], self.clip_id, self.au
                shown.value, frame.value, threshold.value = self.shown, self.frame + 1, self.threshold
                picture.value, text = self.render()
            except (OSError, ValueError) as error:  # such as a frame whose file is gone
                text = str(error)
            finally:
                busy = False
            caption.value = html.escape(text)

        def changed(change: Any) -> None:
            if busy:
                return
            if change.owner is release:
                self.choose(release.value)
            elif change.owner is subject:
                self.choose(self.release, self.releases[self.release].clips(subject.value)[0], self.au)
            elif change.owner is clip:
                self.choose(self.release, clip.value, self.au)
            else:
                self.au, self.shown, self.threshold = au.value, shown.value, threshold.value
                self.frame = frame.value - 1
            show()

        controls = (release, subject, clip, au, shown, frame, threshold)
        show()
        for control in controls:
            control.observe(changed, names="value")
        columns = [widgets.VBox(controls[:4]), widgets.VBox(controls[4:])]
        return widgets.VBox([widgets.HBox(columns, layout={"flex_flow": "row wrap"}), picture, caption])

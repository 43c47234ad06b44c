"""The base of all widgets: controls, a picture that follows them, and a line of text.

In JupyterLab it is live; where nothing runs (GitHub, an HTML page, a
notebook reopened) it is a picture. Its text is the same everywhere, so that a notebook's stored
output can be compared, and no widget state is ever stored with it.
"""

import base64
import html
from collections.abc import Mapping

import ipywidgets

from tlab_diffusion.errors import InputError
from tlab_diffusion.plots import Picture
from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import SCREEN_DPI, WIDTH

# Without a width a picture would be stretched to the cell; with it, a narrow cell shrinks it.
LAYOUT = {"width": f"{WIDTH * SCREEN_DPI:.0f}px", "max_width": "100%"}


class LivePicture:
    """A figure with controls: a subclass says what figure, and how settings are drawn on it.

    The browser keeps a control's next value until the kernel has answered the last one, and
    then sends only the newest (ipywidgets' throttle): fast moves cause no queue. So each event is
    drawn at once.

    Args:
        name: class name of the whole, such as "schedule-explorer". The picture has NAME-picture,
            the line of words NAME-words, and each control NAME-SETTING.
        title: a phrase that tells what is shown: the alternative text.
        controls: {setting: control}, in the order in which they are shown.
    """

    wide: tuple[str, ...] = ("t",)  # settings that deserve a long slider

    def __init__(self, name: str, title: str, controls: Mapping[str, ipywidgets.ValueWidget]):
        self.title, self.controls = title, dict(controls)
        self._figure = self.new_figure()
        self._drawn: dict = {}  # the settings that the figure shows
        self._settling = False
        self.image = _named(
            f"{name}-picture", ipywidgets.Image(format="png", layout=ipywidgets.Layout(**LAYOUT))
        )
        self.words = _named(f"{name}-words", ipywidgets.HTML(layout=ipywidgets.Layout(**LAYOUT)))
        for setting, control in self.controls.items():
            _named(f"{name}-{setting.replace('_', '-')}", control)
            control.observe(self._on_change, names="value")
        self.widget = _named(name, ipywidgets.VBox([self.arrange(), self.words, self.image]))
        self._redraw()

    def new_figure(self) -> LiveFigure:
        """An empty figure for `draw`."""
        raise NotImplementedError

    def draw(self, figure: LiveFigure, settings: dict, changed: set[str]) -> str:
        """Update the figure to the settings; return a description of them."""
        raise NotImplementedError

    def draw_still(self, figure: LiveFigure, settings: dict) -> str:
        """Draw the settings into an empty figure, for `picture`; return a description of them."""
        return self.draw(figure, settings, set(self.controls))

    def settle(self, setting: str) -> None:
        """Adapt other controls to the changed one: limits, defaults, disabled controls."""

    def arrange(self) -> ipywidgets.Widget:
        """The controls as they are shown: three in a row, the `wide` ones each in its own."""
        for control in self.controls.values():
            control.layout.width = "auto"
        wide = [self.controls[setting] for setting in self.wide]
        narrow = [control for control in self.controls.values() if control not in wide]
        columns = ipywidgets.Layout(grid_template_columns="repeat(3, 1fr)", width="100%")
        rows = [ipywidgets.GridBox(narrow, layout=columns), *wide] if narrow else wide
        return ipywidgets.VBox(rows, layout=ipywidgets.Layout(**LAYOUT))

    @property
    def settings(self) -> dict:
        """The current settings: {name: value}."""
        return {setting: control.value for setting, control in self.controls.items()}

    def picture(self, **settings) -> Picture:
        """The picture at some settings; settings left out keep the current value.

        Raises:
            InputError: on a setting that does not exist, or a value that cannot be drawn.
        """
        for setting in settings:
            if setting not in self.controls:
                expected = "one of " + ", ".join(self.controls)
                raise InputError("setting", got=repr(setting), expected=expected)
        figure = self.new_figure()
        words = self.draw_still(figure, self.settings | settings)
        return Picture(figure.figure, f"{self.title}. {words}".replace("\n", " "))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.title}>"

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        png, metadata = self.picture()._repr_png_()
        still = {"text/plain": repr(self), "image/png": base64.b64encode(png).decode()}
        return self.widget._repr_mimebundle_() | still, {"image/png": metadata}

    def _on_change(self, change) -> None:
        if self._settling:  # a control moved by `settle`: the event that began it will draw
            return
        self._settling = True
        try:
            self.settle(next(s for s, c in self.controls.items() if c is change["owner"]))
        finally:
            self._settling = False
        self._redraw()

    def _redraw(self) -> None:
        settings = self.settings
        changed = {s for s in settings if s not in self._drawn or self._drawn[s] != settings[s]}
        words = self.draw(self._figure, settings, changed)
        self._drawn = settings
        self.image.value = self._figure.png()
        lines = html.escape(words).replace("\n", "<br>")
        self.words.value = f'<div style="line-height: 1.5">{lines}</div>'


def _named(name: str, widget: ipywidgets.DOMWidget) -> ipywidgets.DOMWidget:
    """Give a widget a class name, by which tests and style sheets find it."""
    widget.add_class(name)
    return widget

"""The base of all widgets: controls, a picture that follows them, and a line of text.

A widget shows itself twice. First comes a still picture, which every reader of notebooks can
show. Then comes the live widget, whose style sheet hides the still picture. Where the live widget
is missing (GitHub, an HTML page, a notebook reopened without its kernel) the still picture stays.
No widget state is ever stored.
"""

import base64
import html
from collections.abc import Mapping

import ipywidgets
from IPython.display import display

from tlab_diffusion.course.widgets.controls import SLIDERS, SliderRow
from tlab_diffusion.errors import InputError
from tlab_diffusion.plots import Picture
from tlab_diffusion.plots.live import LiveFigure
from tlab_diffusion.plots.style import SCREEN_DPI, WIDTH

# Without a width a picture would be stretched to the cell; with it, a narrow cell shrinks it.
LAYOUT = {"width": f"{WIDTH * SCREEN_DPI:.0f}px", "max_width": "100%"}
WIDGET = "application/vnd.jupyter.widget-view+json"
# ipywidgets gives no names to sliders, buttons with a sign, and pictures: a screen reader would
# hear "slider". `onerror` runs when the page has this part of the widget.
NAMES = """<img hidden alt="" src="data:," onerror="
const root = this.closest('.tlab-live');
const tell = (part, name, text) => {
    if (part &amp;&amp; part.getAttribute(name) !== text) part.setAttribute(name, text);
};
const words = part => part ? part.textContent : '';
const described = () => {
    const said = root.querySelector('.tlab-words');
    return said.dataset.title + '. ' + said.innerText;
};
const all = () => {
    for (const slider of root.querySelectorAll('.widget-slider')) {
        const handle = slider.querySelector('.noUi-handle');
        const typed = slider.parentElement.querySelector('input');
        tell(handle, 'aria-label', words(slider.querySelector('.widget-label')));
        if (typed) tell(handle, 'aria-valuetext', typed.value);
    }
    for (const sign of ['play', 'pause', 'stop'])
        for (const icon of root.querySelectorAll('button .fa-' + sign))
            tell(icon.parentElement, 'aria-label', sign);
    for (const picture of root.querySelectorAll('img.tlab-picture'))
        tell(picture, 'alt', described());
};
all();
new MutationObserver(all).observe(root, {childList: true, subtree: true});
">"""
AGAIN = "Run this cell again"
STYLE = """<style>
.jp-OutputArea:has(.tlab-live) .tlab-still, .tlab-gone, .tlab-dark { display: none; }
[data-jp-theme-light="false"] .tlab-light { display: none; }
[data-jp-theme-light="false"] .tlab-dark { display: block; }
.jupyter-widgets-disconnected .tlab-gone { display: block; }
.jupyter-widgets-disconnected .tlab-controls { display: none; }
.tlab-live.jupyter-widgets-disconnected::before { content: none; }
.tlab-live .jupyter-widgets-disconnected::before { content: none; }
/* Controls and picture together on a small screen. */
.tlab-picture { max-height: max(300px, calc(100vh - 340px)); object-fit: contain; }
.tlab-picture { object-position: left top; }
.tlab-words { line-height: 1.5; }
</style>"""


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
    timed: tuple[str, ...] = ()  # settings that are a time: they have a play button

    def __init__(self, name: str, title: str, controls: Mapping[str, ipywidgets.ValueWidget]):
        self.title, self.controls = title, dict(controls)
        self._figure = self.new_figure()
        self._drawn: dict = {}  # the settings that the figure shows
        self._settling = False
        self._said = ""
        self.image, self.dark_image = (
            ipywidgets.Image(format="png", layout=ipywidgets.Layout(**LAYOUT)) for _ in range(2)
        )
        _named(f"{name}-picture", self.image, "tlab-picture", "tlab-light")
        _named(f"{name}-dark-picture", self.dark_image, "tlab-picture", "tlab-dark")
        self.words = _named(f"{name}-words", ipywidgets.HTML(layout=ipywidgets.Layout(**LAYOUT)))
        for setting, control in self.controls.items():
            _named(f"{name}-{setting.replace('_', '-')}", control)
            control.observe(self._on_change, names="value")
        controls = _named("tlab-controls", self.arrange())
        gone = f"The kernel of this picture is gone. {AGAIN} to move it."
        parts = [
            _named("tlab-gone", ipywidgets.HTML(f"<b>{gone}</b>")),
            ipywidgets.HTML(STYLE + NAMES),
        ]
        parts += [controls, self.words, self.image, self.dark_image]
        self.widget = _named(name, ipywidgets.VBox(parts), "tlab-live")
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
        shown = {}
        for setting, control in self.controls.items():
            control.layout.width = "auto"
            timed = setting in self.timed
            is_slider = isinstance(control, SLIDERS)
            shown[setting] = SliderRow(control, self._say, play=timed) if is_slider else control
        wide = [shown.pop(setting) for setting in self.wide]
        narrow = list(shown.values())
        columns = ipywidgets.Layout(
            grid_template_columns="repeat(3, 1fr)", grid_gap="2px 16px", width="100%"
        )
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

    def still(self) -> dict[str, str]:
        """The picture now for readers that run nothing: PNG, HTML with its text, and a name."""
        picture = self.picture()
        png, _ = picture._repr_png_()
        data = base64.b64encode(png).decode()
        style, text = f"max-width: 100%; width: {LAYOUT['width']}", html.escape(picture.title)
        image = f'<img style="{style}" alt="{text}" src="data:image/png;base64,{data}">'
        line = f"<p>This is a still picture. {AGAIN} to move it.</p>"
        shown = f'<div class="tlab-still">{line}{image}</div>'
        return {"text/plain": repr(self), "image/png": data, "text/html": shown}

    def _ipython_display_(self) -> None:
        display(self.still(), raw=True)
        live = self.widget._repr_mimebundle_()
        display({WIDGET: live[WIDGET]}, raw=True)

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
        self._said = self.draw(self._figure, settings, changed)
        self._drawn = settings
        self.image.value, self.dark_image.value = self._figure.pngs()
        self._say("")

    def _say(self, refused: str) -> None:
        """Show the words of the picture, and below them why a typed number was refused."""
        lines = html.escape(self._said).replace("\n", "<br>")
        if refused:
            lines += f"<br><b>{html.escape(refused)}</b>"
        title = html.escape(self.title)
        self.words.value = (
            f'<div class="tlab-words" role="status" data-title="{title}">{lines}</div>'
        )


def _named(name: str, widget: ipywidgets.DOMWidget, *more: str) -> ipywidgets.DOMWidget:
    """Give a widget class names, by which tests and style sheets find it."""
    for each in (name, *more):
        widget.add_class(each)
    return widget

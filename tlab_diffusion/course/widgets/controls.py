"""The controls of a widget as a learner uses them: play, slide, or type a number."""

import ipywidgets

SLIDERS = (ipywidgets.IntSlider, ipywidgets.FloatSlider, ipywidgets.SelectionSlider)
FRAMES = 50  # at most so many pictures from one end of a slider to the other
PAUSE = 150  # milliseconds from one picture to the next


def options_of(slider: ipywidgets.SelectionSlider) -> list[tuple[str, object]]:
    """The (label, value) pairs of a slider over a list."""
    return [each if isinstance(each, tuple) else (f"{each}", each) for each in slider.options]


def shown_value(slider) -> str:
    """The slider's value as it is typed."""
    if isinstance(slider, ipywidgets.SelectionSlider):
        return options_of(slider)[slider.index][0]
    return f"{slider.value:g}" if isinstance(slider.value, float) else f"{slider.value}"


def expected_values(slider) -> str:
    """What can be typed for a slider."""
    if isinstance(slider, ipywidgets.SelectionSlider):
        return "one of " + ", ".join(label for label, _ in options_of(slider))
    kind = "a whole number" if isinstance(slider, ipywidgets.IntSlider) else "a number"
    return f"{kind} from {slider.min:g} to {slider.max:g}"


def typed_value(slider, text: str):
    """The value that a text means for a slider, or None if the slider cannot have it."""
    try:
        number = float(text)
    except ValueError:
        number = None
    if isinstance(slider, ipywidgets.SelectionSlider):
        for label, value in options_of(slider):
            same = isinstance(value, int | float) and number is not None and value == number
            if same or label == text.strip():
                return value
        return None
    if number is None or not slider.min <= number <= slider.max:
        return None
    if isinstance(slider, ipywidgets.IntSlider):
        return int(number) if number == int(number) else None
    return number


class SliderRow(ipywidgets.HBox):
    """A slider with a field to type its value in, and a play button where it is wanted.

    Args:
        slider: keeps its name and its value.
        refuse: called with a line of text if what was typed cannot be used, and with "" once
            it can.
        play: whether a button runs through the values.
    """

    def __init__(self, slider, refuse, *, play: bool = False):
        self.slider, self._refuse = slider, refuse
        slider.readout = False
        slider.layout.flex = "1 1 auto"
        slider.style.description_width = "auto"
        self.typed = ipywidgets.Text(
            shown_value(slider),
            continuous_update=False,
            tooltip=f"{slider.description}: type {expected_values(slider)}",
            layout=ipywidgets.Layout(width="72px", flex="0 0 auto"),
        )
        self.play = _play_button(slider) if play else None
        slider.observe(self._on_slider, names="value")
        self.typed.observe(self._on_typed, names="value")
        super().__init__([*([self.play] if play else []), slider, self.typed])

    def _on_slider(self, _) -> None:
        self.typed.value = shown_value(self.slider)
        self._refuse("")

    def _on_typed(self, change) -> None:
        text = change["new"]
        if text == shown_value(self.slider):
            return
        value = typed_value(self.slider, text)
        if value is None:
            expected = expected_values(self.slider)
            self._refuse(f"{self.slider.description}: got “{text}”, expected {expected}.")
        elif value == self.slider.value:  # the same number, written in another way
            self._on_slider(None)
        else:
            if not isinstance(self.slider, ipywidgets.SelectionSlider):
                _make_room(self.slider, value)
            self.slider.value = value


def _make_room(slider, value: float) -> None:
    """Give a slider finer steps where the page would else round the value to the next one."""
    steps = (value - slider.min) / slider.step
    if abs(steps - round(steps)) > 1e-6:
        decimals = len(f"{value:g}".partition(".")[2])
        slider.step = 1 if isinstance(slider, ipywidgets.IntSlider) else 10.0**-decimals


def _play_button(slider) -> ipywidgets.Play:
    """A button that moves the slider in the page; the kernel draws what it gets."""
    selection = isinstance(slider, ipywidgets.SelectionSlider)
    trait = "index" if selection else "value"

    def limits() -> dict[str, int]:
        first, last = (0, len(slider.options) - 1) if selection else (slider.min, slider.max)
        return {"min": first, "max": last, "step": max(1, round((last - first) / FRAMES))}

    play = ipywidgets.Play(
        getattr(slider, trait),
        **limits(),
        interval=PAUSE,
        show_repeat=False,
        layout=ipywidgets.Layout(flex="0 0 auto"),
    )

    def follow(_) -> None:
        for name, value in limits().items():
            setattr(play, name, value)

    slider.observe(follow, names=["options"] if selection else ["min", "max"])
    ipywidgets.jslink((play, "value"), (slider, trait))
    return play

"""A button below a failed check that shows the next hint."""

import ipywidgets

from tlab_diffusion.course.catalogue import solution
from tlab_diffusion.course.exercises import find
from tlab_diffusion.course.hints import hint, next_tier


class HintButton:
    """A button, and below it the hints that were asked for.

    Args:
        id: of the exercise.
    """

    def __init__(self, id: str):
        self.id = id
        self.button = ipywidgets.Button(layout=ipywidgets.Layout(width="auto"))
        self.shown = ipywidgets.Output()
        self.widget = ipywidgets.VBox([self.button, self.shown])
        self.button.on_click(self._show_next)
        self._label()

    def _show_next(self, _) -> None:
        tier = next_tier(self.id)
        if tier is None:
            source = solution(self.id)
            data = {"text/plain": str(source), "text/markdown": source._repr_markdown_()}
            self.button.layout.display = "none"
        else:
            data = hint(self.id, tier)._repr_mimebundle_()
        self.shown.outputs += ({"output_type": "display_data", "data": data, "metadata": {}},)
        self._label()

    def _label(self) -> None:
        tier = next_tier(self.id)
        label = f"Show hint {tier} of {len(find(self.id).hints)}" if tier else "Show the solution"
        self.button.description = label

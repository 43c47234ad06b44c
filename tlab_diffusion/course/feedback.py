"""How messages are shown: a box in HTML for notebooks, plain text elsewhere.

Messages are written once, in a little markup: `code`, *stress*, paragraphs between blank lines,
and paragraphs indented by four spaces, which are shown unchanged.
"""

import base64
import html
import re
import sys


class Shown:
    """An object with a text and an HTML representation, given by subclasses.

    Neither holds a time, an address or a random number, so that a notebook run again
    shows the same.
    """

    def _text(self) -> str:
        raise NotImplementedError

    def _html(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._text()

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": self._text(), "text/html": self._html()}


class Note(Shown):
    """A message that says what was done."""

    def __init__(self, message: str):
        self.message = message

    def _text(self) -> str:
        return self.message.replace("`", "")

    def _html(self) -> str:
        return prose(self.message)


def show(shown: Shown) -> None:
    """Show something now: in the cell's output in a notebook, else as text."""
    if "IPython" in sys.modules:
        from IPython.display import display

        display(shown)
    else:
        print(shown)


def in_notebook() -> bool:
    """Whether outputs go to a notebook, which shows widgets."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def box(heading: str, body: str, colour: str) -> str:
    """A box with a coloured edge; the heading says the same as the colour.

    Text keeps the colour of the page and the tint is faint: it reads in light and dark themes.
    """
    return (
        f'<div role="status" style="border-left: 5px solid {colour}; background: {colour}1a; '
        'padding: 0.5em 1em; margin: 0.3em 0; max-width: 48em; line-height: 1.5">'
        f"<strong>{html.escape(heading)}</strong>{body}</div>"
    )


def prose(message: str) -> str:
    """Turn a message in the little markup into HTML."""
    parts = []
    for paragraph in message.strip("\n").split("\n\n"):
        if paragraph.startswith("    "):
            code = re.sub("(?m)^    ", "", paragraph)
            parts.append(
                f'<pre style="margin: 0.4em 0; white-space: pre-wrap">{html.escape(code)}</pre>'
            )
        else:
            parts.append(f'<p style="margin: 0.3em 0">{inline(paragraph)}</p>')
    return "".join(parts)


def inline(text: str) -> str:
    """Escape a line of text and set its `code` and *stress*."""
    parts = html.escape(text, quote=False).split("`")
    for number, part in enumerate(parts):
        if number % 2:  # between two backticks
            parts[number] = f"<code>{part}</code>"
        else:
            parts[number] = re.sub(r"\*(\w[^*]*)\*", r"<em>\1</em>", part)
    return "".join(parts)


def image(png: bytes, alt: str) -> str:
    """A picture with its alternative text."""
    data = base64.b64encode(png).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}" width="640">'


def table(headings: list[str], rows: list[list[str]]) -> str:
    """An HTML table; cells are in the little markup."""
    style = 'style="text-align: left; padding: 0.2em 1em 0.2em 0"'
    head = "".join(f'<th scope="col" {style}>{inline(cell)}</th>' for cell in headings)
    body = "".join(
        "<tr>" + "".join(f"<td {style}>{inline(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

r"""HTML that cannot be broken by what it shows: every text is escaped unless it is HTML already."""

import base64
from html import escape


class Html(str):
    """Text that is HTML already."""


def element(name: str, /, *content: object, **attributes: object) -> Html:
    r"""One HTML element.

    Args:
        name: of the element, such as "td".
        content: what it holds; `Html` as it is, all else as text.
        attributes: their values; `class_` is "class", `aria_label` is "aria-label".
    """
    inner = "".join(each if isinstance(each, Html) else escape(str(each)) for each in content)
    marks = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    end = "" if name in ("img", "meta") else f"</{name}>"
    return Html(f"<{name}{marks}>{inner}{end}")


def image(png: bytes, words: str, **attributes: object) -> Html:
    """A picture within the page itself, with words for those who do not see it."""
    data = base64.b64encode(png).decode()
    return element("img", src=f"data:image/png;base64,{data}", alt=words, **attributes)


def table(head: list[object], rows: list[list[object]], marked: int | None = None) -> Html:
    r"""A table, wide ones scroll sideways; the first cell of a row is its heading.

    Args:
        head: a cell for each column.
        rows: a list of cells each.
        marked: the row that stands out.
    """
    top = element("tr", *[element("th", cell, scope="col") for cell in head])
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            *[element("td", cell) for cell in row[1:]],
            **({"class_": "chosen"} if number == marked else {}),
        )
        for number, row in enumerate(rows)
    ]
    whole = element("table", element("thead", top), element("tbody", *body))
    return element("div", whole, class_="wide", tabindex=0, role="region", aria_label="table")

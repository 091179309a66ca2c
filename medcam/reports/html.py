"""One self-contained web page per case, and an overview over cases and refusals. Nothing is fetched."""

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medcam.findings import Case
from medcam.reports._content import content
from medcam.reports._drawing import Box, Drawing, Image, Line, Text
from medcam.reports._figures import drawings
from medcam.reports._overview import overview
from medcam.reports.base import DISCLAIMER, Context, Entry, Report

TEMPLATES = Path(__file__).parent / "_templates"


class HTML(Report):
    """Pages with inline pictures and style; whatever a file's tags say is shown as text, never as markup."""

    name = "html"
    suffix = ".html"

    def write(self, case: Case, context: Context, folder: Path) -> list[Path]:
        said = content(case, context)
        figures = [_svg(drawing) for drawing in drawings(case, context)]
        path = folder / f"{case.key}{self.suffix}"
        path.write_text(_template("case.html").render(content=said, figures=figures), encoding="utf-8")
        return [path]

    def finish(self, entries: Sequence[Entry], refusals: Sequence[dict[str, str]], folder: Path) -> list[Path]:
        path = folder / "index.html"
        table = overview(entries, refusals, folder)
        path.write_text(_template("index.html").render(overview=table, disclaimer=DISCLAIMER), encoding="utf-8")
        return [path]


@functools.cache
def _template(name: str) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template(f"{name}.jinja")


def _svg(drawing: Drawing) -> dict[str, Any]:
    """The drawing as attributes of SVG elements; the template writes the markup and escapes the words."""
    return {
        "width": round(drawing.width, 1),
        "height": round(drawing.height, 1),
        "paper": drawing.paper,
        "words": drawing.words,
        "marks": [_element(mark) for mark in drawing.marks],
    }


def _element(mark: Image | Box | Line | Text) -> dict[str, Any]:
    if isinstance(mark, Image):
        data = base64.b64encode(mark.jpeg()).decode()
        return {"kind": "image", **_rectangle(mark), "source": f"data:image/jpeg;base64,{data}"}
    if isinstance(mark, Box):
        return {"kind": "box", **_rectangle(mark), "colour": mark.colour, "line": round(mark.line, 2)}
    if isinstance(mark, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
        return {"kind": "line", "points": points, "colour": mark.colour, "line": round(mark.line, 2)}
    at = {"x": round(mark.x, 1), "y": round(mark.y, 1), "size": round(mark.size, 1)}
    return {"kind": "text", **at, "anchor": mark.anchor, "colour": mark.colour, "words": mark.words}


def _rectangle(mark: Image | Box) -> dict[str, float]:
    return {name: round(getattr(mark, name), 2) for name in ("x", "y", "width", "height")}

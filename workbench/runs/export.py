"""An executed notebook as one HTML file that reads, looks and plays the same without a kernel and without a network."""

from __future__ import annotations

import copy
import html
import logging
import re
from pathlib import Path

import nbconvert
from jinja2 import DictLoader, pass_context
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from ..core.warn import warn

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

# The stock page loads require.js, MathJax and Mermaid from a network; ours has no script but those of the outputs.
_PAGE = """
{%- extends 'index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style>
main { max-width: 1100px; margin: 0 auto; padding: 1rem; }
.wb-formula { fill: currentColor; overflow: visible; }
div.wb-formula-line { position: relative; text-align: center; margin: 0.8em 0; padding-right: 3em; }
div.wb-formula-line span { position: absolute; right: 0; top: 50%; transform: translateY(-50%); }
</style>
{%- endblock -%}
"""


def to_html(node, *, title: str) -> str:
    """One self-contained HTML page of a notebook.

    Widgets are left out (they need a kernel); of an output that has a widget and an HTML twin, the twin is shown.
    TeX formulas in text cells become drawn glyphs; one that matplotlib's mathtext does not know stays as its
    source, with a warning.

    Parameters
    ----------
    node : nbformat.NotebookNode
        An executed notebook; it is not changed.
    title : str
        Title of the page.

    Returns
    -------
    str
        The page; it refers to nothing outside itself except through links and images the notebook's author wrote.
    """
    node = without_widgets(node)
    node.metadata["title"] = title
    log = logging.Logger("workbench.export", level=logging.ERROR)
    # where nbconvert lies outside sys.prefix (site-packages shared between environments) its templates do too
    shared = Path(nbconvert.__file__).resolve().parents[4] / "share" / "jupyter" / "nbconvert" / "templates"
    exporter = _Exporter(
        extra_loaders=[DictLoader({"offline.html.j2": _PAGE})],
        template_file="offline.html.j2",
        extra_template_basedirs=[str(shared)] if shared.is_dir() else [],
        extra_template_paths=[str(shared)] if shared.is_dir() else [],
        log=log,
    )
    page, _ = exporter.from_notebook_node(node)
    return page


def without_widgets(node):
    """A copy of a notebook without widget views where an output has another form, and without widget state."""
    node = copy.deepcopy(node)
    node.metadata.pop("widgets", None)
    for cell in node.cells:
        kept = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if _WIDGET_VIEW in data:
                data.pop(_WIDGET_VIEW)
                # what is left of a widget without an HTML twin is its repr ("HBox(children=...)"): no use to a reader
                if set(data) <= {"text/plain"}:
                    continue
            kept.append(output)
        if "outputs" in cell:
            cell.outputs = kept
    return node


def _formula_svg(tex: str, *, display: bool = False, number: str = "") -> str:
    """A TeX formula as inline SVG, drawn by matplotlib's mathtext, sized in ``em`` and set on the text's base line.

    Parameters
    ----------
    tex : str
        Formula without its dollars.
    display : bool
        On a line of its own, a little larger.
    number : str
        Number set at the end of a line of its own.

    Raises
    ------
    ValueError
        For TeX that mathtext does not know.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser
    from matplotlib.textpath import TextPath

    size, scale = 100.0, 1.3 if display else 1.15  # the font's letters are small beside those of the page
    text = "$" + " ".join(_for_mathtext(tex).split()) + "$"
    font = FontProperties(family="DejaVu Sans", math_fontfamily="cm", size=size)
    width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
    path = TextPath((0, 0), text, prop=font)
    pieces = []
    for points, code in path.iter_segments(simplify=False):
        letter = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}[int(code)]
        numbers = [] if letter == "Z" else [f"{x:.1f} {-y:.1f}" for x, y in points.reshape(-1, 2)]
        pieces.append(letter + " ".join(numbers))
    total = height + depth
    style = f"width:{width / size * scale:.3f}em;height:{total / size * scale:.3f}em;"
    style += f"vertical-align:{-depth / size * scale:.3f}em"
    label = html.escape(tex.strip(), quote=True)
    drawing = (
        f'<svg class="wb-formula" role="img" aria-label="{label}" style="{style}"'
        f' viewBox="0 {-height:.1f} {width:.1f} {total:.1f}"><path d="{" ".join(pieces)}"/></svg>'
    )
    if not display:
        return drawing
    return f'<div class="wb-formula-line">{drawing}<span>{html.escape(number)}</span></div>'


def _without_tag(tex: str) -> tuple[str, str]:
    r"""Formula without its ``\tag{3}``, and the "(3)" that it asks for."""
    tag = re.search(r"\\tag\{([^{}]*)\}", tex)
    return (tex[: tag.start()] + tex[tag.end() :], f"({tag[1]})") if tag else (tex, "")


def _for_mathtext(tex: str) -> str:
    """TeX in mathtext's dialect: the few common commands that it spells otherwise."""
    swaps = {
        r"\text": r"\mathrm",
        r"\lVert": r"\Vert",
        r"\rVert": r"\Vert",
        r"\lvert": r"\vert",
        r"\rvert": r"\vert",
        r"\operatorname*": r"\operatorname",
        r"\argmin": r"\operatorname{argmin}",
        r"\argmax": r"\operatorname{argmax}",
        r"\tfrac": r"\frac",
        r"\le": r"\leq",
        r"\ge": r"\geq",
        r"\ne": r"\neq",
        r"\to": r"\rightarrow",
    }
    for ours, theirs in swaps.items():
        tail = "" if ours.endswith("*") else r"(?![A-Za-z])"
        tex = re.sub(re.escape(ours) + tail, lambda _, new=theirs: new, tex)
    # spaces inside \mathrm{...} are dropped by mathtext
    return re.sub(r"\\mathrm\{([^{}]*)\}", lambda m: r"\mathrm{" + m[1].replace(" ", r"\ ") + "}", tex)


class _Renderer(IPythonRenderer):
    """Markdown whose formulas are drawn."""

    def inline_math(self, body: str) -> str:
        return self._formula(body, display=False)

    def block_math(self, body: str) -> str:
        return self._formula(body, display=True)

    def latex_environment(self, name: str, body: str) -> str:
        return self._formula(body, display=True)

    def _formula(self, tex: str, *, display: bool) -> str:
        tex, number = _without_tag(tex)
        try:
            return _formula_svg(tex, display=display, number=number)
        except (ValueError, KeyError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1:]
            warn(f"formula kept as its TeX source: {tex.strip()} ({' '.join(reason)})")
            return f"<code>{html.escape(tex.strip())}</code>"


class _Exporter(HTMLExporter):
    """nbconvert's exporter with the renderer above."""

    @pass_context
    def markdown2html(self, context, source):
        cell = context.get("cell", {})
        renderer = _Renderer(escape=False, attachments=cell.get("attachments", {}), anchor_link_text="")
        return MarkdownWithMath(renderer=renderer).render(source)

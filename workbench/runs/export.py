"""An executed notebook as one HTML file that reads, looks and plays the same without a kernel and without a network."""

from __future__ import annotations

import ast
import copy
import html
import logging
import re
from collections.abc import Iterator
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
.wb-guide { position: sticky; top: 0; z-index: 30; display: flex; gap: 24px; margin-bottom: 12px; padding: 6px 0;
  font: 13px/1.5 system-ui, sans-serif; color: #1f2328; background: var(--jp-layout-color0, #fff);
  border-bottom: 1px solid #d0d5db; }
:is(h1, h2, h3, h4) { scroll-margin-top: 3em; }
.wb-guide :is(summary, label) { cursor: pointer; white-space: nowrap; }
.wb-guide input { margin: 0 6px 0 0; vertical-align: -2px; }
.wb-guide ol { margin: 6px 0; padding: 0; list-style: none; max-height: 60vh; overflow-y: auto; }
.wb-guide a { display: block; padding: 2px 0; color: #0b57d0; text-decoration: none; overflow-wrap: anywhere; }
.wb-folded > summary { cursor: pointer; margin: 4px 0 4px 70px; color: #0b57d0; font: 13px/1.5 system-ui, sans-serif; }
.jp-InputArea-editor .wb-folded > summary { margin: 4px 8px; }
body:has(.wb-hide-code:checked) .jp-CodeCell > .jp-Cell-inputWrapper { display: none; }
@media (max-width: 720px) { .jp-MarkdownOutput { display: block; overflow-x: auto; } }
@media print {
  .wb-guide { display: none; }
  .jp-Cell, .jp-OutputArea, .jp-OutputArea-child, .jp-OutputArea-output { overflow: visible; }
}
</style>
{%- endblock -%}
{%- block body_header -%}{{ super() }}<!--guide-->{%- endblock -%}
{%- block codecell -%}
{%- if "solution" in cell.metadata.get("tags", []) -%}
<details class="wb-folded"><summary>Solution</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock codecell -%}
{%- block input -%}
{%- if cell.metadata.get("jupyter", {}).get("source_hidden") and "solution" not in cell.metadata.get("tags", []) -%}
<div class="jp-InputArea-editor"><details class="wb-folded"><summary>Code</summary>{{ super() }}</details></div>
{%- else -%}{{ super() }}{%- endif -%}
{%- endblock input -%}
"""


def to_html(node, *, title: str) -> str:
    """One self-contained HTML page of a notebook.

    Widgets are left out (they need a kernel); of an output that has a widget and an HTML twin, the twin is shown.
    A line at the top, which paper leaves out, opens a list of the headings and hides all code. Code that JupyterLab
    folds is folded here; of a cell tagged ``solution`` what it prints too, so that an exercise does not answer itself.
    Parameters stand once, with the values of the run and the notebook's own comments.
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
    node.cells = _parameters_once(node.cells)
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
    return page.replace("<!--guide-->", _guide(exporter.headings, any(c.cell_type == "code" for c in node.cells)), 1)


def _parameters_once(cells: list) -> list:
    """The cells, with the values that papermill set in the parameters' own cell, and without the cell it added."""
    tags = [cell.metadata.get("tags", []) for cell in cells]
    if not any("parameters" in each for each in tags) or not any("injected-parameters" in each for each in tags):
        return cells
    (own, *_), (added, *_) = (
        [i for i, each in enumerate(tags) if tag in each] for tag in ("parameters", "injected-parameters")
    )
    try:
        source = cells[added].source
        given = {target.id: ast.get_source_segment(source, value) for target, value in _assignments(source)}
        lines = cells[own].source.splitlines(keepends=True)
        for target, value in reversed(list(_assignments(cells[own].source))):
            if target.id in given and value.lineno == value.end_lineno:
                line = lines[value.lineno - 1].encode()  # ast counts bytes
                new = line[: value.col_offset] + given.pop(target.id).encode() + line[value.end_col_offset :]
                lines[value.lineno - 1] = new.decode()
    except SyntaxError:  # parameters of another language
        return cells
    if given:  # nothing that was set may be left out
        return cells
    cells[own].source = "".join(lines)
    return [cell for i, cell in enumerate(cells) if i != added]


def _assignments(source: str) -> Iterator[tuple[ast.Name, ast.expr]]:
    """Name and value of the plain assignments of a cell, in order."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if (
            isinstance(node, (ast.Assign, ast.AnnAssign))
            and node.value is not None
            and isinstance(targets[0], ast.Name)
        ):
            yield targets[0], node.value


def _guide(headings: list[tuple[int, str, str]], code: bool) -> str:
    """The line at the top, which stays in view: headings (level, id, HTML) as a list of links, a box for the code."""
    parts = []
    if headings:
        least = min(level for level, _, _ in headings)
        links = "".join(
            f'<li style="padding-left:{1.4 * (level - least):.1f}em"><a href="#{name}">{text}</a></li>'
            for level, name, text in headings
        )
        listed = f'<ol onclick="this.parentNode.open = false">{links}</ol>'
        parts.append(f"<details><summary>Contents</summary>{listed}</details>")
    if code:  # a browser would otherwise remember what was chosen before
        box = '<input class="wb-hide-code" type="checkbox" autocomplete="off">'
        parts.append(f"<div><label>{box}Hide code</label></div>")
    return f'<nav class="wb-guide">{"".join(parts)}</nav>' if parts else ""


def without_widgets(node):
    """A copy of a notebook without widget views where an output has another form, and without widget state.

    What was emptied, as the place of a progress bar that is closed, is left out too.
    """
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
            if data and not any(data.values()):
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
    """Markdown whose formulas are drawn, and whose headings are noted (level, id, HTML without links)."""

    def __init__(self, *args, headings: list[tuple[int, str, str]], **options):
        super().__init__(*args, **options)
        self._headings = headings

    def heading(self, text: str, level: int, **attrs) -> str:
        made = super().heading(text, level, **attrs)
        if name := re.search(r'\bid="([^"]*)"', made):
            self._headings.append((level, name[1], re.sub(r"</?(a|img)\b[^>]*>", "", text)))
        return made

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
    """nbconvert's exporter with the renderer above; ``headings`` are those of the text cells."""

    def __init__(self, **options):
        super().__init__(**options)
        self.headings: list[tuple[int, str, str]] = []

    @pass_context
    def markdown2html(self, context, source):
        cell = context.get("cell", {})
        headings = (
            self.headings if cell.get("cell_type") == "markdown" else []
        )  # not those that a cell of code displays
        renderer = _Renderer(
            escape=False, attachments=cell.get("attachments", {}), anchor_link_text="", headings=headings
        )
        return MarkdownWithMath(renderer=renderer).render(source)

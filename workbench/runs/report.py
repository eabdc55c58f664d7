"""The page that opens a folder of runs: ``index.html``."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from .recording import brief

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; max-width: 1150px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p.lead { color: #59636e; margin-top: .2rem; }
.scroll { overflow-x: auto; margin-bottom: 1.5rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: #59636e; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem; border-bottom: 1px solid #d1d9e0; }
th { font-weight: 600; white-space: nowrap; }
.number { text-align: right !important; font-variant-numeric: tabular-nums; }
details th { width: 13rem; white-space: normal; }
td.value { overflow-wrap: anywhere; }
.ok { color: #116329; } .failed, .interrupted, .running { color: #a40e26; font-weight: 600; }
.generated { color: #7d4e00; }
pre { background: #f6f8fa; padding: .7rem; overflow-x: auto; border-radius: 4px; font-size: 13px; }
details { margin: .4rem 0; } summary { cursor: pointer; }
"""
_KEY_METRICS = 6
_STATUSES = ("ok", "failed", "interrupted", "running")


def index_page(title: str, entries: Sequence[tuple[str, Mapping]], *, table: str = "", note: str = "") -> str:
    """One HTML page that lists runs; it links to the files beside it and to nothing else.

    Parameters
    ----------
    title : str
        Heading.
    entries : sequence of (str, mapping)
        Folder of each run, relative to the page, and the contents of its ``results.json``.
    table : str
        HTML put above the list (a sweep's table).
    note : str
        Text under the heading.

    Returns
    -------
    str
        The page.
    """
    count = {status: sum(r["status"] == status for _, r in entries) for status in _STATUSES}
    summary = ", ".join(f"{n} {status}" for status, n in count.items() if n) or "no runs"
    rows = "".join(_row(folder, results) for folder, results in entries)
    details = "".join(_details(folder, results) for folder, results in entries)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{html.escape(title)}</h1><p class="lead">{html.escape(summary)}. {html.escape(note)}</p>{table}'
        f'<div class="scroll"><table><thead><tr><th>run</th><th>status</th><th class="number">seconds</th>'
        f"<th>results</th><th>files</th></tr></thead><tbody>{rows}</tbody></table></div>{details}</body></html>\n"
    )


def table_html(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A plain HTML table; numbers on the right, everything escaped."""
    numeric = [any(isinstance(row[i], (int, float)) for row in rows) for i in range(len(columns))]
    head = "".join(
        f"<th{' class=number' if right else ''}>{html.escape(str(column))}</th>"
        for column, right in zip(columns, numeric, strict=True)
    )
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested dicts as one, keys joined by dots; lists stay whole."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _cell(value: object) -> str:
    if value is None:
        return "<td>&ndash;</td>"
    kind = "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else "value"
    return f'<td class="{kind}">{html.escape(brief(value))}</td>'


def _row(folder: str, results: Mapping) -> str:
    name, status = results["notebook"]["name"], results["status"]
    # single numbers first: of nested results (one a layer, say) the page has the rest
    shown = flatten(dict(sorted(results["metrics"].items(), key=lambda item: isinstance(item[1], Mapping))))
    key_metrics = [(k, v) for k, v in shown.items() if not isinstance(v, list)][:_KEY_METRICS]
    lines = [f"{html.escape(key)} = <b>{html.escape(brief(value))}</b>" for key, value in key_metrics]
    if len(shown) > len(key_metrics):
        lines.append(f'<a href="#{_anchor(folder)}">{len(shown) - len(key_metrics)} more</a>')
    for key, context in results["context"].items():
        made = ' <span class="generated">(generated audio)</span>' if context.get("generated") else ""
        lines.append(f"{html.escape(key)}: {html.escape(str(context.get('name', '?')))}{made}")
    if results["error"]:
        error = results["error"]
        under = f", under &ldquo;{html.escape(error['heading'])}&rdquo;" if error["heading"] else ""
        message = html.escape(brief(error["message"], 400))
        where = f"cell {html.escape(str(error['cell']))}{under}: " if error.get("cell") else ""
        lines.append(f'<span class="failed">{where}</span>{html.escape(error["type"])}: {message}')
    base = f"{quote(folder)}/"
    files = [(f"{name}.html", "page"), (f"{name}.ipynb", "notebook"), ("results.json", "results.json")]
    links = " &middot; ".join(f'<a href="{base}{quote(file)}">{text}</a>' for file, text in files)
    heading = f'<a href="{base}{quote(name)}.html">{html.escape(results["notebook"]["title"])}</a>'
    cells = [
        f'<td>{heading}<br><a href="#{_anchor(folder)}">{html.escape(folder)}</a></td>',
        f'<td class="{status if status in _STATUSES else ""}">{html.escape(status)}</td>',
        f'<td class="number">{results["seconds"]:.1f}</td>',
        f'<td class="value">{"<br>".join(lines)}</td>',
        f"<td>{links}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _details(folder: str, results: Mapping) -> str:
    git = results["git"]
    environment = {
        "started": results["started"],
        "device": results["device"],
        **results["machine"],
        "peak memory": _megabytes(results["peak_memory_bytes"]),
        "peak GPU memory": _megabytes(results["peak_gpu_memory_bytes"]),
        "git": f"{git.get('commit') or 'no commit yet'}{' + changes' if git.get('dirty') else ''}" if git else None,
        **{package: version for package, version in results["versions"].items() if version},
    }
    parts = [f'<h2 id="{_anchor(folder)}">{html.escape(folder)}</h2>']
    sections = {
        "parameters": results["parameters"],
        "all results": flatten(results["metrics"]),
        "data and encoders": flatten(results["context"]),
        "environment": {key: value for key, value in environment.items() if value is not None},
    }
    for title, values in sections.items():
        if values:
            rows = "".join(f"<tr><th>{html.escape(str(k))}</th>{_long(v)}</tr>" for k, v in values.items())
            opened = " open" if title == "parameters" else ""
            parts.append(f"<details{opened}><summary>{title}</summary><table>{rows}</table></details>")
    if results["error"]:
        text = results["error"]["traceback"] or results["error"]["message"]
        parts.append(f"<details open><summary>traceback</summary><pre>{html.escape(text)}</pre></details>")
    return "".join(parts)


def _long(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, bool)) or value is None else str(value)
    return f'<td class="value">{html.escape(text if len(text) <= 2000 else text[:2000] + " ...")}</td>'


def _megabytes(count: int | None) -> str | None:
    return None if count is None else f"{count / 1e6:.0f} MB"


def _anchor(folder: str) -> str:
    return "run-" + quote(folder, safe="")

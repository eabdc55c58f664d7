"""The page that opens a folder of runs: ``index.html``."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from .notebooks import plain_heading
from .previews import Preview
from .recording import asked_of, brief, interval_text, number_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; max-width: 1150px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 0 0 .2rem; }
p.lead { color: #59636e; margin-top: .2rem; } p { margin: .2rem 0; }
.scroll { overflow-x: auto; margin-bottom: 1.5rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: #59636e; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem; border-bottom: 1px solid #d1d9e0; }
th { font-weight: 600; white-space: nowrap; }
.number { text-align: right !important; font-variant-numeric: tabular-nums; }
details th { width: 13rem; white-space: normal; }
.value { overflow-wrap: anywhere; }
article { border-top: 1px solid #d1d9e0; padding: 1.2rem 0; }
.shown { display: flex; flex-wrap: wrap; gap: 1.2rem; margin: .6rem 0; }
.shown > div { flex: 1 1 340px; min-width: 0; } figure { flex: 0 1 400px; margin: 0; min-width: 0; }
figure img { max-width: 100%; max-height: 360px; display: block; } audio { width: 100%; height: 36px; }
figcaption, .among { color: #59636e; font-size: 13px; overflow-wrap: anywhere; }
dl { margin: 0; } dt { margin-top: .5rem; } dd { margin: 0; } dd b { font-size: 1.15rem; }
.ok { color: #116329; } .failed, .interrupted, .running { color: #a40e26; font-weight: 600; }
.generated { color: #7d4e00; }
pre { background: #f6f8fa; padding: .7rem; overflow-x: auto; border-radius: 4px; font-size: 13px; }
details { margin: .4rem 0; } summary { cursor: pointer; }
@media (max-width: 600px) { details th { width: 8rem; } th, td { padding: .3rem .4rem; } }
"""
# one sound at a time: the only script of the page
_SCRIPT = """
document.addEventListener("play", event => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
"""
_MAIN_RESULTS, _KEY_METRICS = 3, 6
_STATUSES = ("ok", "failed", "interrupted", "running")


def index_page(
    title: str,
    entries: Sequence[tuple[str, Mapping]],
    *,
    previews: Mapping[str, Preview] | None = None,
    table: str = "",
    note: str = "",
    lead: str = "",
    footer: str = "",
) -> str:
    """One HTML page that lists runs: main results, a picture and a sound of each; it links to the files beside it only.

    Parameters
    ----------
    title : str
        Heading.
    entries : sequence of (str, mapping)
        Folder of each run, relative to the page, and the contents of its ``results.json``.
    previews : mapping of str to Preview, optional
        Picture and sound by folder.
    table : str
        HTML put above the list (a sweep's table).
    note : str
        Text after how the runs ended, under the heading.
    lead : str
        Text in the place of both.
    footer : str
        Text at the end.

    Returns
    -------
    str
        The page.
    """
    count = {status: sum(r["status"] == status for _, r in entries) for status in _STATUSES}
    summary = ", ".join(f"{n} {status}" for status, n in count.items() if n) or "no runs"
    shown = previews or {}
    runs = "".join(_run(folder, results, shown.get(folder, Preview())) for folder, results in entries)
    title = html.escape(plain_heading(title))
    end = f'<footer class="among">{html.escape(footer)}</footer>' if footer else ""
    script = f"<script>{_SCRIPT}</script>" if any(preview.sound for preview in shown.values()) else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{title}</h1><p class="lead">{html.escape(lead or f"{summary}. {note}")}</p>{table}{runs}{end}{script}'
        "</body></html>\n"
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


def _run(folder: str, results: Mapping, preview: Preview) -> str:
    """What a run was, its main results, what it looks and sounds like, and all the rest folded away."""
    name, status = results["notebook"]["name"], results["status"]
    base = f"{quote(folder)}/"
    files = [(f"{name}.html", "page"), (f"{name}.ipynb", "notebook"), ("results.json", "results.json")]
    links = " &middot; ".join(f'<a href="{base}{quote(file)}">{text}</a>' for file, text in files)
    heading = f'<a href="{base}{quote(name)}.html">{html.escape(plain_heading(results["notebook"]["title"]))}</a>'
    state = f'<span class="{status if status in _STATUSES else ""}">{html.escape(status)}</span>'
    asked = ", ".join(f"{key} = {brief(value) or repr(value)}" for key, value in asked_of(results)[0].items())
    media = ""
    if preview.picture:
        words = html.escape(plain_heading(preview.picture_of))
        media = f'<img src="{preview.picture}" alt="{words}"><figcaption>{words}</figcaption>'
    if preview.sound:
        words = html.escape(preview.sound_of)
        sound = f'<audio controls preload="metadata" aria-label="{words}" src="{html.escape(preview.sound)}"></audio>'
        media += f"{sound}<figcaption>{words}</figcaption>"
    return (
        f'<article id="{_anchor(folder)}"><h2>{heading}</h2>'
        f"<p>{html.escape(folder)}: {state}, {results['seconds']:.1f} s &middot; {links}</p>"
        f'<p class="value">asked: {html.escape(asked)}</p>'
        f'<div class="shown">{f"<figure>{media}</figure>" if media else ""}<div>{_results(results)}</div></div>'
        f"{_details(results)}</article>"
    )


def _results(results: Mapping) -> str:
    """The notebook's main results, each with its interval and what it is read against; else its first metrics."""
    rows = results.get("headline", [])[:_MAIN_RESULTS]
    lines = [
        f"<dt>{html.escape(plain_heading(row['text']))}</dt>"
        f"<dd><b>{html.escape(number_text(row['value']))}</b> {html.escape(interval_text(row))}"
        f'<br><span class="among">read against: {html.escape(plain_heading(row["control"]))}</span></dd>'
        for row in rows
    ]
    parts = [f"<dl>{''.join(lines)}</dl>"] if lines else []
    if not rows:
        # single numbers first: of nested results (one a layer, say) the page has the rest
        shown = flatten(dict(sorted(results["metrics"].items(), key=lambda item: isinstance(item[1], Mapping))))
        key_metrics = [(k, v) for k, v in shown.items() if not isinstance(v, list)][:_KEY_METRICS]
        parts += [f"<p>{html.escape(key)} = <b>{html.escape(brief(value))}</b></p>" for key, value in key_metrics]
    among = []
    for key, context in results["context"].items():
        made = ' <span class="generated">(generated audio)</span>' if context.get("generated") else ""
        among.append(f"{html.escape(key)}: {html.escape(str(context.get('name', '?')))}{made}")
    parts += [f'<p class="among">{"; ".join(among)}</p>'] if among else []
    if results["error"]:
        error = results["error"]
        under = f", under &ldquo;{html.escape(plain_heading(error['heading']))}&rdquo;" if error["heading"] else ""
        message = html.escape(brief(error["message"], 400))
        where = f"cell {html.escape(str(error['cell']))}{under}: " if error.get("cell") else ""
        parts.append(f'<p class="value"><span class="failed">{where}</span>{html.escape(error["type"])}: {message}</p>')
    return "".join(parts)


def _details(results: Mapping) -> str:
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
    parts = []
    sections = {
        "all parameters": results["parameters"],
        "all results": flatten(results["metrics"]),
        "data and encoders": flatten(results["context"]),
        "environment": {key: value for key, value in environment.items() if value is not None},
    }
    for title, values in sections.items():
        if values:
            rows = "".join(f"<tr><th>{html.escape(str(k))}</th>{_long(v)}</tr>" for k, v in values.items())
            parts.append(f"<details><summary>{title}</summary><table>{rows}</table></details>")
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

"""Prototypes as arrows in space, to be turned with the mouse or the arrow keys.

A short script on a 2-D canvas draws them. plotly's 3-D scenes do the same with 4.8 MB of script in each output that
must work without a network, need WebGL, and by default write another random id each time; this adds 7 kB, and is the
same byte for byte for the same prototypes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import checked, numbers
from ..core.errors import ParameterError
from .colours import PALETTE
from .inputs import mapping, texts
from .page import Page, escape


@checked
def turnable(
    sets: Mapping[str, ArrayLike], *, names: Sequence[str] | None = None, title: str | None = None
) -> Turnable:
    """Draw sets of prototypes in three dimensions, side by side; turning one turns all.

    Parameters
    ----------
    sets : mapping of title -> array_like (C, 3)
        Prototypes, in one scale for all sets; the faint sphere has radius 1.
    names : sequence of str, optional
        Written at the arrows, one for each of the C prototypes of every set; by default 1, 2, ...
    title : str, optional

    Returns
    -------
    Turnable

    Raises
    ------
    ParameterError
        No set, one that is not (C, 3) and finite, or names of another number.
    """
    sets = mapping("sets", sets, "a mapping of title to prototypes (C, 3)")
    if not sets:
        raise ParameterError("sets", sets, "at least one set of prototypes")
    names = None if names is None else texts("names", names)
    arrays = {}
    for name, given in sets.items():
        points = arrays[str(name)] = numbers(f"sets[{name!r}]", given, empty=True).astype(np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or not len(points) or not np.abs(points).max() < 1e100:
            raise ParameterError(f"sets[{name!r}]", f"array of shape {points.shape}", "below 1e100, of shape (C, 3)")
        if names is not None and len(names) != len(points):
            raise ParameterError("names", f"{len(names)} names", f"one for each of {len(points)} prototypes of {name}")
    return Turnable(arrays, names, title)


class Turnable(Page):
    """Prototypes to be turned, made by :func:`turnable`; display it and drag."""

    def __init__(self, sets: dict[str, np.ndarray], names: list[str] | None, title: str | None):
        super().__init__(title)
        self.sets, self.names = sets, names

    @property
    def html(self) -> str:
        """The sets as HTML that needs neither kernel nor network."""
        radius = max(1.0, *(float(np.linalg.norm(points, axis=1).max()) for points in self.sets.values()))
        figures = "".join(self._figure(name, points, radius) for name, points in self.sets.items())
        title = f'<div class="wb-title">{escape(self.title)}</div>' if self.title else ""
        return (
            f'<div class="wb-space" data-lm-suppress-shortcuts="true"><style>{_STYLE}</style>{title}'
            f'<div class="wb-scenes">{figures}</div>'
            '<div class="wb-note">Drag to turn, or use the arrow keys; a double click turns back. The sphere has '
            f"radius 1.</div><script>(() => {{{_SCRIPT}}})();</script></div>"
        )

    def _figure(self, name: str, points: np.ndarray, radius: float) -> str:
        labels = self.names or [str(c + 1) for c in range(len(points))]
        data = {"points": np.round(points / radius, 5).tolist(), "names": labels, "sphere": round(1 / radius, 5)}
        data["colours"] = [PALETTE[c % len(PALETTE)] for c in range(len(points))]
        words, drawn = escape(_described(points)), escape(json.dumps(data))
        return (
            f'<figure><canvas tabindex="0" role="img" aria-label="{escape(name)}: {words}" data-set="{drawn}"></canvas>'
            f"<figcaption><b>{escape(name)}</b>{words}</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return f"Turnable({', '.join(f'{name} {points.shape}' for name, points in self.sets.items())})"


def _described(points: np.ndarray) -> str:
    """ "4 prototypes, smallest angle 109.5°, all of length 1"."""
    lengths = np.linalg.norm(points, axis=1)
    low, high = f"{lengths.min():.3g}", f"{lengths.max():.3g}"
    text = f"{len(points)} prototype{'s' * (len(points) > 1)}"
    if len(points) > 1 and lengths.min() > 0:
        cosines = (points @ points.T) / np.outer(lengths, lengths)
        widest = cosines[~np.eye(len(points), dtype=bool)].max()
        text += f", smallest angle {np.degrees(np.arccos(np.clip(widest, -1, 1))):.1f}°"
    return f"{text}, " + (f"length {low}" if low == high else f"lengths {low} to {high}")


_STYLE = """
.wb-space { max-width: 1100px; margin: 4px 0 8px; font: 13px/1.4 system-ui, -apple-system, "Segoe UI", sans-serif; }
.wb-space .wb-title { font-size: 14px; font-weight: 600; margin-bottom: 6px; }
.wb-scenes { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 10px; }
.wb-space figure { margin: 0; min-width: 0; max-width: 420px; }
.wb-space canvas { display: block; width: 100%; aspect-ratio: 1; margin: -4% 0; cursor: grab; touch-action: none; }
.wb-space canvas:focus-visible { outline: 2px solid #3f74f5; outline-offset: -2px; }
.wb-space figcaption { text-align: center; text-wrap: balance; overflow-wrap: anywhere; }
.wb-space figcaption b { display: block; }
.wb-space .wb-note { font-size: 12px; opacity: 0.72; margin-top: 6px; }
"""

_SCRIPT = """
const root = document.currentScript.parentElement, START = [-0.6, 0.35];
const scenes = [...root.querySelectorAll("canvas")].map((canvas) => ({ canvas, ...JSON.parse(canvas.dataset.set) }));
let turn = [...START];
const draw = () => scenes.forEach(({ canvas, points, names, colours, sphere }) => {
  const ratio = window.devicePixelRatio || 1, size = canvas.clientWidth, c = canvas.getContext("2d");
  if (!size) return;
  canvas.width = canvas.height = Math.round(size * ratio);
  c.scale(ratio, ratio);
  const ink = getComputedStyle(canvas).color, middle = size / 2, unit = size * 0.41;
  const [[sa, ca], [sb, cb]] = turn.map((angle) => [Math.sin(angle), Math.cos(angle)]);
  // The third axis points up; what is nearer to the eye has the larger third value.
  const place = ([x, y, z]) => {
    const right = ca * x - sa * y, away = sa * x + ca * y;
    return [middle + unit * right, middle - unit * (cb * z + sb * away), sb * z - cb * away];
  };
  const line = (a, b, colour, width, alpha) => {
    Object.assign(c, { strokeStyle: colour, lineWidth: width, globalAlpha: alpha, lineCap: "round" });
    c.beginPath(); c.moveTo(a[0], a[1]); c.lineTo(b[0], b[1]); c.stroke();
  };
  const circles = [(s, t) => [s, t, 0], (s, t) => [s, 0, t], (s, t) => [0, s, t]];
  for (const circle of circles) for (let k = 0; k < 72; k++) {
    const at = (angle) => place(circle(sphere * Math.sin(angle), sphere * Math.cos(angle)));
    const [a, b] = [at((k * Math.PI) / 36), at(((k + 1) * Math.PI) / 36)];
    line(a, b, ink, 1, a[2] + b[2] > 0 ? 0.22 : 0.08);
  }
  c.globalAlpha = 0.3;
  c.beginPath(); c.arc(middle, middle, unit * sphere, 0, 2 * Math.PI); c.stroke();
  const tips = points.map((point, k) => ({ k, tip: place(point) })).sort((a, b) => a.tip[2] - b.tip[2]);
  c.font = "12px system-ui, sans-serif";
  Object.assign(c, { textAlign: "center", textBaseline: "middle" });
  for (const { k, tip } of tips) {
    const near = (tip[2] + 1) / 2, alpha = 0.45 + 0.55 * near, width = 1.8 + 1.6 * near, colour = colours[k];
    const dx = tip[0] - middle, dy = tip[1] - middle, long = Math.hypot(dx, dy) || 1, [ux, uy] = [dx / long, dy / long];
    const head = Math.min(11, long);
    line([middle, middle], [tip[0] - ux * head * 0.7, tip[1] - uy * head * 0.7], colour, width, alpha);
    c.fillStyle = colour;
    c.beginPath(); c.moveTo(tip[0], tip[1]);
    for (const side of [0.45, -0.45]) c.lineTo(tip[0] - head * (ux + side * uy), tip[1] - head * (uy - side * ux));
    c.fill();
    c.fillStyle = ink;
    const name = names[k].length > 18 ? names[k].slice(0, 17) + "…" : names[k], half = c.measureText(name).width / 2;
    const x = tip[0] + ux * (half + 8), y = tip[1] + uy * 14;
    c.fillText(name, Math.min(Math.max(x, half + 2), size - half - 2), Math.min(Math.max(y, 8), size - 8));
  }
  c.globalAlpha = 1;
});
const by = (across, down) => {
  turn = [turn[0] + across, Math.min(Math.max(turn[1] + down, -Math.PI / 2), Math.PI / 2)];
  draw();
};
for (const { canvas } of scenes) {
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) by(event.movementX * 0.01, event.movementY * 0.01);
  });
  canvas.addEventListener("dblclick", () => { turn = [...START]; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (!step) return;
    event.preventDefault();
    by(...step);
  });
}
new ResizeObserver(draw).observe(root);
new MutationObserver(() => requestAnimationFrame(draw)).observe(document.body, { attributes: true });
"""

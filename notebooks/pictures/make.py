"""The moving pictures of the README, taken from pages of a run as a reader uses them.

    workbench run sae pecmae --out RUNS
    python notebooks/pictures/make.py RUNS

Needs the extra ``test`` (playwright, Pillow) and a Chromium on the path. Every page is opened without a network; a drawn
pointer shows where the mouse is, because a picture of a page has none.
"""

from __future__ import annotations

import argparse
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

WIDTH, COLOURS = 720, 64
FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=user-gesture-required"]
POINTER = """() => {
  const pointer = document.createElement("div");
  pointer.style.cssText = "position:fixed;z-index:99999;width:16px;height:16px;border:2px solid #000;border-radius:50%;" +
    "background:#ffd33dcc;pointer-events:none;transform:translate(-50%,-50%);left:-50px";
  document.body.append(pointer);
  document.addEventListener("mousemove", event => {
    pointer.style.left = event.clientX + "px";
    pointer.style.top = event.clientY + "px";
  }, true);
}"""
POINTS = """map => {
  const view = map.wbView, plot = view.panels.at(-1), box = plot.marks.getBoundingClientRect(), found = [], seen = new Set();
  for (let i = 0; i < view.data.n; i++) {
    const [x, y] = plot.toScreen(i), kind = view.data.codes ? view.data.codes[i] : i;
    if (view.data.sounds[i] && plot.pick(x, y) === i && !seen.has(kind)) {
      seen.add(kind);
      found.push([box.left + x, box.top + y]);
    }
  }
  return found;
}"""


def sound_map(page: Page) -> Iterator[tuple[str, float]]:
    """Click a point of every class; yields what to photograph and for how many seconds it is shown."""
    one = page.locator(".wb-map").first
    one.scroll_into_view_if_needed()
    for x, y in one.evaluate(POINTS)[:5]:
        page.mouse.move(x + 60, y + 40)
        yield ".wb-map >> nth=0", 0.3
        page.mouse.move(x, y)
        yield ".wb-map >> nth=0", 0.7
        page.mouse.click(x, y)
        page.wait_for_timeout(300)
        yield ".wb-map >> nth=0", 1.2


def prototypes(page: Page) -> Iterator[tuple[str, float]]:
    """Play the prototype of one class after the other."""
    raise NotImplementedError


def film(page: Page, path: Path, steps: Iterator[tuple[str, float]]) -> None:
    """Photograph every step and write them as one animated picture."""
    frames, times = [], []
    for selector, seconds in steps:
        image = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")
        frames.append(image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS))
        times.append(round(1000 * seconds))
    size = (WIDTH, max(frame.height for frame in frames))
    whole = [Image.new("RGB", size, "white") for _ in frames]
    for sheet, frame in zip(whole, frames, strict=True):
        sheet.paste(frame)
    palette = whole[-1].quantize(COLOURS)
    drawn = [sheet.quantize(palette=palette, dither=Image.Dither.NONE) for sheet in whole]
    drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=times, loop=0, optimize=True)
    print(f"{path}: {len(frames)} frames, {path.stat().st_size / 1000:.0f} kB")

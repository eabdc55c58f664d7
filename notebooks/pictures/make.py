"""The moving pictures of the README: pages of a run, filmed while a pointer uses them.

    workbench run sae pecmae --out RUNS
    python notebooks/pictures/make.py RUNS

This needs the extra ``test`` (playwright, Pillow) and a Chromium on the path. Pages are opened
without a network. The yellow disc shows where the mouse is, because the picture of a page has no
pointer.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

WIDTH, COLOURS = 760, 64
FLAGS = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=user-gesture-required"]
POINTER = """() => {
  const pointer = document.createElement("div");
  pointer.style.cssText = `position: fixed; z-index: 99999; width: 16px; height: 16px; left: -50px;
    border: 2px solid #000; border-radius: 50%; background: #ffd33dcc; pointer-events: none;
    transform: translate(-50%, -50%)`;
  document.body.append(pointer);
  document.addEventListener("mousemove", (event) => {
    pointer.style.left = `${event.clientX}px`;
    pointer.style.top = `${event.clientY}px`;
  }, true);
}"""
POINTS = """(map) => {
  const view = map.wbView, plot = view.panels.at(-1), box = plot.marks.getBoundingClientRect();
  const found = new Map();
  for (let i = 0; i < view.data.n; i++) {
    const [x, y] = plot.toScreen(i);
    if (view.data.sounds[i] && plot.pick(x, y) === i && !found.has(view.codes[i])) {
      found.set(view.codes[i], [box.left + x, box.top + y]);
    }
  }
  return [...found.values()];
}"""


def sound_map(page: Page) -> Iterator[tuple[Locator | Page, float]]:
    """Click points of some classes; yields what to photograph, and for how many seconds."""
    one = page.locator(".wb-map").first
    one.scroll_into_view_if_needed()
    yield one, 0.5
    for x, y in one.evaluate(POINTS)[:6]:
        page.mouse.move(x, y)
        page.wait_for_timeout(150)
        yield one, 0.9
        page.mouse.click(x, y)
        page.wait_for_timeout(400)
        yield one, 1.1


def prototypes(page: Page) -> Iterator[tuple[Locator | Page, float]]:
    """Play some prototypes, each as it begins, in the middle and near its end."""
    page.set_viewport_size({"width": 1000, "height": 620})
    cells = page.locator(".wb-cell")
    cells.first.evaluate("(cell) => cell.scrollIntoView({ block: 'start' })")
    page.mouse.wheel(0, -60)
    page.wait_for_timeout(500)
    for k in (0, 1, 3, 4):
        audio = cells.nth(k).locator(".wb-made audio")
        box = audio.bounding_box()
        if box is None or box["y"] + box["height"] > 620:
            return
        page.mouse.move(box["x"] + 18, box["y"] + box["height"] / 2)
        page.mouse.click(box["x"] + 18, box["y"] + box["height"] / 2)
        for share in (0.1, 0.5, 0.9):
            audio.evaluate("(audio, at) => { audio.currentTime = at * audio.duration; }", share)
            page.wait_for_timeout(250)
            yield page, 0.7


def film(path: Path, steps: Iterator[tuple[Locator | Page, float]]) -> None:
    """Photograph every step and write them as one animated picture."""
    frames, times = [], []
    for what, seconds in steps:
        image = Image.open(io.BytesIO(what.screenshot())).convert("RGB")
        frames.append(
            image.resize(
                (WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS
            )
        )
        times.append(round(1000 * seconds))
    size = (WIDTH, min(560, max(frame.height for frame in frames)))
    sheets = [Image.new("RGB", size, "white") for _ in frames]
    for sheet, frame in zip(sheets, frames, strict=True):
        sheet.paste(frame)
    palette = sheets[-1].quantize(COLOURS)
    first, *others = (sheet.quantize(palette=palette, dither=Image.Dither.NONE) for sheet in sheets)
    first.save(path, save_all=True, append_images=others, duration=times, loop=0, optimize=True)
    print(f"{path}: {len(frames)} frames, {path.stat().st_size / 1000:.0f} kB")


FILMS: dict[str, tuple[str, Callable[[Page], Iterator[tuple[Locator | Page, float]]]]] = {
    "sound_map.gif": ("sae", sound_map),
    "prototypes.gif": ("pecmae", prototypes),
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder of a run of sae and pecmae")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder to write into"
    )
    options = parser.parse_args()
    executable = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if executable is None:
        sys.exit("no Chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        for name, (notebook, steps) in FILMS.items():
            source = options.runs / notebook / f"{notebook}.html"
            if not source.is_file():
                sys.exit(f"{source}: no such page; the command at the head of this file makes it")
            page = browser.new_page(viewport={"width": 1000, "height": 900})
            page.context.set_offline(True)
            page.goto(source.resolve().as_uri(), wait_until="commit")
            page.wait_for_selector(".wb-marks")
            page.wait_for_timeout(1000)
            page.evaluate(POINTER)
            film(options.out / name, steps(page))
            page.close()
        browser.close()


if __name__ == "__main__":
    main()

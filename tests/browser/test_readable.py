"""Every page on a telephone, on a dark screen and on paper: nothing sticks out, all text stands out, no card breaks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench import views

CLASSES = ("bell", "Lippentrillervibratowechselgesang", "<oboe>")
#: Width in pixels (A4 at 96 dots an inch, without its margins), and what the browser emulates.
MODES = {
    "telephone": (390, "screen", "light"),
    "dark telephone": (390, "screen", "dark"),
    "dark desk": (1100, "screen", "dark"),
    "paper": (718, "print", "light"),
    "paper from a dark screen": (718, "print", "dark"),
    "dark JupyterLab": (700, "screen", "light"),
}
#: What JupyterLab's dark theme sets around an output.
DARK_LAB = "body { background: #111; color: #ffffffde; --jp-layout-color0: #111; }"
#: What a contrast of text and ground is, whatever lies on what; and how far the page is wider than the screen.
MEASURE = """() => {
  const channels = (colour) => {
    const found = (colour.match(/[\\d.]+/g) || []).map(Number);
    return [...found.slice(0, 3).map((v) => (colour.startsWith("color(") ? 255 * v : v)), found[3] ?? 1];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((v, k) => v * a + below[k] * (1 - a));
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const words = text.data.trim(), own = text.parentElement;
    if (!words || own.closest('script, style, option, :disabled')) continue;
    if (!own.checkVisibility({ visibilityProperty: true })) continue;
    let ground = [255, 255, 255], opacity = 1;
    const chain = [];
    for (let node = own; node; node = node.parentElement) chain.unshift(node);
    for (const node of chain) {
      const style = getComputedStyle(node), paint = channels(style.backgroundColor);
      opacity *= style.opacity;
      ground = over([...paint.slice(0, 3), paint[3] * opacity], ground);
    }
    const ink = channels(getComputedStyle(own).color);
    const [a, b] = [light(over([...ink.slice(0, 3), ink[3] * opacity], ground)), light(ground)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${words.slice(0, 40)} (${own.className || own.tagName}) ${contrast.toFixed(2)}`);
  }
  const screen = document.documentElement.clientWidth, out = new Set();
  const scrolls = (node) => node
    && (/auto|scroll|hidden/.test(getComputedStyle(node).overflowX) || scrolls(node.parentElement));
  for (const node of document.querySelectorAll('body *')) {
    const { right, width } = node.getBoundingClientRect();
    if (width && right > screen + 1 && !scrolls(node.parentElement)) out.add(String(node.className || node.tagName));
  }
  const whole = (card) => getComputedStyle(card).breakInside === 'avoid';
  return {
    faint: [...new Set(faint)],
    wide: document.documentElement.scrollWidth - screen,
    out: [...out],
    breaks: [...document.querySelectorAll('.wb-card')].filter((card) => !whole(card)).length,
  };
}"""


def tone(frequency: float, seconds: float = 0.5) -> np.ndarray:
    t = np.arange(int(seconds * 8000)) / 8000
    return (0.1 * np.sin(2 * np.pi * frequency * t)).astype(np.float32)


def make_table() -> tuple[np.ndarray, pd.DataFrame]:
    """(z (60, 12), table): three classes, a factor, and names as files have them."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"id": [f"recordings/2024-03-0{i % 7}_studio_A_take_{i:03d}_normalised.wav" for i in range(60)]}
    )
    table["label"] = np.array(CLASSES)[np.arange(60) % 3]
    table["f0"] = 110 * 2 ** rng.uniform(0, 2, 60)
    return rng.normal(size=(60, 12)) + 4 * np.eye(12)[np.arange(60) % 3], table


def heard(i: int) -> tuple[np.ndarray, int]:
    return tone(200 + 5 * i), 8000


def make_map():
    z, table = make_table()
    return views.sound_map({"first layer": z, "last layer": z[:, :4]}, table, audio=heard, hover="f0", sounds=5)


def make_players():
    _, table = make_table()

    def audio(i: int):
        if i == 4:
            raise OSError("no such file: /" + "a_long_path_without_a_space/" * 5)
        return heard(i)

    return views.players(table, list(range(6)), columns=["f0"], audio=audio, title="Some of the clips")


def make_prototypes():
    made = []
    for k in range(6):
        near = [views.RealClip(f"clip {k // 2}", tone(310 + 10 * k), 8000, 0.5 + k)]
        sounds = [tone(300 + 10 * k + 100 * seed) for seed in range(2)]
        made.append(views.PrototypeSounds(CLASSES[k // 2], sounds, 8000, near, segments=k, weight=2.0 - k))
    return made


def make_prototype_page():
    xy = np.stack(np.meshgrid(np.arange(6.0), np.arange(4.0)), -1).reshape(-1, 2)
    labels, names = [CLASSES[i % 3] for i in range(24)], [f"clip {i}" for i in range(24)]
    points = views.DataPoints(xy, labels, names, xy[:6] + 0.5, np.arange(24) % 6, heard)
    return views.prototype_page(make_prototypes(), points=points, point_sounds=6)


def make_similarity_page():
    rng = np.random.default_rng(0)
    clips = [views.ExplainedClip(f"clip {i}", tone(440), 8000, rng.uniform(size=6), "bell") for i in range(2)]
    head = {"classes": CLASSES, "weights": rng.normal(size=(3, 6)), "bias": rng.normal(size=3)}
    return views.similarity_page(clips, make_prototypes(), **head, most=3)


def make_latent_page():
    z, table = make_table()
    decoder = np.random.default_rng(1).normal(size=(12, 16))
    return views.latent_page(np.maximum(z, 0), table, columns=["label", "f0"], audio=heard, sounds=10, decoder=decoder)


def make_decision_page():
    from workbench.prototypes.explaining import explain
    from workbench.prototypes.factors import FactorPrototypes, Levels

    rng, (_, table) = np.random.default_rng(0), make_table()
    levels = Levels.fit(rng.normal(size=(60, 3)), ["pitch median", "spread", "loudness"], count=3)
    factors = FactorPrototypes(levels, 12, scale=1.5)
    z = factors.targets(rng.integers(0, 3, (60, 3))) + 0.3 * rng.normal(size=(60, 12))
    explanation = explain(z, 1.5 * rng.normal(size=(3, 12)), rng.normal(size=3), factors)
    return views.decision_page(explanation, table, [4, 7], classes=CLASSES, audio=heard)


def make_settings_page():
    settings = {"steps": [2, 5, 10, 40, 100, 250, 1000], "guidance": [0, 1, 4]}
    sounds = {(s, g): tone(300 + 20 * g) for s in settings["steps"] for g in settings["guidance"]}
    captions = {key: f"error {key[1] / key[0]:.3f}" for key in sounds}
    reference = {"original": tone(220), "codec round trip": tone(230)}
    return views.sounds_by_setting(
        sounds, 8000, settings=settings, reference=reference, captions=captions, start=(10, 1)
    )


def make_interpretation_page():
    import torch

    from workbench.interpreters.interpretation import Interpretation
    from workbench.interpreters.spectra import Spectra

    spectra, t = Spectra(rate=16000), torch.arange(16000) / 16000
    tones = torch.stack([0.5 * torch.sin(2 * np.pi * 500 * (k + 1) * t) * (t // 0.25 == k) for k in range(4)])
    x, phase = spectra.analyse(tones.sum(0))
    w = torch.full((513, 4), 1e-5)
    for k in range(4):
        w[32 * k + 16 : 32 * k + 48, k] = 1
    h = torch.stack([spectra.analyse(tone)[0].sum(0) for tone in tones]) + 1e-3
    logits, weights = np.array([0.5, 2.0, -1.0]), torch.tensor([1.0, 0.7, 0.4, -0.5])
    one = Interpretation(CLASSES, 1, tones.sum(0), x, phase, w, h, torch.ones(4), weights, logits, logits, spectra)
    return views.interpretation_page(one, truth={"bell": [[0.2, 0.7]]}, tau=0.2)


PAGES = {
    "map": make_map,
    "players": make_players,
    "prototypes": make_prototype_page,
    "similarity": make_similarity_page,
    "latents": make_latent_page,
    "decisions": make_decision_page,
    "settings": make_settings_page,
    "interpretation": make_interpretation_page,
}


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    """Name of a page -> the page in a browser without a network; made and opened once."""
    folder, pages = tmp_path_factory.mktemp("pages"), {}
    context = chromium.new_context(offline=True)

    def get(name: str):
        if name not in pages:
            page = pages[name] = context.new_page()
            page.goto(PAGES[name]().save(folder / f"{name}.html").as_uri())
            page.wait_for_function("document.querySelector('body > div').wbView || !document.querySelector('.wb-data')")
            if name == "map":
                page.locator(".wb-marks").first.focus()
                page.keyboard.press("ArrowRight")
        return pages[name]

    yield get
    context.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_sticks_out_and_all_text_stands_out(opened, name, mode):
    page, (width, media, scheme) = opened(name), MODES[mode]
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(media=media, color_scheme=scheme)
    if mode == "dark JupyterLab":
        page.add_style_tag(content=DARK_LAB)
        page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    if page.evaluate("!!document.querySelector('body > div').wbView"):  # it may take a moment to see the new tone
        dark = "dark" in mode and media == "screen"
        page.wait_for_function("(dark) => !!document.querySelector('.wb-dark') === dark", arg=dark, timeout=60_000)
    found = page.evaluate(MEASURE)
    assert not found["faint"], f"contrast below 4.5: {found['faint']}"
    assert found["wide"] <= 0 and not found["out"], f"{found['wide']} pixels too wide: {found['out']}"
    assert not found["breaks"], f"{found['breaks']} cards may break between two sheets"

"""The sound map as a page opened from disk without a network: hover, click, legend, keys, hostile labels, speed."""

from __future__ import annotations

import itertools

import pytest

from workbench.views import players, sound_map

TIME = "document.querySelector('.wb-audio').currentTime"


def opened(page, view, path):
    view.save(path)
    page.goto(path.as_uri())
    page.wait_for_selector(".wb-marks")


def place(page, which: str, map_number: int = 0) -> dict:
    """Screen position of the first point for which ``which`` (JavaScript, of i and map) holds and a click hits it."""
    point = page.evaluate(
        f"""() => {{
          const map = document.querySelectorAll('.wb-map')[{map_number}].wbView, plot = map.panels[0];
          const box = plot.marks.getBoundingClientRect();
          for (let i = 0; i < map.data.n; i++) {{
            const [x, y] = plot.toScreen(i);
            if (({which}) && plot.pick(x, y) === i) return {{i, x: box.left + x, y: box.top + y}};
          }}
        }}"""
    )
    assert point, f"no point on the screen with {which}"
    return point


def test_ringed_point_plays_without_network(offline_page, clusters, tone, tmp_path):
    page, (z, table) = offline_page, clusters(300)
    opened(page, sound_map(z, table, audio=tone, sounds=20, hover=["singer", "f0"]), tmp_path / "map.html")
    assert page.evaluate("document.querySelector('.wb-audio').paused"), "nothing plays before a click"
    point = place(page, "map.data.sounds[i]")
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function(f"{TIME} > 0.3", timeout=60_000)
    assert f"clip {point['i']:05d}" in page.inner_text(".wb-now")
    assert "5.0 s · 16 kHz" in page.inner_text(".wb-now")
    # A second click stops it.
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function("document.querySelector('.wb-audio').paused", timeout=60_000)


def test_silent_point_says_why(offline_page, clusters, tone, tmp_path):
    page, (z, table) = offline_page, clusters(300)
    opened(page, sound_map(z, table, audio=tone, sounds=20), tmp_path / "map.html")
    point = place(page, "!map.data.sounds[i]")
    page.mouse.click(point["x"], point["y"])
    page.wait_for_selector(".wb-wrong")
    assert "the ringed points play" in page.inner_text(".wb-now")
    assert "20 of 300 carry sound" in page.inner_text(".wb-note")


def test_hover_shows_columns(offline_page, clusters, tone, tmp_path):
    page, (z, table) = offline_page, clusters(300)
    opened(page, sound_map(z, table, audio=tone, sounds=5, hover=["singer", "f0"]), tmp_path / "map.html")
    point = place(page, "true")
    page.mouse.move(point["x"], point["y"])
    page.wait_for_selector(".wb-tip", state="visible")
    row, text = table.iloc[point["i"]], page.inner_text(".wb-tip")
    for wanted in (row["id"], row["label"], row["singer"], f"{row['f0']:.4g}"):
        assert wanted in text


def test_one_sound_at_a_time_over_all_outputs(offline_page, clusters, tone, tmp_path):
    page, (z, table) = offline_page, clusters(60)
    one, two = sound_map(z, table, audio=tone), players([("first", *tone(0)), ("second", *tone(9))])
    path = tmp_path / "page.html"
    path.write_text(f'<meta charset="utf-8">{one.html}{two.html}', encoding="utf-8")
    page.goto(path.as_uri())
    page.wait_for_selector(".wb-marks")
    point = place(page, "true")
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function(f"{TIME} > 0.1", timeout=60_000)
    playing = "[...document.querySelectorAll('audio')].map((a) => !a.paused)"
    assert page.evaluate(playing) == [True, False, False]
    page.locator(".wb-picture").nth(1).click()
    page.wait_for_function("document.querySelectorAll('audio')[2].currentTime > 0.9", timeout=60_000)
    assert page.evaluate(playing) == [False, False, True]


def test_hostile_labels_are_text(offline_page, clusters, tone, tmp_path):
    page, (z, table) = offline_page, clusters(40)
    hostile = "</script><script>window.hit=1</script><img src=x onerror=window.hit=1>"
    table["label"] = hostile
    table["id"] = [f'"><svg onload="window.hit=1">{i}' for i in range(40)]
    view = sound_map(z, table, audio=tone, sounds=5, title=hostile)
    both = view.html + players(table, [0, 1], audio=tone, columns=["singer"], title=hostile).html
    path = tmp_path / "page.html"
    path.write_text(f'<meta charset="utf-8">{both}', encoding="utf-8")
    page.goto(path.as_uri())
    page.wait_for_selector(".wb-marks")
    point = place(page, "map.data.sounds[i]")
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function(f"{TIME} > 0.1", timeout=60_000)
    assert hostile in page.inner_text(".wb-legend")
    assert hostile in page.inner_text(".wb-title >> nth=0")
    assert page.inner_text(".wb-name >> nth=0") == hostile
    assert page.evaluate("window.hit") is None


def test_legend_hides_and_lasso_selects_what_is_shown(offline_page, clusters, tone, tmp_path):
    page, (z, table) = offline_page, clusters(300)
    opened(page, sound_map(z, table, audio=tone, sounds=5), tmp_path / "map.html")
    page.get_by_role("button", name="lip trill").click()
    assert page.get_by_role("button", name="lip trill").get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Box").click()
    box = page.locator(".wb-marks").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=5)
    page.mouse.up()
    shown = int((table["label"] != "lip trill").sum())
    assert f"{shown} selected" in page.inner_text(".wb-note")
    page.keyboard.press("Escape")
    assert "selected" not in page.inner_text(".wb-note")


def test_keyboard_goes_and_plays(offline_page, clusters, tone, tmp_path):
    page, (z, table) = offline_page, clusters(300)
    opened(page, sound_map(z, table, audio=tone, sounds=20), tmp_path / "map.html")
    page.locator(".wb-marks").focus()
    page.keyboard.press("ArrowRight")
    first = page.inner_text(".wb-tip")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.inner_text(".wb-tip") != first
    page.keyboard.press("Enter")
    page.wait_for_function(f"{TIME} > 0.1", timeout=60_000)
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('.wb-audio').paused", timeout=60_000)


def test_panels_share_hover_and_sound(offline_page, clusters, tone, tmp_path):
    page, (z, table) = offline_page, clusters(120)
    opened(page, sound_map({"first": z, "second": z[:, :3]}, table, audio=tone, color="f0"), tmp_path / "map.html")
    assert page.locator(".wb-marks").count() == 2
    assert page.locator(".wb-subtitle").all_inner_texts() == ["first", "second"]
    point = place(page, "map.data.sounds[i]")
    page.mouse.click(point["x"], point["y"])
    page.wait_for_function(f"{TIME} > 0.1", timeout=60_000)
    drawn = """() => [...document.querySelectorAll('.wb-marks')].map((node) =>
        node.getContext('2d').getImageData(0, 0, node.width, node.height).data.some((v) => v > 0))"""
    assert page.evaluate(drawn) == [True, True], "the point is marked in both panels"


def test_many_classes_differ_in_colour_or_shape_and_their_names_do_not_overprint(
    offline_page, clusters, tone, tmp_path
):
    page, (z, table) = offline_page, clusters(288)
    table["label"] = [f"class {i % 72} of the many that there are" for i in range(288)]
    opened(page, sound_map({"one": z, "two": z[:, :3]}, table, audio=tone, sounds=5), tmp_path / "map.html")
    styles = page.evaluate("document.querySelector('.wb-map').wbView.state.styles.map((s) => [s.colour, s.shape])")[:-1]
    assert len(styles) == 72 == len(set(map(tuple, styles)))
    assert len({colour for colour, _ in styles[:12]}) == 12
    for one, other in itertools.pairwise(styles):
        assert one[0] != other[0] and one[1] != other[1], "neighbours differ in both"
    for width in (1050, 390):
        page.set_viewport_size({"width": width, "height": 900})
        boxes = page.evaluate(
            """(names) => [...document.querySelectorAll(names)].map((node) => {
              const {left, top, right, bottom} = node.getBoundingClientRect();
              const end = node.closest('.wb-legend-list')?.getBoundingClientRect().bottom ?? Infinity; // it scrolls
              return [node.textContent, left, top, right, Math.min(bottom, end)];
            })""",
            ".wb-title, .wb-tools button, .wb-subtitle, .wb-axis, .wb-legend-name, .wb-class-name, .wb-now, .wb-note",
        )
        assert len(boxes) > 80
        for (a, *one), (b, *other) in itertools.combinations(boxes, 2):
            across, down = (min(one[k + 2], other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
            assert across < 1 or down < 1, f"{a!r} and {b!r} overprint at {width} pixels"


@pytest.mark.parametrize("kernel", ["", " with sound"])
def test_twenty_thousand_points_stay_fluid(offline_page, clusters, tone, tmp_path, record_property, kernel):
    page, (z, table) = offline_page, clusters(20_000)
    view = sound_map(z, table, audio=tone if kernel else None, sounds=60, hover=["singer", "f0"])
    opened(page, view, tmp_path / "map.html")
    # Move the map by some pixels in each of 30 frames, as a hand does, and look at the clock in every frame. Other
    # work on the machine makes frames late, never early: the best of some rounds is what the map itself takes.
    measure = """async () => {
      const node = document.querySelector('.wb-marks'), box = node.getBoundingClientRect(), gaps = [];
      const fire = (type, x, y) => node.dispatchEvent(new PointerEvent(type,
        {clientX: box.left + x, clientY: box.top + y, bubbles: true, pointerId: 1, button: 0}));
      fire('pointerdown', 200, 200);
      let last = null;
      for (let k = 1; k <= 30; k++) {
        fire('pointermove', 200 + 3 * k, 200 + k);
        const now = await new Promise((done) => requestAnimationFrame(done));
        if (last !== null) gaps.push(now - last);
        last = now;
      }
      fire('pointerup', 290, 230);
      return gaps.sort((a, b) => a - b);
    }"""
    rounds = []
    while len(rounds) < 10 and not (rounds and rounds[-1][15] < 50):
        rounds.append(page.evaluate(measure))
    gaps = min(rounds, key=lambda g: g[15])
    median, size = gaps[len(gaps) // 2], len(view.html) / 1e6
    print(f"20,000 points{kernel}: median frame {median:.1f} ms, slowest {gaps[-1]:.1f} ms, output {size:.2f} MB")
    record_property("median_frame_ms", median)
    assert median < 50
    assert size < 3

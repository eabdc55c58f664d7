// The sound map: panels with the same points, a legend, one player. Needs nothing but the page it is in; where a
// kernel answers (link.js) it fetches the sounds that the page does not carry and hands selections over.

const WAIT_SECONDS = 15, FADE_STEPS = 5, FADE_MS = 8;
const HELP = "Mouse: click to hear, drag to move, wheel to zoom (after a click on the map, or with Ctrl), double click to show all; "
  + "a class in the legend hides with a click and stands alone with a double click. Keys on the map: arrows go from point to point, "
  + "Enter plays, Esc stops and clears, + and - zoom, 0 shows all, m moves, l draws a lasso, b a box, Shift adds to the selection.";

// Points are drawn in an order that is random but always the same, so that no class hides the others.
function shuffled(n) {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1, seed = 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((seed / 4294967296) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

class SoundMap {
  constructor(root, data) {
    Object.assign(this, { root, data, tool: "move", link: null, clips: new Map(), ticket: 0, cursor: -1, hidden: new Set() });
    const n = data.n;
    this.state = {
      n, dark: false, hovered: -1, sounding: -1, progress: 0, selected: new Set(),
      order: shuffled(n), style: new Uint16Array(n), styles: [],
      shown: new Uint8Array(n).fill(1), ringed: this.carried(),
    };
    this.columns = data.columns.map((c) => ({ ...c, codes: c.codes && uint16(c.codes), values: c.numbers ? float32(c.numbers) : c.values }));
    this.readColour();
    this.build();
    new ResizeObserver(() => this.resize()).observe(this.root);
    this.resize();
  }

  // The points whose sound the page carries; none is marked where all do.
  carried() {
    const indices = Object.keys(this.data.sounds).map(Number);
    return new Set(indices.length < this.data.n ? indices : []);
  }

  // ---- what is drawn

  readColour() {
    const colour = this.data.colour, { state } = this;
    if (colour.kind === "category") {
      this.codes = uint16(colour.codes);
      const grey = colour.levels.length;
      for (let i = 0; i < state.n; i++) state.style[i] = this.codes[i] === MISSING_CODE ? grey : this.codes[i];
    } else {
      const values = float32(colour.numbers), span = colour.max - colour.min || 1, steps = 63;
      for (let i = 0; i < state.n; i++) {
        state.style[i] = Number.isNaN(values[i]) ? steps + 1 : Math.round(((values[i] - colour.min) / span) * steps);
      }
    }
    this.restyle();
  }

  restyle() {
    const { colour, palette, shapes, scale, missing } = this.data;
    const grey = { colour: missing, shape: "circle" }, { dark } = this.state;
    if (colour.kind === "category") {
      const k = palette.length;
      this.state.styles = colour.levels.map((_, i) => ({ colour: dark ? mix(palette[i % k], "#ffffff", 0.25) : palette[i % k], shape: shapes[(i + Math.floor(i / k)) % shapes.length] }));
    } else {
      this.state.styles = Array.from({ length: 64 }, (_, i) => ({ colour: this.shade(scale, i / 63), shape: "circle" }));
    }
    this.state.styles.push(grey);
  }

  // The dark end of the scale is left out on a dark page, the bright end on a bright one.
  shade(scale, t) {
    const at = (this.state.dark ? 0.22 + 0.78 * t : 0.93 * t) * (scale.length - 1), k = Math.min(Math.floor(at), scale.length - 2);
    return mix(scale[k], scale[k + 1], at - k);
  }

  setTheme(dark) {
    this.state.dark = dark;
    this.restyle();
    this.drawLegend();
    for (const panel of this.panels) { panel.sprites = null; panel.draw(); }
  }

  build() {
    const { root, data } = this;
    const head = make("div", "wb-head"), tools = make("div", "wb-tools");
    head.append(make("strong", "wb-title", data.title), tools);
    this.buttons = {};
    const tool = (key, text, hint, act) => {
      tools.append(this.buttons[key] = button(text, act, hint));
      return this.buttons[key];
    };
    tool("move", "Move", "drag to move (m)", () => this.setTool("move"));
    tool("lasso", "Lasso", "draw around points to select them (l); with Shift: add", () => this.setTool("lasso"));
    tool("box", "Box", "draw a box to select points (b); with Shift: add", () => this.setTool("box"));
    tool("in", "+", "closer (+)", () => this.panels.forEach((p) => p.zoom(1.5))).setAttribute("aria-label", "closer");
    tool("out", "−", "farther (-)", () => this.panels.forEach((p) => p.zoom(1 / 1.5))).setAttribute("aria-label", "farther");
    tool("home", "Fit", "show all (0)", () => this.panels.forEach((p) => { p.home(); p.draw(); }));
    tool("help", "?", "keys and mouse", () => { this.help = !this.help; this.describe(); }).setAttribute("aria-label", "help");
    this.body = make("div", "wb-body");
    this.plots = make("div", "wb-plots");
    this.panels = data.panels.map((panel) => this.buildPanel(panel));
    this.legend = make("div", "wb-legend");
    this.body.append(this.plots, this.legend);
    this.tip = make("div", "wb-tip");
    this.tip.setAttribute("role", "tooltip");
    const foot = make("div", "wb-foot");
    this.audio = make("audio", "wb-audio");
    Object.assign(this.audio, { controls: true, preload: "metadata" });
    this.now = make("div", "wb-now", "Click a point to hear it.");
    this.now.setAttribute("aria-live", "polite");
    foot.append(this.audio, this.now);
    this.note = make("div", "wb-note");
    root.append(head, this.body, foot, this.note, this.tip);
    for (const event of ["play", "pause", "ended", "seeked"]) this.audio.addEventListener(event, () => this.follow());
    this.audio.addEventListener("error", () => this.broke());
    this.drawLegend();
    this.setTool("move");
    this.describe();
  }

  buildPanel(panel) {
    panel.x = Float32Array.from(uint16(panel.x), (v) => (v / 65535) * panel.w);
    panel.y = Float32Array.from(uint16(panel.y), (v) => (v / 65535) * panel.h);
    const plot = new Scatter(panel, this.state), frame = make("div", "wb-frame"), holder = make("div", "wb-plot");
    holder.style.height = `${this.data.height}px`;
    holder.append(plot.points, plot.marks);
    if (panel.axes[0]) holder.append(make("span", "wb-axis wb-axis-x", panel.axes[0]));
    if (panel.axes[1]) holder.append(make("span", "wb-axis wb-axis-y", panel.axes[1]));
    if (panel.title) frame.append(make("div", "wb-subtitle", panel.title));
    frame.append(holder);
    this.plots.append(frame);
    plot.holder = holder;
    plot.marks.tabIndex = 0;
    plot.marks.setAttribute("role", "application");
    plot.marks.setAttribute("aria-label", `${panel.title || this.data.title}: ${count(this.data.n)} points. Arrow keys go to the next point, Enter plays it, Escape stops.`);
    this.listen(plot);
    return plot;
  }

  drawLegend() {
    const { colour } = this.data, { legend } = this;
    legend.replaceChildren(make("div", "wb-legend-name", colour.name));
    if (colour.kind === "number") {
      const bar = make("div", "wb-bar"), stops = [0, 0.25, 0.5, 0.75, 1];
      bar.style.background = `linear-gradient(to top, ${stops.map((t) => this.shade(this.data.scale, t)).join(", ")})`;
      const ticks = make("div", "wb-ticks"), scale = make("div", "wb-scale");
      for (const t of [1, 0.75, 0.5, 0.25, 0]) ticks.append(make("span", "", show(colour.min + t * (colour.max - colour.min))));
      scale.append(bar, ticks);
      legend.append(scale);
      if (colour.missing) legend.append(make("div", "wb-legend-missing", `grey: ${count(colour.missing)} without a value`));
      return;
    }
    const list = make("div", "wb-legend-list");
    const rows = colour.levels.map((level, k) => [level, k, colour.counts[k]]);
    if (colour.missing) rows.push(["(no value)", MISSING_CODE, colour.missing]);
    rows.forEach(([level, code, many], k) => {
      const row = make("button", "wb-class"), swatch = make("canvas", "wb-swatch"), ratio = window.devicePixelRatio || 1;
      swatch.width = swatch.height = 16 * ratio;
      const stamp = sprite(this.state.styles[k], 5, ratio, this.state.dark);
      swatch.getContext("2d").drawImage(stamp.canvas, 8 * ratio - stamp.half, 8 * ratio - stamp.half);
      row.append(swatch, make("span", "wb-class-name", level), make("span", "wb-class-count", count(many)));
      Object.assign(row, { type: "button", title: `${level}: click hides or shows, double click shows it alone` });
      row.setAttribute("aria-pressed", String(!this.hidden.has(code)));
      row.addEventListener("click", () => this.toggle(code));
      row.addEventListener("dblclick", () => this.alone(code));
      list.append(row);
    });
    legend.append(list);
    if (colour.levels.length > this.data.palette.length * this.data.shapes.length) {
      legend.append(make("div", "wb-legend-missing", `colours and shapes repeat after ${this.data.palette.length * this.data.shapes.length} classes`));
    }
  }

  allCodes() { return [...this.data.colour.levels.keys(), MISSING_CODE]; }
  toggle(code) { if (!this.hidden.delete(code)) this.hidden.add(code); this.applyHidden(); }
  alone(code) {
    const only = this.allCodes().every((c) => (c === code) !== this.hidden.has(c));
    this.hidden = new Set(only ? [] : this.allCodes().filter((c) => c !== code));
    this.applyHidden();
  }
  applyHidden() {
    for (let i = 0; i < this.state.n; i++) this.state.shown[i] = this.hidden.has(this.codes[i]) ? 0 : 1;
    const rows = [...this.legend.querySelectorAll(".wb-class")], codes = this.allCodes();
    rows.forEach((row, k) => row.setAttribute("aria-pressed", String(!this.hidden.has(codes[k]))));
    this.panels.forEach((p) => p.redraw());
  }

  resize() { for (const p of this.panels) p.resize(p.holder.clientWidth, p.holder.clientHeight); }
  marks() { for (const p of this.panels) p.drawMarks(); }

  // ---- what a person does

  setTool(tool) {
    this.tool = tool;
    for (const name of ["move", "lasso", "box"]) this.buttons[name].setAttribute("aria-pressed", String(name === tool));
    for (const p of this.panels) p.marks.style.cursor = tool === "move" ? "grab" : "crosshair";
  }

  listen(plot) {
    const node = plot.marks;
    const at = (event) => { const r = node.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
    let from = null, last = null, moved = false;
    node.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      node.focus({ preventScroll: true });
      try { node.setPointerCapture(event.pointerId); } catch { /* a synthetic event has no pointer to capture */ }
      from = last = at(event);
      moved = false;
    });
    node.addEventListener("pointermove", (event) => {
      const [x, y] = at(event);
      if (!from) return this.hover(plot, plot.pick(x, y), x, y);
      if (!moved && Math.hypot(x - from[0], y - from[1]) < 4) return;
      moved = true;
      this.hover(plot, -1);
      if (this.tool === "move") plot.pan(x - last[0], y - last[1]);
      else if (this.tool === "lasso") { (plot.lasso ??= [from]).push([x, y]); plot.drawMarks(); }
      else { plot.lasso = [from, [x, from[1]], [x, y], [from[0], y]]; plot.drawMarks(); }
      last = [x, y];
    });
    const finish = (event) => {
      if (!from) return;
      const place = at(event);
      from = null;
      if (!moved && event.type === "pointerup") this.click(plot, plot.pick(...place));
      else if (plot.lasso) this.select(plot.inside(plot.lasso), event.shiftKey);
      plot.lasso = null;
      plot.drawMarks();
    };
    node.addEventListener("pointerup", finish);
    node.addEventListener("pointercancel", finish);
    node.addEventListener("pointerleave", () => this.hover(plot, -1));
    node.addEventListener("dblclick", () => { plot.home(); plot.draw(); });
    // The wheel belongs to the page until the map has been clicked.
    node.addEventListener("wheel", (event) => {
      if (node.getRootNode().activeElement !== node && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      plot.zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 120) * 0.0022), ...at(event));
    }, { passive: false });
    node.addEventListener("keydown", (event) => this.key(plot, event));
    node.addEventListener("blur", () => this.hover(plot, -1));
  }

  key(plot, event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const tools = { m: "move", l: "lasso", b: "box" }, zooms = { "+": "in", "=": "in", "-": "out", 0: "home" };
    if (arrows[event.key]) {
      const start = this.cursor >= 0 && this.state.shown[this.cursor] ? this.cursor : this.start();
      this.cursor = this.cursor < 0 ? start : plot.neighbour(start, ...arrows[event.key]);
      if (this.cursor >= 0) this.hover(plot, this.cursor, ...plot.toScreen(this.cursor));
    } else if (event.key === "Enter" || event.key === " ") {
      if (this.cursor >= 0) this.click(plot, this.cursor);
    } else if (event.key === "Escape") {
      if (!this.audio.paused) this.stop();
      else if (this.state.selected.size) this.select([]);
      this.setTool("move");
    } else if (tools[event.key]) this.setTool(tools[event.key]);
    else if (zooms[event.key]) this.buttons[zooms[event.key]].click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  start() { return this.state.ringed.size ? [...this.state.ringed].find((i) => this.state.shown[i]) ?? -1 : this.state.shown.indexOf(1); }

  cell(column, i) {
    if (column.codes) return column.codes[i] === MISSING_CODE ? "–" : column.levels[column.codes[i]];
    return column.numbers ? show(column.values[i]) : column.values[i];
  }

  hover(plot, i, x, y) {
    const { tip, state } = this;
    if (i !== state.hovered) {
      state.hovered = i;
      this.marks();
      if (i >= 0) {
        const rows = this.columns.map((c) => {
          const row = make("div", "wb-tip-row");
          row.append(make("span", "wb-tip-name", c.name), make("span", "wb-tip-value", this.cell(c, i)));
          return row;
        });
        if (!this.link && state.ringed.size && !state.ringed.has(i)) rows.push(make("div", "wb-tip-mute", "no sound on this page"));
        tip.replaceChildren(...rows);
      }
    }
    tip.style.display = i >= 0 ? "block" : "none";
    if (i < 0) return;
    const home = this.root.getBoundingClientRect(), box = plot.marks.getBoundingClientRect();
    const left = box.left - home.left + x, top = box.top - home.top + y;
    tip.style.left = `${left + tip.offsetWidth + 18 > home.width ? Math.max(0, left - tip.offsetWidth - 14) : left + 14}px`;
    tip.style.top = `${Math.max(0, top + tip.offsetHeight + 16 > home.height ? top - tip.offsetHeight - 12 : top + 12)}px`;
    plot.marks.style.cursor = this.tool === "move" ? "pointer" : "crosshair";
  }

  // ---- sound

  click(plot, i) {
    if (i < 0) return;
    this.cursor = i;
    if (i === this.state.sounding && !this.audio.paused) return this.stop();
    this.play(i);
  }

  name(i) { return this.columns.slice(0, 2).map((c) => this.cell(c, i)).filter(Boolean).join(" · "); }

  // What sounded stops, and leaves the player, before another is named: what is named is what the player holds.
  async play(i) {
    const ticket = ++this.ticket, turn = takeTurn(), name = this.name(i);
    await this.unload();
    if (ticket !== this.ticket) return;
    try {
      this.say(name, !this.clips.has(i) && !this.data.sounds[i] && this.link ? "waiting for the kernel …" : "");
      const clip = await this.fetch(i);
      if (ticket !== this.ticket || !this.root.isConnected) return;
      this.audio.src = clip.url;
      this.state.sounding = i;
      this.say(name, clip.caption);
      if (turn !== oneSound.turn) return this.say(name, `${clip.caption} · another sound was started meanwhile: press play to hear this one`, true);
      this.audio.wbTurn = turn;
      await this.audio.play();
    } catch (error) {
      if (ticket !== this.ticket || ["AbortError", "NotSupportedError"].includes(error.name)) return; // the latter in broke()
      this.say(name, error.name === "NotAllowedError" ? "press play to hear it (the browser wants one more click)" : error.message, true);
    }
  }

  // The player's sound cannot be decoded, from its beginning or from somewhere on.
  broke() {
    const i = this.state.sounding;
    if (i < 0) return;
    this.clips.delete(i);
    this.forget();
    this.say(this.name(i), "this browser cannot play this sound", true);
  }

  async fetch(i) {
    if (this.clips.has(i)) return this.clips.get(i);
    let found = this.data.sounds[i];
    if (found) found = { data: bytes(found[0]), caption: found[1], media: this.data.media };
    else if (this.link) found = await this.link.sound(i, WAIT_SECONDS);
    else throw new Error(this.state.ringed.size
      ? "no sound on this page for this point: the ringed points play; run the notebook to hear all"
      : "no sound on this page: run the notebook to hear it");
    const clip = { url: URL.createObjectURL(new Blob([found.data], { type: found.media })), caption: found.caption };
    this.clips.set(i, clip);
    return clip;
  }

  // Lower the volume over some 40 ms before a sound is cut, so that it does not click; then it is as loud as it was.
  fade() { return (this.fading ??= this.lower().finally(() => { this.fading = null; })); }
  async lower() {
    const { volume } = this.audio;
    for (let k = FADE_STEPS - 1; k >= 0 && !this.audio.paused; k--) {
      this.audio.volume = (volume * k) / FADE_STEPS;
      await new Promise((done) => setTimeout(done, FADE_MS));
    }
    this.audio.pause();
    this.audio.volume = volume;
  }
  async stop() {
    const ticket = ++this.ticket;
    await this.fade();
    if (ticket === this.ticket) this.audio.currentTime = 0;
  }
  async unload() {
    const { ticket } = this;
    await this.fade();
    if (ticket === this.ticket) this.forget();
  }
  forget() {
    Object.assign(this.state, { sounding: -1, progress: 0 });
    if (this.audio.hasAttribute("src")) {
      this.audio.removeAttribute("src");
      this.audio.load();
    }
    this.marks();
  }

  follow() {
    const { audio, state } = this;
    state.progress = audio.duration ? audio.currentTime / audio.duration : 0;
    if (audio.ended) state.progress = 1;
    this.marks();
    if (!audio.paused && !audio.ended) requestAnimationFrame(() => this.follow());
  }

  say(name, caption, wrong = false) {
    this.now.replaceChildren(make("strong", "", name), make("span", wrong ? "wb-wrong" : "", caption ? ` ${caption}` : ""));
  }

  // ---- selection and the kernel

  select(indices, add = false) {
    const all = new Set(add ? [...this.state.selected, ...indices] : indices);
    this.showSelection([...all].sort((a, b) => a - b));
    if (this.link) this.link.select([...this.state.selected]);
  }
  showSelection(indices) {
    this.state.selected = new Set(indices);
    this.panels.forEach((p) => p.redraw());
    this.describe();
  }

  get noun() { return "map"; }
  connect(link) {
    this.link = link;
    this.state.ringed = new Set();
    this.root.dataset.live = "true";
    const known = link.selected();
    if (known.length) this.showSelection(known);
    this.panels.forEach((p) => p.redraw());
    this.describe();
  }
  disconnect() {
    this.link = null;
    this.state.ringed = this.carried();
    delete this.root.dataset.live;
    this.panels.forEach((p) => p.redraw());
    this.describe();
  }

  describe() {
    const { selected } = this.state, parts = [this.link ? this.data.live_note : this.data.note];
    if (selected.size) {
      let text = `${count(selected.size)} selected`;
      if (this.codes) {
        const per = new Map();
        for (const i of selected) per.set(this.codes[i], (per.get(this.codes[i]) || 0) + 1);
        const most = [...per].sort((a, b) => b[1] - a[1]), name = (c) => this.data.colour.levels[c] ?? "(no value)";
        text += `: ${most.slice(0, 6).map(([c, k]) => `${name(c)} ${count(k)}`).join(", ")}${most.length > 6 ? " …" : ""}`;
      }
      parts.unshift(`${text} (Esc clears).`);
    }
    this.buttons.help.setAttribute("aria-pressed", String(!!this.help));
    if (this.help) parts.push(HELP);
    this.note.textContent = parts.join(" ");
  }
}

// One scatter plot on a 2-D canvas: a layer of points, drawn when the view changes, and a layer of marks above it
// (hover, sound, lasso), drawn as often as need be. What is shown, selected or sounding is shared between panels.

const MARGIN = 22, PICK = 14;
const SHAPES = {
  circle: (c, r) => c.arc(0, 0, r, 0, 2 * Math.PI),
  square: (c, r) => c.rect(-0.88 * r, -0.88 * r, 1.76 * r, 1.76 * r),
  triangle: (c, r) => { c.moveTo(0, -1.2 * r); c.lineTo(1.1 * r, 0.8 * r); c.lineTo(-1.1 * r, 0.8 * r); c.closePath(); },
  diamond: (c, r) => { c.moveTo(0, -1.25 * r); c.lineTo(1.25 * r, 0); c.lineTo(0, 1.25 * r); c.lineTo(-1.25 * r, 0); c.closePath(); },
  cross: (c, r) => { c.rect(-1.1 * r, -0.4 * r, 2.2 * r, 0.8 * r); c.rect(-0.4 * r, -1.1 * r, 0.8 * r, 2.2 * r); },
  ring: (c, r) => { c.arc(0, 0, 1.1 * r, 0, 2 * Math.PI); c.moveTo(0.5 * r, 0); c.arc(0, 0, 0.5 * r, 0, 2 * Math.PI, true); },
};

function rgb(hex) { return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)); }
function mix(a, b, t) {
  const [p, q] = [rgb(a), rgb(b)];
  return "#" + p.map((v, k) => Math.round(v + (q[k] - v) * t).toString(16).padStart(2, "0")).join("");
}

// A point as a small picture: a canvas, and its pixels as two lists, those that cover what lies beneath and those of the
// soft edge. Writing these into a pixel buffer is several times faster than as many calls of drawImage.
function sprite(style, radius, ratio, dark) {
  const half = Math.ceil((radius * 1.3 + 1.5) * ratio), size = 2 * half, canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const c = canvas.getContext("2d", { willReadFrequently: true });
  c.setTransform(ratio, 0, 0, ratio, half, half);
  c.beginPath();
  SHAPES[style.shape](c, radius);
  c.fillStyle = style.colour;
  c.fill();
  c.lineWidth = 0.7;
  c.strokeStyle = mix(style.colour, dark ? "#ffffff" : "#000000", 0.3);
  c.stroke();
  const pixels = new Uint32Array(c.getImageData(0, 0, size, size).data.buffer), full = [], soft = [];
  pixels.forEach((value, k) => {
    const alpha = value >>> 24, at = [k % size, Math.floor(k / size)];
    if (alpha > 240) full.push([...at, (value | 0xff000000) >>> 0]);
    else if (alpha > 12) soft.push([...at, value]);
  });
  return { canvas, half, full, soft };
}

// The pixel lists for a buffer of a given width.
function flat(list, width) {
  return { at: Int32Array.from(list, ([x, y]) => y * width + x), value: Uint32Array.from(list, (p) => p[2]) };
}

function over(above, below) {
  const a = above >>> 24;
  if (below >>> 24 === 0) return above;
  const blend = (shift) => (((above >>> shift) & 255) * a + ((below >>> shift) & 255) * (255 - a)) / 255;
  return ((Math.max(a, below >>> 24) << 24) | (blend(16) << 16) | (blend(8) << 8) | blend(0)) >>> 0;
}

class Scatter {
  constructor(panel, state) {
    Object.assign(this, { panel, state, scale: 1, tx: 0, ty: 0, width: 0, height: 0, lasso: null });
    this.points = document.createElement("canvas");
    this.marks = document.createElement("canvas");
    this.points.className = "wb-points";
    this.marks.className = "wb-marks";
  }

  resize(width, height) {
    if (!width || !height || (width === this.width && height === this.height && this.ratio === devicePixelRatio)) return;
    // Keep what is in the middle in the middle.
    const first = !this.width, middle = first ? null : this.toData(this.width / 2, this.height / 2);
    Object.assign(this, { width, height, ratio: window.devicePixelRatio || 1 });
    for (const canvas of [this.points, this.marks]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    const fit = this.fitScale(), zoom = first ? 1 : this.scale / this.fitted;
    this.fitted = fit;
    this.scale = fit * zoom;
    if (first) this.home(); else this.centre(...middle);
    this.sprites = null;
    this.draw();
  }

  fitScale() {
    const { w, h } = this.panel;
    return Math.min((this.width - 2 * MARGIN) / (w || 1), (this.height - 2 * MARGIN) / (h || 1));
  }
  home() { this.scale = this.fitted = this.fitScale(); this.centre(this.panel.w / 2, this.panel.h / 2); }
  centre(x, y) { this.tx = this.width / 2 - x * this.scale; this.ty = this.height / 2 + y * this.scale; }
  toData(px, py) { return [(px - this.tx) / this.scale, (this.ty - py) / this.scale]; }
  toScreen(i) { return [this.panel.x[i] * this.scale + this.tx, this.ty - this.panel.y[i] * this.scale]; }

  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const scale = Math.min(Math.max(this.scale * factor, this.fitted * 0.5), this.fitted * 400);
    this.tx = px - ((px - this.tx) * scale) / this.scale;
    this.ty = py - ((py - this.ty) * scale) / this.scale;
    this.scale = scale;
    this.redraw();
  }
  pan(dx, dy) { this.tx += dx; this.ty += dy; this.redraw(); }
  redraw() {
    this.waiting ??= requestAnimationFrame(() => { this.waiting = null; this.draw(); });
  }

  radius() {
    const n = this.state.n, base = n > 8000 ? 2.1 : n > 2500 ? 2.7 : n > 800 ? 3.4 : n > 200 ? 4.2 : 5.2;
    return base * Math.min(2, Math.max(1, Math.sqrt(Math.sqrt(this.scale / this.fitted))));
  }

  draw() {
    if (!this.width) return;
    const { state, ratio } = this, radius = this.radius(), key = `${radius.toFixed(1)}|${state.dark}|${this.points.width}`;
    if (!this.sprites || this.spriteKey !== key) this.makeSprites(radius, key);
    this.pixels.fill(0);
    if (state.selected.size) {
      this.stamp(this.sprites.map((s) => s.faint), (i) => !state.selected.has(i));
      this.stamp(this.sprites, (i) => state.selected.has(i));
    } else {
      // On a page without a kernel the points that carry no sound stand back a little.
      this.stamp(state.ringed.size ? this.sprites.map((s) => s.back) : this.sprites, null);
    }
    const c = this.points.getContext("2d", { willReadFrequently: true });
    c.putImageData(this.image, -this.edge, -this.edge);
    if (state.ringed.size) this.drawRings(c, radius, ratio);
    this.drawMarks();
  }

  makeSprites(radius, key) {
    const { state, ratio } = this, paper = state.dark ? "#1d1f22" : "#ffffff";
    this.spriteKey = key;
    const make = (style, toward) => sprite({ ...style, colour: mix(style.colour, paper, toward) }, radius, ratio, state.dark);
    const all = state.styles.map((style) => ({ ...make(style, 0), faint: make(style, 0.86), back: make(style, 0.22) }));
    // A margin as wide as a point all around, so that no pixel needs to be checked.
    this.edge = 2 * all[0].half;
    this.image = new ImageData(this.points.width + 2 * this.edge, this.points.height + 2 * this.edge);
    this.pixels = new Uint32Array(this.image.data.buffer);
    for (const one of all) {
      for (const s of [one, one.faint, one.back]) Object.assign(s, { full: flat(s.full, this.image.width), soft: flat(s.soft, this.image.width) });
    }
    this.sprites = all;
  }

  stamp(sprites, wanted) {
    const { state, ratio, scale, tx, ty, edge, pixels } = this, { x, y } = this.panel, { order, style, shown } = state;
    const width = this.image.width, right = width - edge, bottom = this.image.height - edge, half = sprites[0].half;
    for (let k = 0; k < order.length; k++) {
      const i = order[k];
      if (!shown[i] || (wanted && !wanted(i))) continue;
      const px = Math.round((x[i] * scale + tx) * ratio) - half + edge, py = Math.round((ty - y[i] * scale) * ratio) - half + edge;
      if (px < 0 || py < 0 || px >= right || py >= bottom) continue;
      const { full, soft } = sprites[style[i]], start = py * width + px;
      for (let j = 0; j < full.at.length; j++) pixels[start + full.at[j]] = full.value[j];
      for (let j = 0; j < soft.at.length; j++) {
        const at = start + soft.at[j];
        pixels[at] = over(soft.value[j], pixels[at]);
      }
    }
  }

  drawRings(c, radius, ratio) {
    const { state } = this;
    c.save();
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const i of state.ringed) {
      if (!state.shown[i]) continue;
      const [px, py] = this.toScreen(i);
      const s = this.sprites[state.style[i]], size = (2 * s.half) / ratio;
      c.globalAlpha = state.selected.size && !state.selected.has(i) ? 0.3 : 1;
      c.drawImage(s.canvas, px - size / 2, py - size / 2, size, size);
      c.beginPath();
      c.arc(px, py, radius + 3, 0, 2 * Math.PI);
      c.lineWidth = 1.6;
      c.strokeStyle = state.dark ? "#f2f2f2" : "#1b1b1b";
      c.stroke();
    }
    c.restore();
  }

  drawMarks() {
    const c = this.marks.getContext("2d"), { state, ratio } = this, radius = this.radius();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.marks.width, this.marks.height);
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const ink = state.dark ? "#ffffff" : "#000000";
    if (state.hovered >= 0) {
      const [px, py] = this.toScreen(state.hovered);
      c.beginPath();
      c.arc(px, py, radius + 4, 0, 2 * Math.PI);
      c.lineWidth = 2;
      c.strokeStyle = ink;
      c.stroke();
    }
    if (state.sounding >= 0) {
      const [px, py] = this.toScreen(state.sounding), start = -Math.PI / 2;
      c.lineWidth = 3;
      c.strokeStyle = state.dark ? "#ffffff44" : "#00000030";
      c.beginPath(); c.arc(px, py, radius + 7, 0, 2 * Math.PI); c.stroke();
      c.strokeStyle = state.dark ? "#ffd54a" : "#d4006a";
      c.beginPath(); c.arc(px, py, radius + 7, start, start + 2 * Math.PI * Math.max(0.02, state.progress)); c.stroke();
    }
    if (this.lasso && this.lasso.length > 1) {
      c.beginPath();
      this.lasso.forEach(([px, py], k) => (k ? c.lineTo(px, py) : c.moveTo(px, py)));
      c.closePath();
      c.fillStyle = state.dark ? "#ffffff1c" : "#0000000f";
      c.fill();
      c.lineWidth = 1.3;
      c.setLineDash([5, 4]);
      c.strokeStyle = ink;
      c.stroke();
      c.setLineDash([]);
    }
  }

  // The shown point nearest to a place on the screen; one that sounds wins over one that does not.
  pick(px, py) {
    const { state } = this;
    let best = -1, least = Infinity;
    for (let i = 0; i < state.n; i++) {
      if (!state.shown[i]) continue;
      const dx = this.panel.x[i] * this.scale + this.tx - px, dy = this.ty - this.panel.y[i] * this.scale - py;
      const distance = dx * dx + dy * dy, cost = state.ringed.has(i) ? distance / 4 : distance;
      if (distance <= PICK * PICK && cost < least) { least = cost; best = i; }
    }
    return best;
  }

  // The nearest point that lies in the direction of an arrow key; sideways distance counts double.
  neighbour(from, dx, dy) {
    const { state } = this, [x0, y0] = this.toScreen(from);
    let best = from, least = Infinity;
    for (let i = 0; i < state.n; i++) {
      if (i === from || !state.shown[i] || (state.ringed.size && !state.ringed.has(i))) continue;
      const [x, y] = this.toScreen(i), along = (x - x0) * dx + (y - y0) * dy;
      const across = Math.abs((x - x0) * dy) + Math.abs((y - y0) * dx), cost = along + 2 * across;
      if (along > 0 && cost < least) { least = cost; best = i; }
    }
    return best;
  }

  inside(polygon) {
    const { state } = this, found = [];
    for (let i = 0; i < state.n; i++) {
      if (!state.shown[i]) continue;
      const [px, py] = this.toScreen(i);
      let within = false;
      for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a++) {
        const [xa, ya] = polygon[a], [xb, yb] = polygon[b];
        if (ya > py !== yb > py && px < ((xb - xa) * (py - ya)) / (yb - ya) + xa) within = !within;
      }
      if (within) found.push(i);
    }
    return found;
  }
}

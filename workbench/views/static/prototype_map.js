// The map of a page of prototypes: stars among the points, which sound in the table below (prototypes.js).
function starPath(c, x, y, radius) {
  c.beginPath();
  for (let k = 0; k < 10; k++) {
    const r = k % 2 ? 0.46 * radius : radius, turn = (k * Math.PI) / 5;
    c.lineTo(x + r * Math.sin(turn), y - r * Math.cos(turn));
  }
  c.closePath();
}

class PrototypeMap extends SoundMap {
  get first() { return this.data.n - this.data.stars; }
  get stars() { return Array.from({ length: this.data.stars }, (_, k) => this.first + k); }
  isStar(i) { return i >= this.first; }
  // Stars count among the points that sound, but need no ring.
  carried() { return new Set([...Object.keys(this.data.sounds).map(Number), ...this.stars]); }

  buildPanel(panel) {
    const plot = super.buildPanel(panel), [draw, pick, rings] = ["draw", "pick", "drawRings"].map((name) => plot[name].bind(plot));
    const { state, stars } = this;
    plot.drawRings = (...given) => {
      const all = state.ringed;
      state.ringed = new Set([...all].filter((i) => !this.isStar(i)));
      rings(...given);
      state.ringed = all;
    };
    plot.draw = () => { draw(); if (plot.width) this.drawStars(plot, stars); };
    plot.pick = (x, y) => { // stars lie above the points
      const near = stars.filter((i) => state.shown[i]).map((i) => [i, Math.hypot(plot.toScreen(i)[0] - x, plot.toScreen(i)[1] - y)]);
      const [best, distance] = near.reduce((a, b) => (b[1] < a[1] ? b : a), [-1, Infinity]);
      return distance < 10 ? best : pick(x, y);
    };
    return plot;
  }
  drawStars(plot, stars) {
    const c = plot.points.getContext("2d"), { state } = this;
    c.save();
    c.setTransform(plot.ratio, 0, 0, plot.ratio, 0, 0);
    c.lineJoin = "round";
    for (const i of stars.filter((star) => state.shown[star])) {
      starPath(c, ...plot.toScreen(i), plot.radius() + 6);
      c.globalAlpha = state.selected.size && !state.selected.has(i) ? 0.3 : 1;
      for (const [width, ink] of [[5, state.dark ? "#1d1f22" : "#ffffff"], [2.4, state.dark ? "#ffffff" : "#000000"]]) {
        c.lineWidth = width;
        c.strokeStyle = ink;
        c.stroke();
      }
      const { colour, shape } = state.styles[state.style[i]], [x, y] = plot.toScreen(i);
      c.fillStyle = colour;
      c.fill();
      c.translate(x, y); // the shape of its class
      c.beginPath();
      SHAPES[shape](c, 0.34 * (plot.radius() + 6));
      c.fillStyle = "#ffffff";
      c.fill();
      c.translate(-x, -y);
    }
    c.restore();
  }

  click(plot, i) {
    if (i < 0) return;
    const star = this.isStar(i), prototype = this.data.cells[i];
    if (star) {
      this.cursor = i;
      if (this.state.sounding !== i) this.giveWay(i);
    } else super.click(plot, i);
    if (prototype < 0) return;
    this.root.dispatchEvent(new CustomEvent("wb-prototype", { bubbles: true, detail: { prototype, play: star } }));
  }
  name(i) { return this.isStar(i) ? this.cell(this.columns[0], i) : super.name(i); }
  // A prototype sounds in the table: its star shows how far it is.
  showStar(k, audio) {
    const i = this.first + k, plays = !audio.paused && !audio.ended && !audio.error, here = this.state.sounding === i;
    if (!plays && !here && !(audio.error && this.cursor === i)) return;
    if (plays && !here) this.giveWay(i);
    this.state.sounding = audio.ended || audio.error ? -1 : i;
    this.state.progress = audio.duration ? audio.currentTime / audio.duration : 0;
    const text = audio.error ? "this browser cannot play this sound" : plays ? "plays in the table" : "is in the table";
    if (this.now.textContent !== `${this.name(i)} ${text}`) this.say(this.name(i), text, Boolean(audio.error));
    this.marks();
  }
  // A point that sounds, or still waits for its sound, makes room for a star.
  giveWay(i) {
    this.ticket++;
    this.audio.pause();
    this.forget();
    this.say(this.name(i), "");
  }
  follow() { if (!this.isStar(this.state.sounding)) super.follow(); }
}

// Prototypes to hear: a table whose sounds change with the seed of the decoder's noise, linked with a map on which the
// prototypes are stars (prototypeMap), and a page that takes logits apart (SimilarityView).

// ---- the table

function hearPrototypes(root, { seeds }) {
  const cells = [...root.querySelectorAll(".wb-cell")].sort((a, b) => a.dataset.prototype - b.dataset.prototype);
  const made = cells.map((cell) => cell.querySelector(".wb-made")), [audios, pictures, captions] = ["audio", "img", ".wb-length"]
    .map((part) => made.map((card) => card.querySelector(part)));
  seeds.unshift(made.map((_, k) => [audios[k].src, pictures[k].src, captions[k].textContent]));
  const map = () => root.querySelector(".wb-map")?.wbView;

  const choice = root.querySelector(".wb-seeds"), name = `wb-seed-${Math.random()}`;
  choice?.querySelectorAll("input").forEach((input, seed) => {
    Object.assign(input, { name, checked: seed === 0 }); // browsers restore forms when a page is opened again
    input.addEventListener("change", () => seeds[seed].forEach(([sound, picture, caption], k) => {
      exchange(audios[k], sound);
      pictures[k].src = picture;
      captions[k].textContent = caption;
    }));
  });
  if (choice) choice.hidden = false;

  const point = (k) => {
    for (const cell of cells) cell.classList.toggle("wb-here", cell === cells[k]);
    cells[k].scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  root.addEventListener("wb-prototype", ({ detail }) => {
    point(detail.prototype);
    if (!detail.play) return;
    const audio = audios[detail.prototype];
    if (audio.error) map().showStar(detail.prototype, audio);
    else if (audio.paused) audio.play().catch(() => {}); // another sound that starts at once may interrupt it
    else audio.pause();
  });
  audios.forEach((audio, k) => {
    const follow = () => {
      map()?.showStar(k, audio);
      if (!audio.paused && !audio.error && audio.isConnected) requestAnimationFrame(follow);
    };
    for (const event of ["playing", "pause", "seeked", "ended", "error"]) audio.addEventListener(event, follow);
  });
}

// ---- the map

// The class is made when it is asked for: the table's page has no SoundMap to extend.
function prototypeMap() {
  const path = (c, x, y, radius) => {
    c.beginPath();
    for (let k = 0; k < 10; k++) {
      const r = k % 2 ? 0.46 * radius : radius, turn = (k * Math.PI) / 5;
      c.lineTo(x + r * Math.sin(turn), y - r * Math.cos(turn));
    }
    c.closePath();
  };
  return class PrototypeMap extends SoundMap {
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
        path(c, ...plot.toScreen(i), plot.radius() + 6);
        c.globalAlpha = state.selected.size && !state.selected.has(i) ? 0.3 : 1;
        for (const [width, ink] of [[5, state.dark ? "#1d1f22" : "#ffffff"], [2.4, state.dark ? "#ffffff" : "#000000"]]) {
          c.lineWidth = width;
          c.strokeStyle = ink;
          c.stroke();
        }
        const { colour, shape } = state.styles[state.style[i]], [x, y] = plot.toScreen(i);
        c.fillStyle = colour;
        c.fill();
        c.translate(x, y); // the shape of its class: colours come back after eight classes
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
  };
}

// ---- why this class?

class SimilarityView {
  constructor(root, data) {
    Object.assign(this, { root, data, clip: 0, why: 0 });
    const select = (label, options, act) => {
      const node = make("select", "", ...options.map((text) => make("option", "", text)));
      node.addEventListener("change", () => act(node.selectedIndex));
      node.setAttribute("aria-label", label);
      return [node, make("label", "", make("span", "", label), node)];
    };
    const [, clips] = select("clip", data.clips.map((one) => one.name), (k) => this.open(k));
    const [whys, question] = select("explain", data.classes, (c) => this.explain(c));
    this.whys = whys;
    this.left = make("div", "wb-heard");
    this.sum = make("div", "wb-sum");
    this.sum.setAttribute("aria-live", "polite");
    this.cards = make("div", "wb-cards");
    root.append(make("div", "wb-title", data.title), make("div", "wb-asked", clips, question),
      make("div", "wb-two", this.left, this.sum), make("div", "wb-heading", "These prototypes, and the real clips nearest to them"),
      this.cards, make("div", "wb-note", data.note));
    this.open(0);
  }

  open(k) {
    this.clip = k;
    const one = this.data.clips[k], { chances } = one, predicted = chances.indexOf(Math.max(...chances));
    const said = make("div", "wb-verdict", make("strong", "", this.data.classes[predicted]), ` ${(100 * chances[predicted]).toFixed(1)} %`);
    if (one.label !== null) {
      const right = one.label === this.data.classes[predicted];
      said.append(make("span", right ? "wb-right" : "wb-wrong", right ? " ✓ right" : ` ✗ wrong: true class ${one.label}`));
    }
    this.left.replaceChildren(this.card(one.name, one.picture, one.sound), said, this.bars(chances, predicted));
    this.whys.selectedIndex = predicted;
    this.explain(predicted);
  }

  bars(chances, predicted) {
    const box = make("div", "wb-chances"), order = chances.map((_, c) => c).sort((a, b) => chances[b] - chances[a]);
    for (const c of order.slice(0, 8)) {
      const bar = make("i"), row = make("div", `wb-chance${c === predicted ? " wb-decided" : ""}`,
        make("span", "", this.data.classes[c]), make("div", "", bar), make("b", "", `${(100 * chances[c]).toFixed(1)} %`));
      bar.style.width = `${100 * chances[c]}%`;
      box.append(row);
    }
    if (order.length > 8) box.append(make("small", "", `and ${order.length - 8} more`));
    return box;
  }

  card(name, picture, sound, detail = "") {
    const card = make("div", "wb-card", make("div", "wb-name", name));
    if (detail) card.append(make("div", "wb-detail", detail));
    if (picture) {
      const image = make("img"), box = make("div", "wb-picture", image, make("i"));
      Object.assign(image, { src: picture, alt: `mel spectrogram of ${name}` });
      card.append(box);
    }
    if (!sound) card.append(make("div", "wb-length", "no sound on this page"));
    else card.append(player(sound[0], name), make("div", "wb-length", sound[1]));
    return card;
  }

  explain(c) {
    this.why = c;
    const { data } = this, { similarities } = data.clips[this.clip], weights = data.weights[c], name = data.classes[c];
    const parts = similarities.map((s, k) => s * weights[k]), total = parts.reduce((a, b) => a + b, data.bias[c]);
    const order = parts.map((_, k) => k).sort((a, b) => Math.abs(parts[b]) - Math.abs(parts[a])).slice(0, data.most);
    const shown = order.sort((a, b) => parts[b] - parts[a]);
    const others = parts.reduce((sum, part, k) => (shown.includes(k) ? sum : sum + part), 0);
    const rows = shown.map((k) => [data.prototypes[k].name, `${minus(similarities[k], 3)} × ${minus(weights[k], 2)}`, parts[k]]);
    if (shown.length < parts.length) rows.push([`all ${parts.length - shown.length} others`, "", others]);
    rows.push(["bias", "", data.bias[c]]);
    const ends = [...rows.map((row) => row[2]), 0], low = Math.min(...ends), span = Math.max(...ends) - low || 1;
    const place = (value) => (100 * (value - low)) / span;
    const table = rows.map(([label, detail, part]) => {
      const bar = make("i", part > 0 ? "wb-for" : "wb-against"), track = make("div", "wb-track", bar);
      bar.style.left = `${place(Math.min(part, 0))}%`;
      bar.style.width = `${Math.abs(place(part) - place(0))}%`;
      track.style.setProperty("--wb-zero", `${place(0)}%`);
      return make("div", "wb-part", make("span", "", label), make("small", "", detail), track, make("b", "", signed(part, 3)));
    });
    const end = make("div", "wb-part wb-total", make("span", "", `logit of ${name}`), make("small"), make("div"), make("b", "", signed(total, 3)));
    const head = make("div", "wb-part wb-names", make("span", "", "prototype"), make("small", "", "similarity × weight"), make("div"), make("b", "", "adds"));
    this.sum.replaceChildren(make("div", "wb-heading", `What adds up to the logit of ${name}`), head, ...table, end);
    this.cards.replaceChildren(...shown.map((k) => this.prototype(k, parts[k], similarities[k])));
  }

  prototype(k, part, similarity) {
    const one = this.data.prototypes[k], card = this.card(one.name, one.picture, one.sound, `adds ${signed(part)} · similarity ${minus(similarity, 3)}`);
    const box = make("div", "wb-cell", card);
    for (const [name, distance, sound] of one.near) {
      const near = make("div", "wb-card wb-near", make("div", "wb-detail", make("span", "", name), make("b", "", String(+distance.toPrecision(3)))));
      if (sound) near.append(player(sound[0], `real clip ${name}`, "none"));
      box.append(near);
    }
    return box;
  }
}

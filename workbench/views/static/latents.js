// A page of sparse latents: a table to search and sort, and the latent that is open with its clips, labels, factors and
// relatives. Needs nothing but the page it is in; where a kernel answers (link.js) it fetches what the page lacks.

const NO_CLIP = 4294967295, WAIT_SECONDS = 20, ROW = 27, MOST_LABELS = 24, BINS = 8, PAUSE_MS = 120, FADE_SECONDS = 0.005, GAP_SECONDS = 0.25, RATE = 44100;
const QUIET_DB = -50; // a moment below it sounds like nothing, and says so when it is played

function fixed(value) { return Number.isNaN(value) ? "–" : value.toFixed(2); }
function percent(share) { return Number.isNaN(share) ? "–" : `${share > 0 && share < 0.0995 ? +(100 * share).toPrecision(2) : Math.round(100 * share)} %`; }
function clamp(value, low, high) { return Math.min(Math.max(value, low), high); }

// A sound as exact samples (decoding an mp3 gives back its beginning; seeking in one does not), at one rate for all.
async function samples(sound) {
  return (await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes(sound).buffer)).getChannelData(0);
}
// Samples as a wav file.
function wav(x) {
  const view = new DataView(new ArrayBuffer(44 + 2 * x.length)), text = (at, word) => [...word].forEach((c, j) => view.setUint8(at + j, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * x.length, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); view.setUint16(22, 1, true); view.setUint32(24, RATE, true); view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * x.length, true);
  x.forEach((v, j) => view.setInt16(44 + 2 * j, Math.round(32767 * clamp(v, -1, 1)), true));
  return new Blob([view.buffer], { type: "audio/wav" });
}
// From one second to another, with short fades against clicks.
function cutOut(x, from, to) {
  const piece = x.slice(Math.max(0, Math.round(from * RATE)), Math.round(to * RATE)), fade = Math.min(piece.length >> 1, Math.round(FADE_SECONDS * RATE));
  for (let j = 0; j < fade; j++) { piece[j] *= j / fade; piece[piece.length - 1 - j] *= j / fade; }
  return piece;
}

class LatentPage {
  constructor(root, data) {
    Object.assign(this, { root, data, link: null, ticket: 0, past: [], urls: [], columnOf: {} });
    const s = (this.stats = Object.fromEntries(Object.entries(data.statistics).map(([name, text]) => [name, float32(text)])));
    this.numbers = uint32(data.numbers);
    this.place = new Map([...this.numbers].map((latent, k) => [latent, k]));
    this.examples = uint32(data.examples);
    this.carried = new Set(data.carried);
    this.brief = new Set(data.moments);
    this.columns = data.columns.map((c) => ({ ...c, codes: c.codes && uint16(c.codes), values: c.numbers && float32(c.numbers) }));
    this.relatives = Object.fromEntries(Object.entries(data.relatives).map(([name, { latents, values }]) =>
      [name, { latents: uint32(latents), values: name === "decoder" ? float32(values) : uint32(values) }]));
    data.bests = data.about.map(([column, label]) => (!column || column === "label" ? label : `${column} = ${label}`));
    const named = (k) => (data.names.length ? data.names[k][0] : "");
    const graded = (this.graded = data.names.length > 0 && data.names.every(([name, worth]) => !name || (worth && Number.isFinite(+worth))));
    this.texts = data.bests.map((best, k) => `${named(k)} ${best} ${data.factors[k]} #${this.numbers[k]}`.toLowerCase());
    const mark = (latent) => (this.carried.has(latent) ? "♪" : this.brief.has(latent) ? "♩" : ""), heard = data.carried.length + data.moments.length;
    const by = (name) => (k) => s[name][k];
    this.fields = [
      { key: "sound", head: "♪", hint: `its clips play on this page${data.framed ? "; ♩: the moments alone" : ""}`, value: (k) => ["", "♩", "♪"].indexOf(mark(this.numbers[k])), text: (k) => mark(this.numbers[k]), down: true },
      { key: "latent", head: "latent", hint: "its number", value: (k) => this.numbers[k], text: (k) => String(this.numbers[k]) },
      { key: "name", head: "name", hint: "what it is called", value: named, text: (k) => named(k) || "–", title: (k) => data.names[k].filter(Boolean).join(": ") },
      { key: "worth", head: "score", hint: "what its name is worth", value: (k) => (named(k) ? +data.names[k][1] : NaN), text: (k) => (named(k) ? data.names[k][1] : "–"), down: true },
      { key: "density", head: "active in", hint: "share of the clips in which it is active", value: by("density"), text: (k) => percent(s.density[k]), bar: by("density"), down: true },
      { key: "mean", head: "mean", hint: "mean activation over all clips", value: by("mean"), text: (k) => show(s.mean[k], 3), down: true },
      { key: "max", head: "max", hint: "largest activation", value: by("max"), text: (k) => show(s.max[k], 3), down: true },
      { key: "best", head: "best label", hint: "the label that its activation tells best from all other clips", value: (k) => data.bests[k], text: (k) => data.bests[k] || "–" },
      { key: "auc", head: "AUC", hint: "area under the ROC curve for the best label; 0.5 is a coin", value: by("auc"), text: (k) => fixed(s.auc[k]), weak: (k) => !(s.auc[k] > s.auc_chance[k]), down: true },
      { key: "auc-chance", head: "chance", hint: "AUC that the best of all labels reaches when the clips are shuffled (luckiest of 20)", value: by("auc_chance"), text: (k) => fixed(s.auc_chance[k]), down: true },
      { key: "factor", head: "best factor", hint: "the number that its activation follows best", value: (k) => data.factors[k], text: (k) => data.factors[k] || "–" },
      { key: "correlation", head: "r", hint: "Pearson correlation with the best factor; sorted by size", value: (k) => Math.abs(s.correlation[k]), text: (k) => signed(s.correlation[k]), weak: (k) => !(Math.abs(s.correlation[k]) > s.correlation_chance[k]), down: true },
      { key: "correlation-chance", head: "chance", hint: "correlation that the best of all factors reaches when the clips are shuffled (luckiest of 20)", value: by("correlation_chance"), text: (k) => fixed(s.correlation_chance[k]), down: true },
    ].filter(({ key }) => {
      if (key === "sound") return heard;
      if (key === "name") return data.names.length;
      if (key === "worth") return graded;
      return !/^(factor|correlation)/.test(key) || data.factors.some(Boolean); // without numbers in the table there is no factor
    });
    this.sorting = graded ? { key: "worth", down: true } : data.names.length ? { key: "name", down: false } : { key: "auc", down: true };
    this.build();
    new ResizeObserver(() => { this.drawRows(); this.drawPlots(); }).observe(this.root);
    this.filter();
    this.open(data.first, { tell: false });
  }

  build() {
    const { root, data } = this;
    this.search = make("input", "wb-search");
    Object.assign(this.search, { type: "search", placeholder: `search: ${data.names.length ? "a name, " : ""}a label, a factor, #12` });
    this.search.setAttribute("aria-label", `search the latents by ${data.names.length ? "name, " : ""}label, factor or #number`);
    this.search.addEventListener("input", () => this.filter());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") this.scroller.focus();
      else if (event.key === "Enter" && this.order.length) this.open(this.numbers[this.order[0]]);
      else return;
      event.preventDefault();
    });
    this.found = make("span", "wb-found");
    this.found.setAttribute("aria-live", "polite");
    const head = make("div", "wb-head", make("strong", "wb-title", data.title), this.search, this.found);
    this.heads = {};
    const names = make("div", "wb-row wb-names");
    names.setAttribute("role", "row");
    for (const field of this.fields) {
      const sort = button(field.head, () => this.sortBy(field), `${field.hint}: click to sort`, "wb-sort"), cell = make("div", `wb-c wb-c-${field.key}`, sort);
      cell.setAttribute("role", "columnheader");
      names.append(cell);
      this.heads[field.key] = cell;
    }
    this.rows = make("div", "wb-rows");
    this.scroller = make("div", "wb-scroller", this.rows);
    this.scroller.tabIndex = 0;
    this.scroller.setAttribute("aria-label", "latents: arrow keys go from one to the next");
    this.scroller.addEventListener("scroll", () => requestAnimationFrame(() => this.drawRows()));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.grid = make("div", "wb-grid", names, this.scroller);
    this.grid.setAttribute("role", "grid");
    this.latent = make("section", "wb-latent");
    this.note = make("div", "wb-note");
    root.append(head, make("div", "wb-wide", this.grid), this.latent, this.note);
    this.describe();
  }

  // ---- the table

  sortBy(field) {
    const again = this.sorting.key === field.key;
    this.sorting = { key: field.key, down: again ? !this.sorting.down : !!field.down };
    this.filter();
  }

  filter() {
    const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean), { data } = this;
    // "#12" means this latent alone; any other word must be part of the name, the best label or the factor.
    const fits = (k) => wanted.every((word) => (/^#\d+$/.test(word) ? +word.slice(1) === this.numbers[k] : this.texts[k].includes(word)));
    this.order = [...this.numbers.keys()].filter(fits);
    const field = this.fields.find((f) => f.key === this.sorting.key), sign = this.sorting.down ? -1 : 1;
    const empty = (v) => v === "" || Number.isNaN(v);
    const keys = new Map(this.order.map((k) => [k, field.value(k)]));
    this.order.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (empty(x) || empty(y)) return empty(x) - empty(y) || a - b; // what has no value comes last either way
      return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) || a - b;
    });
    for (const f of this.fields) {
      const chosen = f === field;
      this.heads[f.key].setAttribute("aria-sort", !chosen ? "none" : this.sorting.down ? "descending" : "ascending");
    }
    const alive = this.numbers.length, dead = data.total - alive;
    const exact = wanted.length === 1 && /^#\d+$/.test(wanted[0]) ? +wanted[0].slice(1) : -1;
    this.found.textContent = !wanted.length ? `${count(alive)} alive · ${count(dead)} dead (active in no clip)`
      : this.order.length ? `${count(this.order.length)} of ${count(alive)} alive latents`
        : exact >= 0 && exact < data.total ? `latent ${exact} is dead: active in no clip` : "no alive latent fits";
    this.grid.setAttribute("aria-rowcount", this.order.length + 1);
    this.rows.style.height = `${this.order.length * ROW}px`;
    this.scroller.scrollTop = 0;
    this.drawRows();
  }

  // Only the rows in view exist: there may be many thousand latents.
  drawRows() {
    const { scrollTop, clientHeight } = this.scroller, first = Math.max(0, Math.floor(scrollTop / ROW) - 6);
    const last = Math.min(this.order.length, Math.ceil((scrollTop + clientHeight) / ROW) + 6), rows = [];
    for (let at = first; at < last; at++) {
      const k = this.order[at], latent = this.numbers[k], row = make("div", "wb-row");
      row.id = `${this.data.key}-${latent}`;
      row.style.top = `${at * ROW}px`;
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", at + 2);
      row.setAttribute("aria-selected", String(latent === this.current));
      for (const field of this.fields) {
        const cell = make("div", `wb-c wb-c-${field.key}${field.weak && field.weak(k) ? " wb-weak" : ""}`, make("span", "", field.text(k)));
        cell.setAttribute("role", "gridcell");
        if (field.key === "best" || field.key === "factor") cell.title = field.text(k);
        if (field.title) cell.title = field.title(k);
        if (field.bar) cell.style.setProperty("--wb-share", `${Math.max(2, 100 * field.bar(k))}%`);
        row.append(cell);
      }
      row.addEventListener("click", () => { this.scroller.focus({ preventScroll: true }); this.open(latent); });
      rows.push(row);
    }
    this.rows.replaceChildren(...rows);
    this.scroller.setAttribute("aria-activedescendant", `${this.data.key}-${this.current}`);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 1), end = this.order.length;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -end, End: end };
    if ((event.key === "Enter" || event.key === " ") && this.playMoments) this.playMoments();
    else if (event.key === "Enter" || event.key === " ") {
      const audio = this.latent.querySelector("audio");
      if (audio) { if (audio.paused) audio.play().catch(() => {}); else audio.pause(); }
    } else if (steps[event.key] && end) {
      const at = this.order.indexOf(this.place.get(this.current));
      this.open(this.numbers[this.order[at < 0 ? 0 : clamp(at + steps[event.key], 0, end - 1)]]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  reveal() {
    const at = this.order.indexOf(this.place.get(this.current)), { scroller } = this;
    if (at >= 0 && at * ROW < scroller.scrollTop) scroller.scrollTop = at * ROW;
    if (at >= 0 && (at + 1) * ROW > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = (at + 1) * ROW - scroller.clientHeight;
    this.drawRows();
  }

  // ---- the latent that is open

  open(latent, { tell = true, back = false } = {}) {
    if (latent === this.current || !this.place.has(latent)) return;
    if (this.current !== undefined && !back) this.past.push(this.current);
    this.current = latent;
    this.columnOf = {};
    this.reveal();
    this.fill();
    if (tell && this.link) this.link.select([latent]);
  }

  async fill() {
    const ticket = ++this.ticket, latent = this.current, { data } = this;
    for (const audio of this.latent.querySelectorAll("audio")) { // what still loads from an address is let go before it
      audio.pause();
      audio.removeAttribute("src");
      audio.load();
    }
    this.urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
    this.readActivations();
    this.drawLatent();
    if (!this.link) return;
    // A hand that runs down the table asks for nothing until it rests.
    await new Promise((done) => setTimeout(done, PAUSE_MS));
    const own = data.latents[latent], lacking = this.cards.filter((card) => data.media && !data.clips[card.clip] && !data.failed[card.clip]);
    try {
      if (ticket === this.ticket && this.link && (!own || (data.framed && !own.curves))) {
        data.latents[latent] = { ...own, ...(await this.ask(data.n + latent)) };
        if (ticket !== this.ticket) return;
        this.readActivations();
        this.drawProfiles();
        for (const card of this.cards) this.fillCard(card);
        this.drawSequence();
      }
    } catch (error) { if (ticket === this.ticket) this.say(error); }
    for (const card of lacking) {
      if (ticket !== this.ticket || !this.link) return;
      try { data.clips[card.clip] = await this.ask(card.clip); } catch (error) { card.wrong = this.reason(error); }
      if (ticket === this.ticket) this.fillCard(card);
    }
    if (ticket === this.ticket) this.drawSequence();
  }

  // ---- moments: the short time around a clip's strongest frame

  // Where the moment of a clip lies and what it is cut from: the row of moments that the page carries, or the whole clip.
  momentOf(card) {
    const { data } = this, own = data.latents[this.current], at = own?.peaks?.[card.clip], j = own?.strip ? own.strip.clips.indexOf(card.clip) : -1;
    if (j >= 0) {
      const { starts, lengths, totals, step } = own.strip;
      return { strip: own.strip, j, start: starts[j], stop: starts[j] + lengths[j], total: totals[j], from: j * step, to: j * step + lengths[j] };
    }
    const whole = data.clips[card.clip];
    if (card.silent || at === undefined || !whole || at > whole.seconds) return null;
    const start = clamp(at - data.moment / 2, 0, Math.max(0, whole.seconds - data.moment)), stop = Math.min(start + data.moment, whole.seconds);
    return { whole, start, stop, from: start, to: stop };
  }

  async cutMoment(card) {
    const { moment } = card, source = moment.strip ?? moment.whole;
    if (!this.decoded.has(source)) this.decoded.set(source, samples(source.sound));
    const x = await this.decoded.get(source);
    return cutOut(x, moment.from, moment.to);
  }

  // A short sound that is made when it is first wanted, and the button that plays it and stops it.
  shortSound(name, text, pieces, follow) {
    const audio = make("audio"), control = button("", () => play(), "", "wb-button wb-moment-button"), symbol = make("span", "", "▶ ");
    symbol.setAttribute("aria-hidden", "true");
    control.append(symbol, make("span", "", text));
    control.setAttribute("aria-label", name);
    control.setAttribute("aria-pressed", "false");
    audio.preload = "none";
    const show = () => {
      const sounds = !audio.paused && !audio.ended;
      symbol.textContent = sounds ? "■ " : "▶ ";
      control.setAttribute("aria-pressed", String(sounds));
      if (follow) follow(sounds ? audio.currentTime : -1);
    };
    for (const event of ["play", "playing", "pause", "ended", "timeupdate"]) audio.addEventListener(event, show);
    const play = async () => {
      if (!audio.paused && !audio.ended) { audio.pause(); audio.currentTime = 0; return; }
      const turn = takeTurn();
      try {
        if (!audio.src) {
          const x = await pieces(), level = 10 * Math.log10(x.reduce((sum, v) => sum + v * v, 1e-12) / x.length);
          if (level < QUIET_DB) control.append(make("span", "", ` · nearly silent, ${Math.round(level)} dBFS`.replace("-", "−")));
          const url = URL.createObjectURL(wav(x));
          if (!audio.isConnected) { URL.revokeObjectURL(url); return; } // another latent is open by now
          this.urls.push(url);
          audio.src = url;
        }
        if (turn !== oneSound.turn) return;
        audio.wbTurn = turn;
        audio.currentTime = 0;
        await audio.play();
      } catch (error) { if (error.name !== "AbortError") this.say(new Error("This browser cannot play this moment.")); }
    };
    return { audio, control, play };
  }

  // The strongest moments one after the other, under the name of their group.
  drawSequence() {
    const cards = this.cards.filter((card) => card.strong && card.moment), known = cards.map((card) => card.clip).join();
    if (known === this.inSequence) return;
    this.inSequence = known;
    this.playMoments = null;
    if (!cards.length) { this.sequence.replaceChildren(); return; }
    let starts = [];
    const pieces = async () => {
      const parts = await Promise.all(cards.map((card) => this.cutMoment(card))), gap = Math.round(GAP_SECONDS * RATE);
      const line = new Float32Array(parts.reduce((sum, part) => sum + part.length + gap, 0));
      let at = 0;
      starts = parts.map((part) => { line.set(part, at); at += part.length + gap; return (at - part.length - gap) / RATE; });
      return line;
    };
    const follow = (now) => {
      const j = now < 0 ? -1 : starts.filter((start) => start <= now).length - 1;
      cards.forEach((card, k) => card.node.classList.toggle("wb-in-turn", k === j));
    };
    const many = cards.length > 1 ? `its ${cards.length} strongest moments, one after the other` : "its strongest moment";
    const { audio, control, play } = this.shortSound(`play ${many}`, `Play ${many}`, pieces, follow);
    this.playMoments = play;
    this.sequence.replaceChildren(control, audio);
  }

  async ask(index) {
    return (await this.link.sound(index, WAIT_SECONDS)).parcel;
  }
  reason(error) {
    return this.link ? error.message : "the kernel that made this page has ended: run the cell again";
  }
  say(error) { this.problem.textContent = this.reason(error); }

  // Activation of every clip by the open latent; null where the page does not have it.
  readActivations() {
    const parcel = this.data.latents[this.current];
    this.activation = null;
    if (!parcel) return;
    const gaps = uint32(parcel.gaps), levels = uint16(parcel.levels), max = this.stats.max[this.place.get(this.current)];
    this.activation = new Float32Array(this.data.n);
    for (let j = 0, i = 0; j < gaps.length; j++) { i += gaps[j]; this.activation[i] = (levels[j] / 65535) * max; }
  }

  drawLatent() {
    const { data, stats: s } = this, k = this.place.get(this.current), width = data.top + data.weaker.length + data.silent;
    const back = button("‹ back", () => this.open(this.past.pop(), { back: true }), "the latent before");
    back.hidden = !this.past.length;
    const strong = s.auc[k] > s.auc_chance[k], follows = Math.abs(s.correlation[k]) > s.correlation_chance[k];
    const verdict = [strong ? `tells ${data.bests[k]} best` : "", follows ? `${s.correlation[k] > 0 ? "rises" : "falls"} with ${data.factors[k]}` : ""].filter(Boolean);
    const head = make("div", "wb-latent-head", make("h3", "", `Latent ${this.current}${data.names[k]?.[0] ? `: ${data.names[k][0]}` : ""}`), ...(data.names[k]?.[1] ? [make("span", "wb-worth", `${this.graded ? "score " : ""}${data.names[k][1]}`)] : []),
      make("span", "wb-verdict", verdict.join("; ") || "no label or factor above chance"), back);
    this.problem = make("div", "wb-wrong");
    const tiles = make("div", "wb-tiles", ...this.tiles(k));
    const places = Array.from(this.examples.subarray(k * width, (k + 1) * width)), active = Math.round(s.density[k] * data.n);
    this.cards = [];
    const groups = make("div", "wb-players wb-groups"), some = (list) => list.filter((clip) => clip !== NO_CLIP);
    this.sequence = make("div", "wb-sequence");
    this.inSequence = this.playMoments = null;
    this.decoded = new Map();
    const group = (clips, title, hint) => {
      if (!clips.length) return;
      const cards = clips.map((clip) => ({ clip, node: make("div", "wb-card"), strong: title === "Strongest", silent: title === "Silent" }));
      this.cards.push(...cards);
      groups.append(make("div", "wb-group", make("h4", "", title, make("small", "", hint)), ...(title === "Strongest" ? [this.sequence] : []), make("div", "wb-cards", ...cards.map((c) => c.node))));
    };
    const strongest = some(places.slice(0, data.top)), weaker = some(places.slice(data.top, -data.silent)), silent = some(places.slice(-data.silent));
    group(strongest, "Strongest", strongest.length < active ? `${strongest.length} of ${count(active)} active clips` : `all ${strongest.length} active clips`);
    group(weaker, "Weaker", "a quarter, half, three quarters of the way down the active clips".split(", ").slice(-weaker.length).join(", "));
    group(silent, "Silent", `drawn at random from ${count(data.n - active)} clips in which it is not active`);
    this.curveNote = make("div", "wb-small");
    groups.append(this.curveNote);
    this.profiles = make("div", "wb-profiles");
    this.latent.replaceChildren(head, this.problem, tiles, make("div", "wb-two", groups, make("div", "wb-side", this.profiles, ...this.drawRelatives(k))));
    for (const card of this.cards) this.fillCard(card);
    this.drawSequence();
    this.drawProfiles();
  }

  tiles(k) {
    const { data, stats: s } = this, active = Math.round(s.density[k] * data.n);
    const tile = (name, big, meter, ...lines) => make("div", "wb-tile", make("div", "wb-small", name), make("div", "wb-big", big), ...(meter ? [meter] : []), ...lines.map((line) => make("div", "wb-small", line)));
    const meter = (from, to, chance, both) => {
      const node = make("div", "wb-meter"), fill = make("i");
      fill.style.left = `${100 * Math.min(from, to)}%`;
      fill.style.width = `${100 * Math.abs(to - from)}%`;
      node.append(fill);
      for (const at of both ? [1 - chance, chance] : [chance]) {
        const tick = make("b");
        tick.style.left = `${100 * clamp(at, 0, 1)}%`;
        node.append(tick);
      }
      node.title = "the bar starts at 0; beyond the mark lies what shuffled clips do not reach";
      return node;
    };
    const tiles = [tile("Active in", percent(s.density[k]), meter(0, s.density[k], -1), `${count(active)} of ${count(data.n)} clips`, `mean ${show(s.mean[k], 3)}, largest ${show(s.max[k], 3)}`)];
    tiles[0].querySelector("b").remove();
    if (data.bests[k]) {
      tiles.push(tile(`Best label: ${data.bests[k]}`, `AUC ${fixed(s.auc[k])}`, meter(0, 2 * s.auc[k] - 1, 2 * s.auc_chance[k] - 1),
        `a coin 0.5, shuffled clips at best ${fixed(s.auc_chance[k])}`,
        `${percent(s.precision[k])} of its clips have the label (of all clips ${percent(s.share[k])}); it finds ${percent(s.recall[k])} of them`));
    }
    if (data.factors[k]) {
      tiles.push(tile(`Best factor: ${data.factors[k]}`, `r = ${signed(s.correlation[k])}`, meter(0.5, (1 + s.correlation[k]) / 2, (1 + s.correlation_chance[k]) / 2, true),
        `shuffled clips at best ±${fixed(s.correlation_chance[k])}`));
    }
    return tiles;
  }

  fillCard(card) {
    const { data } = this, { clip, node } = card, parcel = data.clips[clip], curves = data.latents[this.current]?.curves;
    const value = this.activation ? make("span", "wb-value", show(this.activation[clip], 3)) : "";
    const name = make("div", "wb-name", make("span", "", data.labels[clip] || data.ids[clip] || `clip ${clip}`), value);
    const detail = data.labels[clip] && data.ids[clip] ? [make("div", "wb-detail", data.ids[clip])] : [];
    if (detail.length) detail[0].title = data.ids[clip];
    card.moment = this.momentOf(card);
    if (!parcel && !card.moment) {
      const why = card.wrong || data.failed[clip] || (!data.media ? "came without sound" : this.link ? "waiting for the kernel …" : this.brief.has(this.current) ? "this page has the strongest moments alone" : "its sound is not on this page");
      node.replaceChildren(name, ...detail, make("div", "wb-blank", why));
      return;
    }
    const picture = make("div", "wb-picture"), image = make("img"), of = data.labels[clip] || data.ids[clip] || `clip ${clip}`;
    picture.append(image);
    if (!parcel) {
      // One of the moments that stand side by side in one picture.
      const { strip, j } = card.moment;
      Object.assign(image, { src: strip.picture, alt: `mel spectrogram of the moment of ${of}`, className: "wb-slice" });
      image.style.setProperty("--wb-slices", strip.clips.length);
      image.style.setProperty("--wb-slice", j);
    } else {
      Object.assign(image, { src: parcel.picture, alt: `mel spectrogram of ${of}` });
      if (curves?.of[clip]) picture.append(this.curve(...curves.of[clip], parcel.seconds));
      if (card.moment && card.moment.start < parcel.seconds) {
        const band = make("b", "wb-moment-mark");
        band.style.left = `${(100 * card.moment.start) / parcel.seconds}%`;
        band.style.width = `${(100 * (Math.min(card.moment.stop, parcel.seconds) - card.moment.start)) / parcel.seconds}%`;
        picture.append(band);
      }
    }
    picture.append(make("i"));
    // A card that is drawn again keeps its players, which may be sounding.
    if (card.moment && !card.short) {
      const { start, stop } = card.moment, later = parcel && start >= parcel.seconds ? ", later than what is shown" : "", span = `${start.toFixed(2)}–${stop.toFixed(2)} s${later}`;
      card.short = this.shortSound(`play the moment of ${of}: ${start.toFixed(2)} to ${stop.toFixed(2)} seconds`, span, () => this.cutMoment(card));
    }
    if (!parcel) {
      // The sound lies in the card itself, so that the play head runs over the picture.
      picture.addEventListener("click", (event) => { event.stopPropagation(); card.short.play(); });
      node.replaceChildren(name, ...detail, picture, card.short.control, card.short.audio, make("div", "wb-length", `of ${card.moment.total.toFixed(1)} s`));
    } else {
      card.audio ??= this.player(parcel);
      const short = card.short ? [make("div", "wb-moment", card.short.control, card.short.audio)] : [];
      node.replaceChildren(name, ...detail, picture, card.audio, ...short, make("div", "wb-length", parcel.caption));
    }
    const line = curves ? `Line: activation over time; the full height is ${show(curves.largest, 3)}, the largest in what is shown. ` : "";
    this.curveNote.textContent = this.cards.some((c) => c.moment) ? `${line}White frame and ▶: the ${show(data.moment)} s around the strongest frame of a clip.` : line.trim();
  }

  player(parcel) {
    const url = URL.createObjectURL(new Blob([bytes(parcel.sound)], { type: this.data.media }));
    this.urls.push(url);
    return player(url);
  }

  curve(times, values, seconds) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), t = float32(times), v = uint16(values);
    const points = Array.from(t, (at, j) => `${((100 * at) / seconds).toFixed(2)},${(96 - (v[j] / 65535) * 92).toFixed(1)}`).join(" ");
    svg.setAttribute("viewBox", "0 0 100 100");
    svg.setAttribute("preserveAspectRatio", "none");
    for (const name of ["wb-halo", "wb-line"]) {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
      line.setAttribute("points", points);
      line.setAttribute("class", name);
      svg.append(line);
    }
    return svg;
  }

  drawRelatives(k) {
    const { data, stats: s } = this, panels = [];
    const panel = (name, title, hint, text) => {
      const relatives = this.relatives[name];
      if (!relatives) return;
      const per = relatives.latents.length / this.numbers.length, chips = [];
      for (let j = k * per; j < (k + 1) * per; j++) {
        const other = relatives.latents[j], value = relatives.values[j];
        if (name === "together" && !value) continue;
        const chip = button("", () => this.open(this.numbers[other]), `open latent ${this.numbers[other]}`, "wb-chip");
        chip.append(make("strong", "", String(this.numbers[other])), make("span", "", text(value, other)), make("em", "", data.bests[other] || ""));
        chips.push(chip);
      }
      panels.push(make("div", "wb-panel", make("h4", "", title, make("small", "", hint)), ...(chips.length ? chips : [make("div", "wb-small", "none")])));
    };
    panel("decoder", "Writes in a similar direction", "cosine of the decoder's directions", (value) => signed(value));
    panel("together", "Active together", "number of clips shared", (value, other) => `${count(value)} of its ${count(Math.round(s.density[other] * data.n))}`);
    return panels;
  }

  // ---- labels and factors

  drawProfiles() {
    const { data } = this, k = this.place.get(this.current), about = data.about[k][0], nodes = [];
    this.plots = [];
    if (!this.activation) {
      this.profiles.replaceChildren(make("div", "wb-small", this.link ? "waiting for the kernel …" : "The activations of this latent are not on this page; run the notebook to see them."));
      return;
    }
    const panel = (kind, best, title, caption, draw, hint) => {
      const columns = this.columns.filter((c) => c.kind === kind);
      if (!columns.length) return;
      const chosen = this.columnOf[kind] ?? (columns.some((c) => c.name === best) ? best : columns[0].name), select = make("select");
      for (const column of columns) {
        const option = make("option", "", hint ? `${column.name}  (r ${signed(hint(column))})` : column.name);
        Object.assign(option, { value: column.name, selected: column.name === chosen });
        select.append(option);
      }
      select.setAttribute("aria-label", title);
      select.addEventListener("change", () => { this.columnOf[kind] = select.value; this.drawProfiles(); });
      nodes.push(make("div", "wb-panel", make("h4", "", title, select), draw(columns.find((c) => c.name === chosen)), make("div", "wb-small", caption)));
    };
    panel("category", about, "By", "Dot: an active clip. Bar: mean over all clips of the label. Right: share of them active.", (c) => this.strips(c));
    panel("number", data.factors[k], "Against", "Dot: a clip. Line: mean activation in equal parts of the clips.", (c) => this.scatter(c), (c) => this.correlation(c));
    this.profiles.replaceChildren(...nodes);
    this.drawPlots();
  }

  correlation(column) {
    let n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    column.values.forEach((v, i) => {
      if (Number.isNaN(v)) return;
      const a = this.activation[i], u = v - column.min;
      n++; x += u; y += a; xx += u * u; yy += a * a; xy += u * a;
    });
    const spread = Math.sqrt((n * xx - x * x) * (n * yy - y * y));
    return spread > 1e-9 * n * Math.sqrt(xx * yy) ? (n * xy - x * y) / spread : NaN;
  }

  strips(column) {
    const rows = column.levels.map((level, code) => ({ level, clips: [], sum: 0, all: 0, code }));
    column.codes.forEach((code, i) => {
      if (code === MISSING_CODE) return;
      const row = rows[code], a = this.activation[i];
      row.all++; row.sum += a;
      if (a > 0) row.clips.push(i);
    });
    rows.sort((a, b) => b.sum / b.all - a.sum / a.all || a.code - b.code);
    const [name, best] = this.data.about[this.place.get(this.current)], box = make("div", "wb-strips");
    for (const row of rows.slice(0, MOST_LABELS)) {
      const canvas = make("canvas"), label = make("span", "wb-strip-name", row.level);
      label.title = row.level;
      const line = make("div", `wb-strip${name === column.name && best === row.level ? " wb-best" : ""}`, label, canvas, make("span", "wb-strip-share", percent(row.clips.length / row.all)));
      box.append(line);
      this.plots.push({ canvas, draw: (c, w, h) => this.drawStrip(c, w, h, row) });
    }
    if (rows.length > MOST_LABELS) box.append(make("div", "wb-small", `and ${rows.length - MOST_LABELS} more with lower means`));
    const max = this.stats.max[this.place.get(this.current)];
    box.append(make("div", "wb-strip", make("span", ""), make("span", "wb-ends", make("span", "", "0"), make("span", "", "activation"), make("span", "", show(max, 3))), make("span", "")));
    return box;
  }

  ink() {
    const style = getComputedStyle(this.root), read = (name) => style.getPropertyValue(name).trim();
    return { on: read("--wb-on"), line: read("--wb-line"), soft: read("--wb-soft"), ink: read("--wb-ink"), bar: read("--wb-bar") };
  }

  drawStrip(c, w, h, row) {
    const ink = this.ink(), max = this.stats.max[this.place.get(this.current)], x = (a) => (a / max) * (w - 4);
    c.fillStyle = ink.bar;
    c.fillRect(0, 2, Math.max(x(row.sum / row.all), row.sum ? 1 : 0), h - 4);
    c.fillStyle = ink.line;
    c.fillRect(0, 0, 1, h);
    c.fillStyle = ink.on;
    c.globalAlpha = clamp(12 / Math.sqrt(row.clips.length + 1), 0.35, 0.85);
    for (const i of row.clips) {
      c.beginPath();
      c.arc(x(this.activation[i]), 4 + (h - 8) * ((i * 0.618034) % 1), 2, 0, 2 * Math.PI);
      c.fill();
    }
    c.globalAlpha = 1;
  }

  scatter(column) {
    const canvas = make("canvas", "wb-scatter"), known = [];
    column.values.forEach((v, i) => { if (!Number.isNaN(v)) known.push(i); });
    known.sort((a, b) => column.values[a] - column.values[b]);
    this.plots.push({ canvas, draw: (c, w, h) => this.drawScatter(c, w, h, column, known) });
    const missing = this.data.n - known.length;
    return make("div", "", canvas, make("span", "wb-ends", make("span", "", show(column.min, 3)), make("span", "", column.name + (missing ? `, ${count(missing)} clips without` : "")), make("span", "", show(column.max, 3))));
  }

  drawScatter(c, w, h, column, known) {
    const ink = this.ink(), max = this.stats.max[this.place.get(this.current)], span = column.max - column.min || 1;
    const x = (v) => 4 + ((v - column.min) / span) * (w - 8), y = (a) => h - 4 - (a / max) * (h - 8);
    c.fillStyle = ink.line;
    c.fillRect(0, h - 1, w, 1);
    for (const i of known) {
      const a = this.activation[i];
      c.globalAlpha = a > 0 ? 0.7 : 0.35;
      c.fillStyle = a > 0 ? ink.on : ink.soft;
      c.beginPath();
      c.arc(x(column.values[i]), y(a), a > 0 ? 2.2 : 1.4, 0, 2 * Math.PI);
      c.fill();
    }
    c.globalAlpha = 1;
    c.strokeStyle = ink.ink;
    c.lineWidth = 1.6;
    c.beginPath();
    const bins = Math.min(BINS, known.length);
    for (let b = 0; b < bins; b++) {
      const part = known.slice(Math.round((b * known.length) / bins), Math.round(((b + 1) * known.length) / bins));
      const mean = (of) => part.reduce((sum, i) => sum + of(i), 0) / part.length;
      c.lineTo(x(mean((i) => column.values[i])), y(mean((i) => this.activation[i])));
    }
    c.stroke();
  }

  setTheme() { this.drawPlots(); }
  drawPlots() {
    const ratio = window.devicePixelRatio || 1;
    for (const { canvas, draw } of this.plots || []) {
      const w = canvas.clientWidth, h = canvas.clientHeight;
      if (!w || !h) continue;
      canvas.width = Math.round(w * ratio);
      canvas.height = Math.round(h * ratio);
      const c = canvas.getContext("2d");
      c.setTransform(ratio, 0, 0, ratio, 0, 0);
      draw(c, w, h);
    }
  }

  // ---- the kernel

  showSelection([latent]) { this.open(latent, { tell: false }); }
  connect(link) {
    this.link = link;
    this.root.dataset.live = "true";
    const [latent] = link.selected();
    if (latent === this.current) this.fill(); else this.open(latent, { tell: false });
    this.describe();
  }
  disconnect() {
    this.link = null;
    delete this.root.dataset.live;
    this.describe();
    if (!this.activation) this.drawProfiles();
    for (const card of this.cards) if (!card.audio) this.fillCard(card);
  }
  describe() { this.note.textContent = this.link ? this.data.live_note : this.data.note; }
}

// A listening test: a name, then one screen after the other, then the answers as a file. Sounds are A, B, C; their ids say
// nothing. While a kernel answers (link.js) every screen is saved at once; else the browser keeps the answers.

const KERNEL_SECONDS = 15, HEARD_SECONDS = 0.25;

// Hash of a text, 32 bits, as in listening.py: the page finds the same order as Python.
function hash32(text) {
  let value = 2166136261;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 16777619);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
function csvCell(value) {
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

class ListeningTest {
  constructor(root, data) {
    Object.assign(this, { root, data, link: null, listener: "", rows: [], unsaved: [], trouble: "", broken: new Set() });
    this.trials = new Map(data.trials.map((trial) => [trial.id, trial]));
    this.screen = make("div", "wb-screen");
    this.status = make("div", "wb-note");
    this.status.setAttribute("role", "status");
    this.file = button("Download the answers (csv)", () => this.download());
    root.append(make("div", "wb-title", data.title), this.screen, make("div", "wb-foot", this.status, this.file));
    this.welcome();
  }

  // ---- who listens

  welcome() {
    const { data } = this, name = make("input", "wb-listener"), form = make("div", "wb-welcome");
    name.autocomplete = "off";
    const screens = data.task === "rating" ? data.trials.length : data.trials.reduce((sum, t) => sum + t.sounds.length, 0);
    const what = {
      rating: `In each of ${screens} trials you will hear a few sounds and rate each of them from 0 to 100.`,
      identification: `You will hear ${screens} sounds, one at a time, and say what each is.`,
      description: `You will hear ${screens} sounds, one at a time, and rate from 0 to 100 how well each matches ${data.choices.length} descriptions. More than one may fit, or none.`,
    }[data.task];
    const start = () => { if (name.value.trim()) this.begin(name.value.trim(), begin); else name.focus(); };
    const begin = button("Begin", start);
    begin.classList.add("wb-go");
    // Not a form: in JupyterLab the Enter key would not submit it.
    name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      start();
    });
    form.append(make("p", "", `${what} Use headphones, and leave the volume as it is from now on. Nothing plays by itself. Who comes back under the same name goes on where they were.`),
      make("label", "", make("span", "", "Your name or initials"), name), begin);
    this.screen.replaceChildren(form);
    this.tell();
  }

  async begin(listener, waiting) {
    if (waiting.disabled) return;
    this.listener = listener;
    waiting.disabled = true;
    ({ rows: this.rows, unsaved: this.unsaved } = this.remembered());
    if (this.link) {
      try {
        const { rows: saved } = await this.link.ask({ kind: "answers", listener }, KERNEL_SECONDS), known = new Set(saved.map((row) => row.stimulus));
        this.unsaved = this.unsaved.filter((row) => !known.has(row.stimulus)); // given while no kernel answered
        this.rows = [...saved, ...this.unsaved];
        await this.send();
      } catch (error) { this.trouble = error.message; }
    }
    this.steps = this.order();
    this.at = 0;
    this.next();
  }

  // Screens for this listener: trials and sounds in the order of the numbers that salt, name and id give.
  order() {
    const { data, listener } = this, number = (who, id) => hash32(`${data.salt}|${who}|${id}`);
    const shuffled = (ids, who) => [...ids].sort((a, b) => number(who, a) - number(who, b) || (a < b ? -1 : 1));
    const ids = [...this.trials.keys()], sounds = new Map(ids.map((id) => [id, shuffled(this.trials.get(id).sounds.map((s) => s.id), listener)]));
    if (data.task === "rating") return shuffled(ids, listener).map((id) => ({ trial: id, sounds: sounds.get(id) }));
    const rounds = Math.max(...[...sounds.values()].map((list) => list.length));
    return Array.from({ length: rounds }, (_, r) => shuffled(ids, `${listener}|${r}`)
      .filter((id) => r < sounds.get(id).length).map((id) => ({ trial: id, sounds: [sounds.get(id)[r]] }))).flat();
  }

  // What is rated of a sound: itself (""), or each of the descriptions, in one order for all screens of a listener.
  asked() {
    const { data, listener } = this, number = (name) => hash32(`${data.salt}|${listener}|description|${name}`);
    if (data.task !== "description") return [""];
    return [...data.choices].sort((a, b) => number(a) - number(b) || (a < b ? -1 : 1));
  }

  // ---- one screen

  next() {
    const done = new Set([...this.rows.map((row) => row.stimulus), ...this.broken]);
    while (this.at < this.steps.length && this.steps[this.at].sounds.every((id) => done.has(id))) this.at++;
    if (this.at === this.steps.length) this.finish(); else this.show(this.steps[this.at]);
    this.tell();
  }

  show(step) {
    const { task, descriptions } = this.data, trial = this.trials.get(step.trial), rating = task === "rating";
    this.begun = performance.now();
    this.answers = new Map(step.sounds.map((id) => [id, { responses: new Map(this.asked().map((name) => [name, null])), plays: 0, heard: false }]));
    const head = make("h3", "wb-question", trial.question);
    head.tabIndex = -1;
    const place = make("div", "wb-place", `${this.at + 1} of ${this.steps.length}`), meter = make("div", "wb-meter", make("i"));
    meter.firstChild.style.width = `${(100 * this.at) / this.steps.length}%`;
    const cards = make("div", "wb-cards");
    step.sounds.forEach((id, k) => {
      const name = rating ? `Sound ${String.fromCharCode(65 + k)}` : "The sound", answer = this.answers.get(id);
      const card = this.player(name, trial.sounds.find((sound) => sound.id === id), answer);
      if (rating) card.append(this.scale(name, answer, ""));
      cards.append(card);
    });
    this.go = button("Next", () => this.save(step));
    this.go.classList.add("wb-go");
    this.missing = make("span", "wb-missing");
    const parts = [place, meter, head];
    if (rating && trial.reference) parts.push(make("div", "wb-cards wb-reference", this.player("The clip", trial.reference)));
    parts.push(cards);
    const only = this.answers.get(step.sounds[0]);
    if (task === "identification") parts.push(this.choice(only));
    if (task === "description") {
      const row = (name) => make("div", "wb-card", make("div", "wb-name", descriptions[name]), this.scale(descriptions[name], only, name));
      parts.push(make("div", "wb-descriptions", ...[...only.responses.keys()].map(row)));
    }
    parts.push(make("div", "wb-detail", trial.note), make("div", "wb-next", this.go, this.missing));
    this.screen.replaceChildren(...parts);
    this.look();
    head.focus({ preventScroll: this.at === 0 });
  }

  player(name, sound, answer) {
    const audio = player(sound.uri, name), card = make("div", "wb-card", make("div", "wb-name", name), audio, make("div", "wb-length", sound.caption));
    if (answer) {
      // What was heard counts, not what was asked for: "play" comes before the sound, a seek without any.
      let asked = false;
      audio.addEventListener("play", () => { asked = true; });
      const heard = () => {
        if (asked && (!audio.paused || audio.ended)) { answer.plays++; asked = false; }
        const { played, duration } = audio, parts = Array.from({ length: played.length }, (_, k) => played.end(k) - played.start(k));
        if (answer.heard || !(parts.reduce((a, b) => a + b, 0) >= Math.min(HEARD_SECONDS, 0.5 * duration))) return;
        answer.heard = true;
        this.look();
      };
      for (const event of ["timeupdate", "ended"]) audio.addEventListener(event, heard);
      audio.addEventListener("error", () => { answer.broken = true; this.look(); });
    }
    return card;
  }

  scale(name, answer, of) {
    const slider = make("input"), shown = make("output", "", "not rated");
    Object.assign(slider, { type: "range", min: 0, max: 100, step: 1, value: 50 });
    slider.setAttribute("aria-label", `rating of ${name}: 0 not at all, 100 perfectly`);
    slider.setAttribute("aria-valuetext", "not rated");
    const rate = () => {
      answer.responses.set(of, +slider.value);
      shown.textContent = slider.value;
      slider.setAttribute("aria-valuetext", slider.value);
      slider.classList.add("wb-rated");
      this.look();
    };
    slider.addEventListener("input", rate);
    slider.addEventListener("pointerup", rate); // the middle can be meant: there no input event comes
    slider.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      rate();
    });
    return make("div", "wb-scale", slider, make("div", "wb-ends", make("span", "", "0 not at all"), shown, make("span", "", "100 perfectly")));
  }

  choice(answer) {
    const list = make("fieldset", "wb-choices", make("legend", "", "It is")), name = `wb-choice-${Math.random()}`; // a page may show the test twice
    for (const label of this.data.choices) {
      const radio = make("input");
      Object.assign(radio, { type: "radio", name, value: label });
      radio.addEventListener("change", () => { answer.responses.set("", label); this.look(); });
      list.append(make("label", "", radio, make("span", "", label)));
    }
    return list;
  }

  // What is still to be done before the next screen.
  look() {
    const { task } = this.data, all = [...this.answers.values()], letters = (test) => all
      .map((answer, k) => (test(answer) ? String.fromCharCode(65 + k) : "")).filter(Boolean).join(", ");
    const unheard = letters((answer) => !answer.heard && !answer.broken), left = all.filter((answer) => !answer.broken).flatMap((answer) => [...answer.responses.values()]).filter((response) => response === null).length;
    const open = letters((answer) => [...answer.responses.values()].includes(null) && !answer.broken);
    const parts = {
      rating: [unheard && `hear ${unheard}`, open && `rate ${open}`],
      identification: [unheard && "hear the sound", open && "choose what it is"],
      description: [unheard && "hear the sound", left && `rate ${left} more`],
    }[task];
    const broken = all.some((answer) => answer.broken) ? "What cannot be played here is left out." : "";
    this.missing.textContent = parts.some(Boolean) ? `Still to do: ${parts.filter(Boolean).join("; ")}` : broken;
    this.go.disabled = parts.some(Boolean);
  }

  // ---- the answers

  save(step) {
    if (step !== this.steps[this.at]) return;
    const seconds = ((performance.now() - this.begun) / 1000).toFixed(1), time = new Date().toISOString();
    const played = step.sounds.filter((stimulus) => !this.answers.get(stimulus).broken);
    for (const stimulus of step.sounds) if (!played.includes(stimulus)) this.broken.add(stimulus);
    const { test, title, task, choices } = this.data, { listener } = this, place = this.at + 1;
    const rows = played.flatMap((stimulus) => {
      const { responses, plays } = this.answers.get(stimulus), shared = { time, test, title, listener, task, place, trial: step.trial, stimulus };
      return [...responses].map(([description, response]) => ({ ...shared, description, response, choices: choices.length, seconds, plays }));
    });
    for (const audio of this.screen.querySelectorAll("audio")) audio.pause();
    this.rows.push(...rows);
    this.unsaved.push(...rows);
    this.remember();
    this.send();
    this.next();
  }

  async send() {
    if (!this.link || !this.unsaved.length || this.sending) return;
    const rows = [...this.unsaved];
    this.sending = true;
    try {
      await this.link.ask({ kind: "responses", rows }, KERNEL_SECONDS);
      this.unsaved = this.unsaved.filter((row) => !rows.includes(row));
      this.trouble = "";
      this.remember();
    } catch (error) { this.trouble = error.message; } // the next screen tries again
    this.sending = false;
    this.tell();
    if (!this.trouble) this.send(); // what was answered meanwhile
  }

  get place() { return `workbench-listening-${this.data.key}-${this.listener}`; }
  remember() {
    try { localStorage.setItem(this.place, JSON.stringify({ rows: this.rows, unsaved: this.unsaved })); } catch { /* a browser may keep nothing */ }
  }
  remembered() {
    const nothing = { rows: [], unsaved: [] };
    try { return JSON.parse(localStorage.getItem(this.place)) || nothing; } catch { return nothing; }
  }

  finish() {
    const head = make("h3", "wb-question", "Done. Thank you."), { size } = this.broken;
    head.tabIndex = -1;
    this.screen.replaceChildren(head);
    if (size) this.screen.append(make("p", "wb-trouble", `${size} sound${size > 1 ? "s" : ""} could not be played by this browser and ${size > 1 ? "have" : "has"} no answer.`));
    if (this.unsaved.length) this.send();
    head.focus({ preventScroll: true });
  }

  tell() {
    const answers = (n) => `${n} answer${n === 1 ? "" : "s"}`, many = this.rows.length, left = this.unsaved.length;
    this.file.hidden = !many;
    this.status.classList.toggle("wb-trouble", Boolean(this.trouble));
    if (this.trouble) this.status.textContent = `${left ? `${left} of ${answers(many)} not saved: ` : ""}${this.trouble}. Download them when you are done.`;
    else if (!this.link) this.status.textContent = many ? `${answers(many)} in this browser; download them when you are done.` : "Answers stay in this browser until you download them.";
    else if (left) this.status.textContent = `Saving ${answers(left)} …`;
    else this.status.textContent = many ? `${answers(many)} saved to ${this.data.file}.` : `Answers go to ${this.data.file}.`;
  }

  download() {
    const { columns, file } = this.data, lines = [columns, ...this.rows.map((row) => columns.map((name) => row[name]))];
    const link = make("a"), text = `${lines.map((line) => line.map(csvCell).join(",")).join("\n")}\n`;
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = file.replace(/(\.csv)?$/, `-${this.listener.replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // ---- the kernel

  get noun() { return "test"; }
  connect(link) {
    this.link = link;
    this.root.dataset.live = "true";
    this.tell();
  }
  disconnect() {
    this.link = null;
    delete this.root.dataset.live;
    this.tell();
  }
}

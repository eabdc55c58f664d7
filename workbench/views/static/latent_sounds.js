// A page of turned latents. Latent, clip and what is turned are chosen from lists, the amount by a slider; the sound, its
// picture and words take the place of the last. What the page does not carry the kernel computes (link.js).

const TURN_SECONDS = 60;

class LatentSounds {
  noun = "page of latents";
  constructor(root, data) {
    Object.assign(this, { root, data, link: null, ticket: 0, now: "" });
    this.slider = root.querySelector(".wb-dial input");
    this.lists = [...root.querySelectorAll(".wb-asked select")];
    [this.chosen, this.unchanged, this.original] = [".wb-choice", ".wb-unchanged", ".wb-original"].map((part) => root.querySelector(part));
    this.state = root.querySelector(".wb-state");
    this.note = root.querySelector(".wb-note");
    root.querySelector(".wb-others").remove();
    for (const list of this.lists) { // browsers restore forms when a page is opened again
      list.value = "0";
      list.addEventListener("change", () => this.show());
    }
    this.slider.value = data.start;
    this.slider.addEventListener("input", () => this.show());
    const heard = new Set(Object.keys(data.parts).map((key) => key.split(",")[1]));
    this.silent = [...this.lists[1].options].filter((option) => !heard.has(option.value));
    this.name(" (unturned alone)");
    for (const part of [".wb-asked", ".wb-dials"]) root.querySelector(part).hidden = false;
    this.show();
  }

  // Clips of which no turned sound is on the page say so in the list, until a kernel makes them.
  name(without = "") { for (const option of this.silent) option.textContent = this.data.clips[+option.value] + without; }

  async show() {
    const { data, slider } = this, [latent, clip, kind] = this.lists.map((list) => +list.value), stop = +slider.value;
    const key = [latent, clip, kind, stop].join(","), ticket = ++this.ticket;
    [...slider.nextElementSibling.children].forEach((node, k) => node.classList.toggle("wb-on", k === stop));
    slider.closest(".wb-dial").querySelector("output").textContent = data.amounts[stop];
    slider.setAttribute("aria-valuetext", data.amounts[stop]);
    this.lists.forEach((list) => { list.title = list.selectedOptions[0].textContent; });
    [this.unchanged, this.original].forEach((card, k) => this.fill(card, `${k},${clip}`, { ...data.beside[k][clip], detail: data.clips[clip] }));
    const name = `${data.kinds[kind]} = ${data.amounts[stop]}`;
    if (!data.parts[key] && this.link) {
      this.empty(name, "The kernel computes this sound …");
      try {
        data.parts[key] = (await this.link.ask({ kind: "turned", at: [latent, clip, kind, stop] }, TURN_SECONDS)).part;
      } catch (error) {
        if (ticket === this.ticket) this.empty(name, error.message);
        return;
      }
      if (ticket !== this.ticket) return;
    }
    if (!data.parts[key]) return this.empty(name, "This sound is not on the page: run the notebook to hear it.");
    this.chosen.classList.remove("wb-empty");
    this.state.textContent = "";
    this.fill(this.chosen, key, data.parts[key], name);
  }

  fill(card, key, part, name) {
    if (card.dataset.key === key) return; // what sounds goes on
    card.dataset.key = key;
    const audio = card.querySelector("audio"), image = card.querySelector("img");
    if (name) {
      card.querySelector(".wb-name").textContent = name;
      audio.setAttribute("aria-label", name);
      image.alt = `spectrogram: ${name}`;
    }
    card.querySelector(".wb-detail").textContent = part.detail;
    card.querySelector(".wb-length").textContent = part.length;
    image.src = part.picture;
    if (audio.ended) audio.currentTime = 0;
    exchange(audio, part.sound);
  }

  empty(name, why) {
    this.chosen.querySelector("audio").pause();
    this.chosen.classList.add("wb-empty");
    this.chosen.querySelector(".wb-name").textContent = name;
    this.chosen.dataset.key = "";
    this.state.textContent = why;
  }

  connect(link) {
    this.link = link;
    this.note.textContent = this.data.live;
    this.name();
    if (this.chosen.classList.contains("wb-empty")) this.show();
  }
  disconnect() {
    this.link = null;
    this.note.textContent = this.data.note;
    this.name(" (unturned alone)");
    if (this.chosen.classList.contains("wb-empty")) this.show();
  }
  showSelection() {} // nothing is selected here
}

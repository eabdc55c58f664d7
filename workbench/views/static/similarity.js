// Why this class? The prototypes that a clip resembles, and what each adds to the logit of any class.
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

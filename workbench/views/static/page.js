// What the views share: packed data, elements, numbers as text, the tone of the page around, and how a view meets its kernel.

const MISSING_CODE = 65535;

function bytes(text) { return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)); }
async function unpack(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
function uint16(text) { return new Uint16Array(bytes(text).buffer); }
function uint32(text) { return new Uint32Array(bytes(text).buffer); }
function float32(text) { return new Float32Array(bytes(text).buffer); }
function make(tag, className, ...content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...content); // strings become text, never markup: labels are other people's text
  return node;
}
function button(text, act, hint = "", className = "wb-button") {
  const node = make("button", className, text);
  Object.assign(node, { type: "button", title: hint });
  node.addEventListener("click", act);
  return node;
}
// An audio element with its controls, named for a screen reader.
function player(source, name = "", preload = "metadata") {
  const audio = make("audio");
  Object.assign(audio, { controls: true, preload, src: source });
  if (name) audio.setAttribute("aria-label", name);
  return audio;
}
function count(n) { return n.toLocaleString("en"); }
function show(value, digits = 4) {
  return Number.isNaN(value) ? "–" : Number.isInteger(value) ? String(value) : String(+value.toPrecision(digits));
}
function minus(value, digits) { return value.toFixed(digits).replace("-", "−"); }
function signed(value, digits = 2) { return Number.isNaN(value) ? "–" : `${value < 0 ? "" : "+"}${minus(value, digits)}`; }

// Calls act(dark) now and whenever the page around root changes its tone.
function watchTheme(root, act) {
  let before;
  const look = () => {
    let node = root.parentElement, tone = null;
    for (; node && !tone; node = node.parentElement) {
      const c = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) || []).map(Number);
      if (c.length === 3 || c[3] > 0.5) tone = c;
    }
    const dark = tone ? 0.2126 * tone[0] + 0.7152 * tone[1] + 0.0722 * tone[2] < 110 : false;
    if (dark === before) return;
    before = dark;
    root.classList.toggle("wb-dark", dark);
    act(dark);
  };
  const watch = new MutationObserver(() => requestAnimationFrame(look));
  for (const node of [document.documentElement, document.body]) {
    watch.observe(node, { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-theme", "style"] });
  }
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look);
  look();
}

// Find the page's element and its data, bring both to life, and tell the kernel's link (link.js), whichever of the two
// came first. A still picture gives its place to the view.
function showPage(script, View) {
  const root = script.parentElement, maps = (window.workbenchMaps ??= { views: {}, links: {} });
  const packed = root.querySelector(":scope > .wb-data");
  (packed ? unpack(packed.textContent) : Promise.resolve({})).then((data) => {
    if (root.querySelector(":scope > .wb-still")) root.replaceChildren(root.querySelector("style"));
    const view = new View(root, data), link = (maps.links[data.key] || []).at(-1);
    (maps.views[data.key] ??= []).push(view);
    root.wbView = view;
    watchTheme(root, (dark) => view.setTheme?.(dark));
    if (link) view.connect(link);
  });
}

// How a page comes to life: its packed data, the tone of the page around, and how a view meets its kernel.

function bytes(text) { return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)); }
async function unpack(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

// A colour of a style sheet in numbers: red, green, blue from 0 to 255, and how much it covers, from 0 to 1.
function channels(colour) {
  const found = (colour.match(/[\d.]+/g) || []).map(Number);
  if (/^rgba?\(/.test(colour)) return [...found.slice(0, 3), found[3] ?? 1];
  const c = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  c.fillStyle = colour; // oklch, lab and whatever else a browser can draw
  c.fillRect(0, 0, 1, 1);
  return [...c.getImageData(0, 0, 1, 1).data].map((value, k) => (k < 3 ? value : value / 255));
}

// Calls act(dark) now and whenever the page around root changes its tone.
function watchTheme(root, act) {
  let before;
  const look = () => {
    let node = root.parentElement, tone = null;
    for (; node && !tone; node = node.parentElement ?? node.getRootNode().host) { // marimo shows widgets in a shadow
      const c = channels(getComputedStyle(node).backgroundColor);
      if (c[3] > 0.5) tone = c;
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
  for (const query of ["(prefers-color-scheme: dark)", "print"]) window.matchMedia(query).addEventListener("change", look);
  if (!root.isConnected) new ResizeObserver(look).observe(root); // a widget is drawn before it has a place
  look();
}

// Find the page's element and its data, bring both to life, and tell the kernel's link (link.js), whichever of the two
// came first. A still picture gives its place to the view.
function showPage(script, View) {
  const root = script.parentElement, packed = root.querySelector(":scope > .wb-data");
  openPage(root, packed ? packed.textContent : "", View);
}
function openPage(root, packed, View) {
  const maps = (window.workbenchMaps ??= { views: {}, links: {} });
  (packed ? unpack(packed) : Promise.resolve({})).then((data) => {
    if (root.wbClosed) return;
    if (root.querySelector(":scope > .wb-still")) root.replaceChildren(root.querySelector("style"));
    const view = new View(root, data), link = (maps.links[data.key] || []).at(-1);
    (maps.views[data.key] ??= []).push(view);
    root.wbView = view;
    watchTheme(root, (dark) => view.setTheme?.(dark));
    if (link) view.connect?.(link);
  });
}
// A page that is taken away falls silent, and its kernel forgets it.
function closePage(root) {
  root.wbClosed = true;
  for (const audio of root.querySelectorAll("audio")) audio.pause();
  for (const views of Object.values(window.workbenchMaps?.views ?? {})) {
    if (views.includes(root.wbView)) views.splice(views.indexOf(root.wbView), 1);
  }
}

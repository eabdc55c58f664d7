// What views are built of: typed arrays, elements, players, numbers as text.

const MISSING_CODE = 65535;

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

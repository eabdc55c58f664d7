// What all outputs of a page share. One sound at a time: when an audio element starts, every other one is paused;
// the last one also when its output has meanwhile been removed from the page.
// A sound may be asked for before it can start (a kernel answers, a source is exchanged). Each wish takes a turn, so does
// each start by hand; a sound that comes when another has been wished for since stays silent.
// JupyterLab takes keys for its commands unless the element in focus is marked: a mark on a view's root is passed on.
const oneSound = (window.workbenchOneSound ??= { last: null });
oneSound.turn ??= 0;
function takeTurn() { return ++oneSound.turn; }
// Hear what starts below a node: the document once a page, and a widget's root, which may lie where it does not hear.
function hearSounds(node) {
  node.addEventListener("play", (event) => {
    const { target } = event;
    if (event.wbHeard) return;
    event.wbHeard = true;
    for (const other of [oneSound.last, ...document.querySelectorAll("audio")]) {
      if (other && other !== target && !other.paused) other.pause();
    }
    oneSound.last = target;
    if (target.wbTurn !== oneSound.turn) takeTurn();
    target.wbTurn = null;
  }, true);
  node.addEventListener("focusin", ({ target }) => {
    const mark = "data-lm-suppress-shortcuts";
    if (target.closest(`[${mark}]`)) target.setAttribute(mark, "true");
  });
}
if (!oneSound.listening) {
  oneSound.listening = true;
  hearSounds(document);
}

// What all outputs of a page share. One sound at a time: when an audio element starts, every other one is paused;
// the last one also when its output has meanwhile been removed from the page.
// JupyterLab takes keys for its commands unless the element in focus is marked: a mark on a view's root is passed on.
if (!window.workbenchOneSound) {
  window.workbenchOneSound = { last: null };
  document.addEventListener("play", (event) => {
    const { last } = window.workbenchOneSound;
    for (const other of [last, ...document.querySelectorAll("audio")]) {
      if (other && other !== event.target && !other.paused) other.pause();
    }
    window.workbenchOneSound.last = event.target;
  }, true);  document.addEventListener("focusin", ({ target }) => {
    const mark = "data-lm-suppress-shortcuts";
    if (target.closest(`[${mark}]`)) target.setAttribute(mark, "true");
  });
}

// One sound at a time, over all outputs of the page: when an audio element starts, every other one is paused;
// the last one also when its output has meanwhile been removed from the page.
if (!window.workbenchOneSound) {
  window.workbenchOneSound = { last: null };
  document.addEventListener("play", (event) => {
    const { last } = window.workbenchOneSound;
    for (const other of [last, ...document.querySelectorAll("audio")]) {
      if (other && other !== event.target && !other.paused) other.pause();
    }
    window.workbenchOneSound.last = event.target;
  }, true);
}

// Comfort for tables of players, set up once a page: the card of what sounds is marked, the play head follows the sound,
// a click on the picture seeks, and a sound that the browser cannot play says so.
function hearPlayers(node) {
  const place = (audio) => {
    const head = audio.parentElement && audio.parentElement.querySelector(".wb-picture i");
    if (!head) return;
    head.style.left = `${audio.duration ? (100 * audio.currentTime) / audio.duration : 0}%`;
    head.style.opacity = audio.currentTime > 0 && !audio.ended ? 1 : 0;
  };
  const follow = (audio) => {
    place(audio);
    if (!audio.paused && audio.isConnected) requestAnimationFrame(() => follow(audio));
  };
  const say = (audio, text) => {
    let note = audio.parentElement.querySelector(".wb-broken");
    if (!note && text) {
      note = document.createElement("div");
      note.className = "wb-broken";
      note.setAttribute("role", "alert");
      audio.after(note);
    }
    if (note) note.textContent = text;
  };
  // Not "play", which comes before anything is heard, also where nothing will be.
  for (const event of ["playing", "pause", "seeked", "ended", "emptied", "loadedmetadata", "error"]) {
    node.addEventListener(event, ({ target }) => {
      if (target.tagName !== "AUDIO" || !target.closest(".wb-card")) return;
      const card = target.parentElement;
      card.classList.toggle("wb-sounding", !target.paused && !target.ended && !target.error);
      if (event === "playing") follow(target);
      else if (event === "error") {
        target.wbWanted = null;
        say(target, "This browser cannot play this sound.");
      } else {
        if (event === "loadedmetadata") say(target, "");
        place(target);
      }
    }, true);
  }
  node.addEventListener("click", (e) => {
    if (e.wbHeard) return;
    e.wbHeard = true;
    const picture = e.target.closest && e.target.closest(".wb-players .wb-picture");
    const audio = picture && picture.parentElement.querySelector("audio");
    if (!audio) return; // not every picture has its sound on the page
    const box = picture.getBoundingClientRect(), share = (e.clientX - box.left) / box.width;
    const seek = () => { audio.currentTime = audio.duration * share; };
    if (audio.duration) seek(); else audio.addEventListener("loadedmetadata", seek, { once: true });
    audio.play().catch(() => {}); // another sound that starts at once may interrupt it, and a broken one says so itself
  });
}
if (!window.workbenchPlayers) {
  window.workbenchPlayers = true;
  hearPlayers(document);
}

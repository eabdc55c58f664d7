// Comfort for tables of players, set up once a page: the play head follows the sound, a click on the picture seeks.
if (!window.workbenchPlayers) {
  window.workbenchPlayers = true;
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
  for (const event of ["play", "pause", "seeked", "ended"]) {
    document.addEventListener(event, (e) => {
      if (!e.target.closest || !e.target.closest(".wb-card")) return;
      if (event === "play") {
        document.querySelectorAll(".wb-sounding").forEach((card) => card.classList.remove("wb-sounding"));
        e.target.parentElement.classList.add("wb-sounding");
        follow(e.target);
      } else place(e.target);
      if (event === "ended") e.target.parentElement.classList.remove("wb-sounding");
    }, true);
  }
  document.addEventListener("click", (e) => {
    const picture = e.target.closest && e.target.closest(".wb-players .wb-picture");
    if (!picture) return;
    const audio = picture.parentElement.querySelector("audio"), box = picture.getBoundingClientRect();
    if (audio.duration) audio.currentTime = (audio.duration * (e.clientX - box.left)) / box.width;
    audio.play().catch(() => {}); // another sound that starts at once may interrupt it
  });
}

// Another sound at the same moment, which goes on if the old one was going on. A new source begins at 0 and pauses, and
// the slider may move on before it is loaded: what was wanted is remembered until then (or until it breaks, players.js), and
// given up where another sound has been started meanwhile.
function exchange(audio, source) {
  audio.wbWanted ??= { at: audio.currentTime, playing: !audio.paused && !audio.ended, turn: oneSound.turn };
  audio.addEventListener("loadedmetadata", () => {
    if (!audio.wbWanted) return;
    const { at, playing, turn } = audio.wbWanted;
    audio.wbWanted = null;
    audio.currentTime = at;
    if (playing && turn === oneSound.turn && audio.isConnected) audio.play().catch(() => {}); // the next may interrupt it at once
  }, { once: true });
  audio.src = source;
}

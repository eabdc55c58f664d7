// Prototypes to hear: a table whose sounds change with the seed of the decoder's noise, linked with a map on which the
// prototypes are stars (prototype_map.js).
function hearPrototypes(root, { seeds }) {
  const cells = [...root.querySelectorAll(".wb-cell")].sort((a, b) => a.dataset.prototype - b.dataset.prototype);
  const made = cells.map((cell) => cell.querySelector(".wb-made")), [audios, pictures, captions] = ["audio", "img", ".wb-length"]
    .map((part) => made.map((card) => card.querySelector(part)));
  seeds.unshift(made.map((_, k) => [audios[k].src, pictures[k].src, captions[k].textContent]));
  const map = () => root.querySelector(".wb-map")?.wbView;

  const choice = root.querySelector(".wb-seeds"), name = `wb-seed-${Math.random()}`;
  choice?.querySelectorAll("input").forEach((input, seed) => {
    Object.assign(input, { name, checked: seed === 0 }); // browsers restore forms when a page is opened again
    input.addEventListener("change", () => seeds[seed].forEach(([sound, picture, caption], k) => {
      exchange(audios[k], sound);
      pictures[k].src = picture;
      captions[k].textContent = caption;
    }));
  });
  if (choice) choice.hidden = false;

  const point = (k) => {
    for (const cell of cells) cell.classList.toggle("wb-here", cell === cells[k]);
    cells[k].scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  root.addEventListener("wb-prototype", ({ detail }) => {
    point(detail.prototype);
    if (!detail.play) return;
    const audio = audios[detail.prototype];
    if (audio.error) map().showStar(detail.prototype, audio);
    else if (audio.paused) audio.play().catch(() => {}); // another sound that starts at once may interrupt it
    else audio.pause();
  });
  audios.forEach((audio, k) => {
    const follow = () => {
      map()?.showStar(k, audio);
      if (!audio.paused && !audio.error && audio.isConnected) requestAnimationFrame(follow);
    };
    for (const event of ["playing", "pause", "seeked", "ended", "error"]) audio.addEventListener(event, follow);
  });
}

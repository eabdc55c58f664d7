// Sliders that choose among sounds. The page holds a card for each combination, for where no script runs; here they are
// taken away, and the chosen one's sound, picture and words take the place of the last in the one card that stays.
function turnSettings(root) {
  const sliders = [...root.querySelectorAll(".wb-dial input")], shown = root.querySelector(".wb-choice"), others = root.querySelector(".wb-others");
  const starts = sliders.map((slider) => +slider.dataset.start);
  const audio = shown.querySelector("audio"), image = shown.querySelector("img"), words = [".wb-name", ".wb-detail", ".wb-length"];
  const at = (places) => places.reduce((index, place, k) => index * (+sliders[k].max + 1) + place, 0); // the last one runs fastest
  const read = (card) => ({
    sound: card.querySelector("audio").src, picture: card.querySelector("img").src, alt: card.querySelector("img").alt,
    texts: words.map((part) => card.querySelector(part).textContent),
  });
  const choices = [...others.querySelectorAll(".wb-card")].map(read);
  choices.splice(at(starts), 0, read(shown));
  others.remove();
  shown.setAttribute("aria-live", "polite");

  let now = at(starts);
  const show = () => {
    sliders.forEach((slider) => {
      const stops = [...slider.nextElementSibling.children], value = stops[slider.value].textContent;
      stops.forEach((stop, k) => stop.classList.toggle("wb-on", k === +slider.value));
      slider.closest(".wb-dial").querySelector("output").textContent = value;
      slider.setAttribute("aria-valuetext", value);
    });
    const index = at(sliders.map((slider) => +slider.value));
    if (index === now) return; // what sounds goes on
    now = index;
    const { sound, picture, alt, texts } = choices[index];
    words.forEach((part, k) => { shown.querySelector(part).textContent = texts[k]; });
    Object.assign(image, { src: picture, alt });
    audio.setAttribute("aria-label", texts[0]);
    if (audio.ended) audio.currentTime = 0; // the next one may be longer: it is heard from its beginning
    exchange(audio, sound);
  };
  sliders.forEach((slider, k) => {
    slider.value = starts[k]; // browsers restore forms when a page is opened again
    slider.addEventListener("input", show);
  });
  root.querySelector(".wb-dials").hidden = false;
  show();
}

// The slider of an interpretation. As tau falls the kept components only get more, and the sound depends on which they
// are alone: data.part leads from each position to one of data.parts, whose sounds and mask take the place of the last.
function slideTau(root, data) {
  const label = root.querySelector(".wb-tau"), slider = label.querySelector("input"), shown = label.querySelector("output");
  const bars = [...root.querySelectorAll(".wb-bars rect")], line = root.querySelector(".wb-threshold"), chosen = root.querySelector(".wb-chosen");
  const kept = root.querySelector(".wb-kept"), rest = root.querySelector(".wb-rest"), [first] = data.parts;
  [first.sound, first.rest] = [kept, rest].map((card) => card.querySelector("audio").src);
  let now = first;
  const show = () => {
    const tau = data.taus[slider.value], part = data.parts[data.part[slider.value]], many = part.kept.length;
    shown.textContent = `τ = ${tau.toFixed(2)}`;
    slider.setAttribute("aria-valuetext", `${tau.toFixed(2)}: ${many} of ${bars.length} components`);
    bars.forEach((bar, k) => bar.classList.toggle("wb-on", k < many)); // they stand in order of relevance
    for (const end of ["y1", "y2"]) line.setAttribute(end, (100 * (data.high - tau)) / data.span);
    kept.querySelector(".wb-detail").textContent = `${many} of ${bars.length} components, τ = ${tau.toFixed(2)}`;
    chosen.textContent = !many ? "No component is above the threshold: the interpretation is silent."
      : `Kept: ${part.kept.slice(0, 20).join(", ")}${many > 20 ? ` and ${many - 20} more` : ""}.`;
    if (part === now) return; // the same components: what sounds goes on
    now = part;
    for (const [card, sound, level] of [[kept, part.sound, part.level], [rest, part.rest, part.restLevel]]) {
      card.querySelector(".wb-veil").src = part.mask;
      card.querySelector(".wb-value").textContent = level;
      exchange(card.querySelector("audio"), sound);
    }
  };
  slider.addEventListener("input", show);
  slider.value = data.start; // browsers restore forms when a page is opened again
  label.hidden = false;
  show();
}

// Knobs of a page of decisions. The head is linear: a turned knob puts what its level adds to each class (effects) in the
// place of what the factor's block adds (parts), and the softmax of the sums gives the class probabilities.
function turnKnobs(root, numbers) {
  const percent = (p) => `${(100 * p).toFixed(1)} %`;
  const softmax = (logits) => {
    const top = Math.max(...logits), weights = logits.map((logit) => Math.exp(logit - top));
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => weight / sum);
  };
  root.querySelectorAll(".wb-decision").forEach((card, clip) => {
    const selects = [...card.querySelectorAll(".wb-knobs select")], reset = card.querySelector(".wb-knobs button");
    const rows = [...card.querySelectorAll(".wb-chance")], outcome = card.querySelector(".wb-outcome");
    const names = rows.map((row) => row.querySelector("span").textContent);
    // What every block adds; the last part is the rest of the embedding, which has no knob.
    const probabilities = (levels) => softmax(numbers.bias.map((bias, c) => numbers.parts[clip].reduce(
      (sum, part, block) => sum + (levels[block] ? numbers.effects[block][+levels[block]][c] : part[c]), bias)));
    const heard = probabilities(selects.map(() => "")), first = heard.indexOf(Math.max(...heard));
    const turn = () => {
      const now = probabilities(selects.map((select) => select.value)), decided = now.indexOf(Math.max(...now));
      rows.forEach((row, c) => {
        row.querySelector("i").style.width = `${100 * now[c]}%`;
        row.querySelector("b").textContent = percent(now[c]);
        row.classList.toggle("wb-decided", c === decided);
      });
      const turned = selects.some((select) => select.value);
      selects.forEach((select) => select.classList.toggle("wb-turned", Boolean(select.value)));
      reset.disabled = !turned;
      const was = `${names[first]} ${percent(heard[first])} as heard`;
      if (!turned) outcome.textContent = "";
      else if (decided === first) outcome.textContent = `It stays ${names[first]}: ${percent(now[first])}, ${percent(heard[first])} as heard.`;
      else outcome.textContent = `It would be ${names[decided]}, ${percent(now[decided])}; ${was}, now ${percent(now[first])}.`;
    };
    selects.forEach((select) => select.addEventListener("change", turn));
    reset.addEventListener("click", () => {
      const next = selects.find((select) => select.value);
      selects.forEach((select) => { select.value = ""; });
      next.focus(); // the button is about to be disabled, and would take the focus with it
      turn();
    });
    selects.forEach((select) => { select.value = ""; }); // browsers restore forms when a page is opened again
    card.querySelector(".wb-knobs").hidden = false;
  });
}

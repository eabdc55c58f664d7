// A page as a widget with a view: drawn by the same scripts in an element of its own, which may lie in a shadow that the
// document does not hear.

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = model.get("element");
  root.dataset.lmSuppressShortcuts = "true";
  root.innerHTML = model.get("inside");
  el.append(root);
  hearSounds(root);
  if (typeof hearPlayers === "function") hearPlayers(root);
  if (View) openPage(root, model.get("packed"), View);
  return () => closePage(root);
}

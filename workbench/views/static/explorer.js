// The page of explore: the map of its first setting. While a kernel answers, the controls and the map that they turn, made
// of the kernel's widgets, stand in its place.

// The kernel may be busy with all cells that follow.
const OPEN_SECONDS = 86400;

// An output that a later one has replaced is never seen again.
function seen(node) {
  return new Promise((done) => {
    const watch = new ResizeObserver(() => {
      if (!node.isConnected) return;
      watch.disconnect();
      done();
    });
    watch.observe(node);
  });
}

class ExplorerMap extends SoundMap {
  async connect(link) {
    this.restore();
    super.connect(link);
    if (!link.view) return; // no controls here: the map alone is live
    await seen(this.root);
    if (this.link !== link) return;
    try {
      const { model } = await link.ask({ kind: "open" }, OPEN_SECONDS), view = await link.view(model);
      if (this.link === link) this.replace(view); else view.remove();
    } catch (error) {
      if (this.link === link) this.say("The controls did not come:", error.message, true);
    }
  }
  disconnect() {
    this.restore();
    super.disconnect();
  }

  replace(view) {
    this.stop();
    this.controls = { view, place: make("div", "wb-explorer") };
    const { place } = this.controls, widget = view.luminoWidget, { link } = this;
    view.listenTo(view.model, "comm_live_update", () => { if (!view.model.comm_live) link.leave(); }); // the kernel has ended
    this.root.before(place);
    this.root.hidden = true;
    // A cell that is out of sight may be out of the document, where Lumino attaches nothing.
    if (place.isConnected) widget.constructor.attach(widget, place); else place.append(widget.node);
  }
  restore() {
    if (!this.controls) return;
    const { view, place } = this.controls;
    this.controls = null;
    if (place.isConnected) view.remove();
    place.remove();
    this.root.hidden = false;
  }
}

// The live end of a page: a widget model, without a view where the page is HTML. It lends the views on the page that show
// the same data (same key) the kernel's ear and memory: answers to what they ask, and the selection.

function initialize({ model }) {
  const maps = (window.workbenchMaps ??= { views: {}, links: {} }), key = model.get("key"), waiting = new Map(), sounds = new Map();
  const views = () => maps.views[key] || [], links = () => (maps.links[key] ??= []);
  let last = 0;

  const link = {
    selected: () => model.get("selected"),
    select: (indices) => {
      // All kernels' objects that show this data get to know.
      for (const other of links()) other.set(indices);
      for (const view of views()) if (view.link) view.showSelection(indices);
    },
    set: (indices) => {
      model.set("selected", indices);
      try { model.save_changes(); } catch { leave(); } // the kernel has ended
    },
    // What the kernel answers, with the bytes it sends as data.
    ask: (content, seconds) => new Promise((done, fail) => {
      const ticket = ++last, timer = setTimeout(() => {
        waiting.delete(ticket);
        fail(new Error(`the kernel did not answer within ${seconds} s: it is busy with another cell, or no longer runs`));
      }, seconds * 1000);
      waiting.set(ticket, { done, fail, timer });
      try { model.send({ ...content, ticket }); } catch { leave(); }
    }),
    // Who wants a sound that is on its way waits for that one.
    sound: (index, seconds) => {
      if (!sounds.has(index)) sounds.set(index, link.ask({ kind: "sound", index }, seconds).finally(() => sounds.delete(index)));
      return sounds.get(index);
    },
    // The view of another widget of the kernel, where the page around makes views (Jupyter does, marimo does not).
    view: model.widget_manager?.create_view
      && (async (id) => model.widget_manager.create_view(await model.widget_manager.get_model(id))),
    leave: () => leave(),
  };

  const leave = () => {
    for (const { fail, timer } of waiting.values()) {
      clearTimeout(timer);
      fail(new Error(`the kernel that made this ${views()[0]?.noun ?? "page"} has ended: run the cell again`));
    }
    waiting.clear();
    maps.links[key] = links().filter((other) => other !== link);
    const next = maps.links[key].at(-1);
    for (const view of views()) if (view.link === link) { if (next) view.connect(next); else view.disconnect(); }
  };
  model.on("msg:custom", (message, [data]) => {
    const call = waiting.get(message.ticket);
    if (!call) return;
    waiting.delete(message.ticket);
    clearTimeout(call.timer);
    if (message.error) call.fail(new Error(message.error)); else call.done({ ...message, data });
  });
  model.on("change:selected", () => { for (const view of views()) if (view.link === link) view.showSelection(link.selected()); });
  links().push(link);
  for (const view of views()) view.connect?.(link);

  return leave;
}

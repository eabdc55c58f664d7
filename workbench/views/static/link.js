// The live end of a sound map: a widget model without a view. It lends the maps on the page that show the same data
// (same key) the kernel's ear and memory: sounds by index, and the selection.

function initialize({ model }) {
  const maps = (window.workbenchMaps ??= { views: {}, links: {} }), key = model.get("key"), waiting = new Map();
  const views = () => maps.views[key] || [], links = () => (maps.links[key] ??= []);

  const link = {
    selected: () => model.get("selected"),
    select: (indices) => {
      // All kernels' objects that show this map get to know.
      for (const other of links()) other.set(indices);
      for (const view of views()) if (view.link) view.showSelection(indices);
    },
    set: (indices) => {
      model.set("selected", indices);
      try { model.save_changes(); } catch { leave(); } // the kernel has ended
    },
    sound: (index, seconds) => new Promise((done, fail) => {
      const calls = waiting.get(index) || [], call = { done, fail };
      call.timer = setTimeout(() => {
        calls.splice(calls.indexOf(call), 1); // others who wait for this sound asked later
        if (!calls.length) waiting.delete(index);
        fail(new Error(`the kernel did not answer within ${seconds} s: it is busy with another cell, or no longer runs`));
      }, seconds * 1000);
      waiting.set(index, calls);
      calls.push(call);
      try {
        if (calls.length === 1) model.send({ kind: "sound", index });
      } catch { leave(); }
    }),
  };

  const answer = (message, buffers) => {
    const calls = waiting.get(message.index) || [];
    waiting.delete(message.index);
    for (const { done, fail, timer } of calls) {
      clearTimeout(timer);
      if (message.kind === "sound") done({ data: buffers[0], caption: message.caption, media: message.media });
      else fail(new Error(message.text));
    }
  };
  const selected = () => { for (const view of views()) if (view.link === link) view.showSelection(model.get("selected")); };
  const leave = () => {
    for (const { fail, timer } of [...waiting.values()].flat()) {
      clearTimeout(timer);
      fail(new Error("the kernel that made this map has ended: run the cell again; points with a ring still play"));
    }
    waiting.clear();
    maps.links[key] = links().filter((other) => other !== link);
    const next = maps.links[key].at(-1);
    for (const view of views()) if (view.link === link) { if (next) view.connect(next); else view.disconnect(); }
  };
  model.on("msg:custom", answer);
  model.on("change:selected", selected);
  links().push(link);
  for (const view of views()) view.connect(link);

  return leave;
}
export default { initialize };

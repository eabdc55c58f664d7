// The live end of a listening test: a widget model without a view, through which the page asks the kernel for the answers
// a listener gave before, and hands it new ones.

function initialize({ model }) {
  const maps = (window.workbenchMaps ??= { views: {}, links: {} }), key = model.get("key"), waiting = new Map();
  const links = () => (maps.links[key] ??= []);
  let last = 0;
  const link = {
    ask: (content, seconds) => new Promise((done, fail) => {
      const ticket = ++last, timer = setTimeout(() => {
        waiting.delete(ticket);
        fail(new Error(`the kernel did not answer within ${seconds} s: it is busy with another cell, or no longer runs`));
      }, seconds * 1000);
      waiting.set(ticket, { done, fail, timer });
      try {
        model.send({ ticket, ...content });
      } catch {
        clearTimeout(timer);
        waiting.delete(ticket);
        leave();
        fail(new Error("the kernel that made this test has ended"));
      }
    }),
  };
  const leave = () => {
    maps.links[key] = links().filter((other) => other !== link);
    for (const view of maps.views[key] || []) if (view.link === link) view.connect(maps.links[key].at(-1) ?? null);
  };
  model.on("msg:custom", (message) => {
    const call = waiting.get(message.ticket);
    if (!call) return;
    waiting.delete(message.ticket);
    clearTimeout(call.timer);
    if (message.error) call.fail(new Error(message.error)); else call.done(message.rows);
  });
  links().push(link);
  for (const view of maps.views[key] || []) view.connect(link);
  return leave;
}
export default { initialize };

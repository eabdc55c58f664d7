// Scenes of plotly that turn together. Its code comes with the data and is started once a page.
function turnSpace(root, { plotly, figures }) {
  if (!window.Plotly) document.head.append(Object.assign(document.createElement("script"), { textContent: plotly }));
  const { Plotly } = window, scenes = [...root.querySelectorAll(".wb-scene")], start = figures[0].layout.scene.camera.eye;
  let eye = start;
  const turn = (to, by) => {
    eye = to;
    for (const node of scenes) if (node !== by) Plotly.relayout(node, { "scene.camera.eye": to });
  };
  scenes.forEach((node, k) => {
    Plotly.newPlot(node, figures[k].data, figures[k].layout, { displayModeBar: false, responsive: true, scrollZoom: false });
    for (const event of ["plotly_relayouting", "plotly_relayout"]) {
      node.on(event, (change) => { if (change["scene.camera"]) turn(change["scene.camera"].eye, node); });
    }
    node.addEventListener("dblclick", () => turn(start));
    node.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const { x, y, z } = eye, far = Math.hypot(x, y, z), around = Math.atan2(y, x) + step[0];
      const up = Math.min(Math.max(Math.asin(z / far) + step[1], -1.5), 1.5), flat = far * Math.cos(up);
      turn({ x: flat * Math.cos(around), y: flat * Math.sin(around), z: far * Math.sin(up) });
    });
  });
  this.setTheme = (dark) => {
    const ink = dark ? "#e8eaed" : "#1b1b1b", faint = dark ? "#e8eaed55" : "#1b1b1b44";
    for (const node of scenes) {
      Plotly.restyle(node, { "textfont.color": ink });
      Plotly.restyle(node, { "line.color": faint }, [0, 1, 2]);
    }
  };
}

// Hovers, drags and clicks with the mouse; see test_layers_in_browser.py.
await rest();
const view = views[0], {glplot, dataScale} = view.plot._fullLayout.scene._scene;
const box = view.plot.querySelector("canvas").getBoundingClientRect();
const through = (m, v) => [0, 1, 2, 3].map((r) => [0, 1, 2, 3].reduce((sum, c) => sum + m[4 * c + r] * v[c], 0));
const pixel = (p) => {
  const {model, view: turn, projection} = glplot.cameraParams;
  const v = [0, 1, 2].map((a) => xyz[3 * p + a] * dataScale[a]);
  const [x, y, , w] = through(projection, through(turn, through(model, [...v, 1])));
  return {clientX: box.left + (x / w + 1) / 2 * box.width, clientY: box.top + (1 - y / w) / 2 * box.height};
};
const mouse = async (type, kind, at, buttons = 0) => {
  view.plot.querySelector("canvas").dispatchEvent(new type(kind, {bubbles: true, buttons, ...at}));
  await rest();
};
const highest = [...Array(hover.length).keys()].reduce((a, b) => xyz[3 * b + 2] > xyz[3 * a + 2] ? b : a);
const at = pixel(highest);
await mouse(MouseEvent, "mousemove", at);
result.label = [...view.plot.querySelectorAll(".hovertext text")].map((text) => text.textContent).join("");
result.under = view.under;
const press = async (to) => {
  await mouse(PointerEvent, "pointerdown", to, 1);
  await mouse(MouseEvent, "mousedown", to, 1);
  await mouse(MouseEvent, "mouseup", to);
  await mouse(MouseEvent, "click", to);
};
// A drag that ends above the point.
await mouse(PointerEvent, "pointerdown", {clientX: at.clientX + 30, clientY: at.clientY}, 1);
await mouse(MouseEvent, "click", at);
result.dragged = picked;
document.getElementById("reset").click();
await rest();
await mouse(MouseEvent, "mousemove", at);
await press(at);
Object.assign(result, {clicked: picked, highest, text: document.getElementById("picked").textContent});

// A click on a point shows its neighbours under the kernel of the menu, in all views.

const NEAREST = 16;
const KERNELS = [{label: NEAREST + " nearest points"}];
const grid = scene.grid && voxels();
if (grid) {
  const cubes = [1, 2, 4].flatMap((stride) => [1, 2, 3].map((dilation) => ({stride, dilation})));
  KERNELS.unshift(...cubes.map(({stride, dilation}) => ({
    stride, dilation, label: `3 \u00d7 3 \u00d7 3, stride ${stride}, dilation ${dilation}`,
  })));
}
const kernels = document.getElementById("kernel");
kernels.append(...KERNELS.map(({label}) => new Option(label)));
let picked = null, near = [];  // a point of the page, and the points that are marked with it

function voxels() {
  const type = scene.grid.wide ? Uint32Array : Uint16Array;
  return {indices: decode(scene.grid.indices, type), others: decode(scene.grid.others, type), levels: new Map()};
}

// The voxels of a stride that hold points: number of the voxel -> points of the page in it.
// pc3d/sparse/relation.py has the formula; a voxel's parent is floor(index / stride).
function level(stride) {
  if (!grid.levels.has(stride)) {
    const shape = scene.grid.shape.map((n) => Math.ceil(n / stride));
    const at = (x, y, z) => (x * shape[1] + y) * shape[2] + z;
    const number = (indices, p) => at(...[0, 1, 2].map((a) => Math.floor(indices[3 * p + a] / stride)));
    const members = new Map();
    for (let p = 0; p < hover.length; p++) {
      const key = number(grid.indices, p);
      if (!members.has(key)) members.set(key, []);
      members.get(key).push(p);
    }
    for (let v = 0; v < grid.others.length / 3; v++) {
      const key = number(grid.others, v);
      if (!members.has(key)) members.set(key, []);
    }
    grid.levels.set(stride, {shape, at, members});
  }
  return grid.levels.get(stride);
}

// The points within the voxels that the taps of a point's voxel reach, and how many taps have one.
function reached(p, {stride, dilation}) {
  const {shape, at, members} = level(stride), points = [];
  const home = [0, 1, 2].map((a) => Math.floor(grid.indices[3 * p + a] / stride));
  let taps = 0;
  for (const x of [-1, 0, 1]) for (const y of [-1, 0, 1]) for (const z of [-1, 0, 1]) {
    const to = [x, y, z].map((step, a) => home[a] + dilation * step);
    const inside = to.every((index, a) => index >= 0 && index < shape[a]);
    const found = inside && members.get(at(...to));
    if (found) { taps++; for (const q of found) points.push(q); }
  }
  return {points, taps};
}

// The nearest points of the page, the point itself among them; of equally far ones, those that come first.
function nearest(p) {
  const square = (q) => (xyz[3 * q] - xyz[3 * p]) ** 2 + (xyz[3 * q + 1] - xyz[3 * p + 1]) ** 2 + (xyz[3 * q + 2] - xyz[3 * p + 2]) ** 2;
  const best = [];
  for (let q = 0; q < hover.length; q++) {
    const far = square(q);
    if (best.length === NEAREST && far >= best[NEAREST - 1].far) continue;
    let at = best.length;
    while (at && best[at - 1].far > far) at--;
    best.splice(at, 0, {q, far});
    if (best.length > NEAREST) best.pop();
  }
  return best;
}

const length = (metres) => metres < 1 ? +(100 * metres).toPrecision(3) + " cm" : +metres.toPrecision(3) + " m";
const count = (number) => number.toLocaleString("en");

function say() {
  const text = document.getElementById("picked"), thinned = hover.length < scene.num_points;
  document.getElementById("clear").hidden = picked === null;
  if (picked === null) { text.textContent = "Click a point to see them."; return; }
  const kernel = KERNELS[kernels.selectedIndex];
  if (!kernel.stride) {
    text.textContent = `${place(picked)}: of the ${count(hover.length)} points in this page, the nearest ${near.length} ` +
      `lie within ${length(Math.sqrt(nearest(picked).at(-1).far))}.`;
    return;
  }
  const note = !thinned ? "" : scene.grid.complete ? " Taps are counted on all points of the scene, not only on those in this page."
    : " Voxels without a point in this page are not counted.";
  text.textContent = `${place(picked)}: ${reached(picked, kernel).taps} of 27 taps have a voxel of ` +
    `${length(scene.grid.size * kernel.stride)}; ${count(near.length)} of the ${count(hover.length)} points in this page lie in them.${note}`;
}

function pick(p) {
  picked = p;
  const kernel = KERNELS[kernels.selectedIndex];
  near = p === null ? [] : kernel.stride ? reached(p, kernel).points : nearest(p).map(({q}) => q);
  say();
  for (const view of opened()) mark(view);
}

// Two more traces behind those of the classes: the neighbours, and the point itself.
const marks = () => [[near, "#ff00a0"], [picked === null ? [] : [picked], "#000000"]].map(([rows, color]) =>
  trace(rows, rows.map((p) => hover[p]), color));

function mark(view) {
  const [some, one] = marks(), first = view.rows.length;
  const both = (key) => [some[key], one[key]];
  Plotly.restyle(view.plot, {x: both("x"), y: both("y"), z: both("z"), text: both("text")}, [first, first + 1]);
}

kernels.addEventListener("change", () => pick(picked));
document.getElementById("clear").addEventListener("click", () => pick(null));
say();

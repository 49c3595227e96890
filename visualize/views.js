// The views: which are open, how they stand beside each other, and what happens on a click.

const MOST_ROWS = 12;  // of a legend within a view

const views = layers.map((layer) => {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  const plot = document.createElement("div"), button = document.createElement("button");
  caption.textContent = button.textContent = layer.name;
  plot.className = "plot";
  figure.append(caption, plot);
  figure.hidden = true;
  document.getElementById("views").append(figure);
  document.getElementById("toggles").append(button);
  const view = {layer, figure, plot, button, rows: [], key: "", movedAt: 0, under: null};
  button.title = "open or close this view";
  button.addEventListener("click", () => toggle(view));
  if (layer.blocks) addLegend(view, caption, figure);
  if (layer.ramp) addRamp(layer, figure);
  return view;
});
document.getElementById("toggles").hidden = views.length < 2;
const opened = () => views.filter((view) => !view.figure.hidden);

// A legend of the view's own; of chosen codes, with a menu of the network's blocks.
function addLegend(view, caption, figure) {
  const {layer} = view, legend = document.createElement("ul");
  legend.className = "codes";
  const row = (label, share = "", color = null) => {
    const item = document.createElement("li"), part = document.createElement("b");
    if (color) { const swatch = document.createElement("i"); swatch.style.background = color; item.append(swatch); }
    part.textContent = share;
    item.append(label, part);
    return item;
  };
  const fill = () => {
    const entries = layer.blocks[layer.shown].legend;
    const some = entries.length > MOST_ROWS ? entries.slice(0, MOST_ROWS - 1) : entries;
    legend.replaceChildren(...some.map(({label, share, color}) => row(label, share, color)));
    if (some.length < entries.length) legend.append(row(`and ${entries.length - some.length} more`));
  };
  if (layer.menu) {
    const menu = document.createElement("select");
    menu.setAttribute("aria-label", "block");
    menu.append(...layer.blocks.map(({title}) => new Option(title)));
    menu.selectedIndex = layer.shown;
    menu.addEventListener("change", () => {
      layer.shown = menu.selectedIndex;
      fill();
      const now = view.rows.map((rows, c) => looks(layer, rows, c));
      Plotly.restyle(view.plot, {text: now.map(({text}) => text), "marker.color": now.map(({color}) => color)},
        now.map((_, c) => c));
    });
    caption.append(menu);
  }
  figure.append(legend);
  fill();
}

function addRamp({low, high, digits, unit, meaning, beyond}, figure) {
  const box = document.createElement("div"), bar = document.createElement("div"), ends = document.createElement("p");
  const text = (value, sign) => sign + value.toFixed(digits) + (unit && " " + unit);
  box.className = "ramp";
  bar.style.background = `linear-gradient(to right, ${scene.ramp.filter((_, k) => k % 15 === 0).join(", ")})`;
  ends.append(...[text(low, beyond[0] ? "\u2264 " : ""), meaning, text(high, beyond[1] ? "\u2265 " : "")].map((words) => {
    const span = document.createElement("span");
    span.textContent = words;
    return span;
  }));
  box.append(bar, ends);
  figure.append(box);
}

// Of the traces of a view; marked points stand out.
function markerSizes(view) {
  const size = pointSize(view.plot, view.start.distance);
  return [...view.rows.map(() => size), 1.6 * size, 1.6 * size];
}

const axis = (range) => ({range, autorange: false, visible: false, showspikes: false});

function draw(view) {
  view.rows = split(view.layer);
  const data = [...traces(view), ...marks()];
  const sizes = markerSizes(view);
  data.forEach((each, k) => { each.marker.size = sizes[k]; });
  const moved = opened().find((other) => other !== view && other.plot._fullLayout);
  Plotly.newPlot(view.plot, data, {
    margin: {l: 0, r: 0, t: 0, b: 0}, showlegend: false, uirevision: true,
    paper_bgcolor: "#f5f6f8",  // white walls must stand out
    hoverlabel: {bgcolor: "#fff", bordercolor: "#888", font: {size: 14, color: "#1a1a1a"}, align: "left"},
    scene: {
      xaxis: axis(scene.range[0]), yaxis: axis(scene.range[1]), zaxis: axis(scene.range[2]),
      aspectmode: "data", dragmode: "turntable", camera: touched ? structuredClone(cameraOf(moved)) : view.start.camera,
    },
  }, {displaylogo: false, scrollZoom: true, modeBarButtons: [["toImage"]]});
  listen(view);
}

// Which point is under the pointer is known from plotly; that it was clicked and not dragged, from
// where the pointer went down.
let touched = false;
function listen(view) {
  let down = null;
  // Before plotly's own handlers, so that the first move already has its leader.
  for (const kind of ["pointerdown", "touchstart", "wheel"]) {
    view.plot.addEventListener(kind, () => { leader = view; touched = true; }, {capture: true, passive: true});
  }
  view.plot.addEventListener("pointerdown", ({clientX, clientY}) => { down = {clientX, clientY}; }, {capture: true});
  view.plot.addEventListener("click", ({clientX, clientY, target}) => {
    if (target.tagName !== "CANVAS" || !down || Math.hypot(clientX - down.clientX, clientY - down.clientY) > 4) return;
    // A tap's point is found in the next frame.
    requestAnimationFrame(() => requestAnimationFrame(() => { if (view.under !== null) pick(view.under); }));
  }, {capture: true});
  const found = ({points: [{curveNumber, pointNumber}]}) => {
    const rows = [...view.rows, near, [picked]][curveNumber];
    view.under = rows[pointNumber];
  };
  view.plot.on("plotly_hover", found);
  view.plot.on("plotly_click", found);
  view.plot.on("plotly_unhover", () => { view.under = null; });
}

function toggle(view) {
  if (view.figure.hidden) {
    view.figure.hidden = false;
  } else if (opened().length > 1) {  // a page without views says nothing
    view.figure.hidden = true;
    if (leader === view) leader = null;
    const old = view.plot;
    old.replaceWith(view.plot = Object.assign(document.createElement("div"), {className: "plot"}));
    setTimeout(() => Plotly.purge(old), 500);  // after what plotly has still to do with it
  }
  arrange();
}

// Two in a row where there are four, three where there are five or six, and so on.
function arrange() {
  const number = opened().length;
  const columns = number <= 3 ? number : number === 4 ? 2 : number <= 6 || number === 9 ? 3 : 4;
  document.getElementById("views").style.setProperty("--columns", columns);
  for (const view of views) view.button.setAttribute("aria-pressed", !view.figure.hidden);
  fit();
}

// Draw what is open and not yet drawn, and what has another size than when it was drawn.
function fit() {
  for (const view of opened()) {
    const size = view.plot.clientWidth + " x " + view.plot.clientHeight, drawn = view.plot._fullLayout;
    if (drawn && view.size === size) continue;
    view.size = size;
    view.start = overview(view.plot.clientWidth / view.plot.clientHeight);
    if (!drawn) { draw(view); continue; }
    Plotly.relayout(view.plot, {autosize: true});  // Plots.resize waits, and the view may be closed by then
    resize(view);
    if (!touched) look(view, view.start.camera);
  }
}

function resize(view) {
  const sizes = markerSizes(view);
  Plotly.restyle(view.plot, {"marker.size": sizes}, sizes.map((_, k) => k));
}

for (const view of views) view.figure.hidden = !view.layer.open;
arrange();
requestAnimationFrame(lead);
new ResizeObserver(fit).observe(document.getElementById("views"));
document.getElementById("size").addEventListener("change", () => opened().forEach(resize));

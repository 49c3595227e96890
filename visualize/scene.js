// The points, what they look like in each view, what is said of them, and the legend of classes.

const decode = (text, type) =>
  new type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const xyz = decode(scene.xyz, Float32Array);
const layers = scene.layers.map((layer) => ({
  ...layer,
  classes: layer.classes && decode(layer.classes, Uint16Array),
  rgb: layer.rgb && decode(layer.rgb, Uint8Array),
  ramp: layer.ramp && decode(layer.ramp, Uint8Array),
  blocks: layer.blocks && layer.blocks.map((block) => ({...block, codes: decode(block.codes, Uint8Array)})),
  shown: layer.first,
}));
const labelled = layers.filter((layer) => layer.classes);
// The probability of what a layer predicts: "confidence" of "prediction", "confidence a" of "prediction a".
const confidences = new Map(labelled.filter(({name}) => name.startsWith("prediction")).map((layer) =>
  [layer, layers.find(({name}) => name === layer.name.replace("prediction", "confidence"))]));

document.title = document.getElementById("title").textContent = scene.title;
document.getElementById("subtitle").textContent = scene.subtitle;
const buttons = scene.classes.map(({name, color}, c) => {
  const button = document.createElement("button");
  const swatch = document.createElement("i");
  swatch.style.background = color;
  button.append(swatch, name);
  button.title = "click: hide or show; double click: only this class, or all";
  button.addEventListener("click", () => show(scene.classes.map((k, i) => k.visible !== (i === c))));
  button.addEventListener("dblclick", () => {
    const alone = scene.classes.every((k, i) => k.visible === (i === c));
    show(scene.classes.map((_, i) => alone || i === c));
  });
  document.getElementById("legend").append(button);
  return button;
});
press();

function press() {
  buttons.forEach((button, c) => button.setAttribute("aria-pressed", scene.classes[c].visible));
}

function show(visible) {
  const changed = visible.map((_, c) => c).filter((c) => visible[c] !== scene.classes[c].visible);
  visible.forEach((on, c) => { scene.classes[c].visible = on; });
  press();
  if (changed.length) for (const view of opened()) Plotly.restyle(view.plot, {visible: changed.map((c) => visible[c])}, changed);
}

// The value of a layer with a ramp. The ends of a ramp may stand for what lies beyond them, too.
function amount({ramp, low, high, digits, unit, beyond}, p) {
  const sign = ramp[p] === 0 && beyond[0] ? "\u2264 " : ramp[p] === 255 && beyond[1] ? "\u2265 " : "";
  return sign + (low + (high - low) * ramp[p] / 255).toFixed(digits) + (unit && " " + unit);
}

const place = (p) => ["x", "y", "z"].map((axis, a) =>
  axis + " " + (scene.origin[a] + xyz[3 * p + a]).toFixed(2)).join("  ") + " m";
const hover = Array.from({length: xyz.length / 3}, (_, p) => {
  const names = labelled.map((layer) =>
    layer.name + ": <b>" + scene.classes[layer.classes[p]].name + "</b>" +
    (confidences.get(layer) ? ", probability " + amount(confidences.get(layer), p) : ""));
  return [place(p), ...names].join("<br>");
});

// Of a view with a legend of its own: the entry that a point has, in the block that is shown.
const chosen = ({blocks, shown}, p) => blocks[shown].legend[blocks[shown].codes[p]];

// What the markers of a view look like and say; a menu of blocks changes no more than this.
function looks(layer, rows, c) {
  if (layer.blocks) return {
    color: rows.map((p) => chosen(layer, p).color),
    text: rows.map((p) => hover[p] + "<br>" + layer.blocks[layer.shown].title + ": <b>" + chosen(layer, p).label + "</b>"),
  };
  if (layer.ramp) return {
    color: rows.map((p) => scene.ramp[layer.ramp[p]]),
    text: rows.map((p) => hover[p] + "<br>" + layer.name + ": <b>" + amount(layer, p) + "</b>"),
  };
  const hex = (p) => "#" + [0, 1, 2].map((k) => HEX[layer.rgb[3 * p + k]]).join("");
  return {color: layer.rgb ? rows.map(hex) : scene.classes[c].color, text: rows.map((p) => hover[p])};
}
const HEX = Array.from({length: 256}, (_, i) => i.toString(16).padStart(2, "0"));

// Continuous views are split by the first labelled layer, so that a class (a ceiling, say) can be
// taken away in all views at once.
function split(layer) {
  const group = layer.classes || (labelled.length ? labelled[0].classes : null);
  const members = scene.classes.length ? scene.classes.map(() => []) : [[]];
  for (let p = 0; p < hover.length; p++) members[group ? group[p] : 0].push(p);
  return members;
}

// A trace for each class, in the order of the legend; `marks` come after them.
function traces({layer, rows}) {
  return rows.map((members, c) => {
    const {color, text} = looks(layer, members, c);
    return trace(members, text, color, !scene.classes.length || scene.classes[c].visible);
  });
}

function trace(rows, text, color, visible = true) {
  return {
    type: "scatter3d", mode: "markers",
    x: Float32Array.from(rows, (p) => xyz[3 * p]),
    y: Float32Array.from(rows, (p) => xyz[3 * p + 1]),
    z: Float32Array.from(rows, (p) => xyz[3 * p + 2]),
    text, visible, hovertemplate: "%{text}<extra></extra>",
    marker: {size: 1, symbol: "square", line: {width: 0}, color},
  };
}

// Opens and closes views, hovers, picks points; see test_layers_in_browser.py.
const names = () => opened().map((view) => view.layer.name);
const pressed = () => views.filter((view) => view.button.getAttribute("aria-pressed") === "true").length;
const by = (name) => views.find((view) => view.layer.name === name);
const heights = () => opened().map(({plot}) => [plot.clientHeight, plot.querySelector("canvas").clientHeight]);
await rest();
result.first = {names: names(), pressed: pressed(), heights: heights(), colors: await drawn(views[0])};

by("error").button.click();
by("height").button.click();
by("confidence").button.click();
await rest();
result.more = {names: names(), pressed: pressed(), heights: heights(), columns: new Set(opened().map(({figure}) => figure.offsetLeft)).size};
result.drawn = {error: await drawn(by("error")), height: await drawn(by("height"))};
result.legend = [...by("error").figure.querySelectorAll(".codes li")].map((row) => row.textContent);
result.bars = ["height", "confidence"].map((name) => by(name).figure.querySelector(".ramp p").innerText.split("\n"));
result.hover = Object.fromEntries(opened().map((view) => [view.layer.name, view.plot.data[0].text]));

send(0, WheelEvent, {kind: "wheel", deltaY: 300});
await rest();
by("input").button.click();
by("ground truth").button.click();
await rest();
result.late = {names: names(), eyes: opened().map((view) => cameraOf(view).eye)};
for (const view of opened()) view.button.click();
await rest();
result.last = {names: names(), pressed: pressed()};
by("input").button.click();
by("error").button.click();
await rest();

document.getElementById("reset").click();
await rest();
result.picks = [];
for (let k = 0; k < KERNELS.length; k++) {
  kernels.selectedIndex = k;
  kernels.dispatchEvent(new Event("change"));
  for (const p of CLICKED) {
    pick(p);
    const traces = opened().map((view) => view.plot.data.slice(-2).map(({x, y, z}) => [x, y, z].map((a) => Array.from(a))));
    result.picks.push({k, p, near: [...near], text: document.getElementById("picked").textContent, traces});
  }
}
await rest();
result.marked = await drawn(by("error"));
document.getElementById("clear").click();
await rest();
result.cleared = [picked, near.length, document.getElementById("picked").textContent, await drawn(by("error"))];

// Cameras: where they start, and how they follow each other.

// Plotly measures a scene with aspectmode "data" in units that give its box the volume 1.
const span = [0, 1, 2].map((a) => scene.range[a][1] - scene.range[a][0]);
const unit = Math.cbrt(span[0] * span[1] * span[2]);
const HALF_VIEW = Math.tan(Math.PI / 8);  // half of plotly's field of view of 45 degrees

// The nearest camera in the given direction that sees the scene's core box.
function overview(aspect) {
  const azimuth = scene.azimuth * Math.PI / 180, elevation = scene.elevation * Math.PI / 180;
  const toEye = [Math.cos(azimuth) * Math.cos(elevation), Math.sin(azimuth) * Math.cos(elevation), Math.sin(elevation)];
  const right = [-Math.sin(azimuth), Math.cos(azimuth), 0];
  const up = [toEye[1] * right[2] - toEye[2] * right[1], toEye[2] * right[0] - toEye[0] * right[2], toEye[0] * right[1] - toEye[1] * right[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const middle = [0, 1, 2].map((a) => (scene.core[0][a] + scene.core[1][a]) / 2);
  let distance = 0;
  for (let corner = 0; corner < 8; corner++) {
    const v = [0, 1, 2].map((a) => (scene.core[corner >> a & 1][a] - middle[a]) / unit);
    const reach = Math.max(Math.abs(dot(v, up)), Math.abs(dot(v, right)) / aspect);
    distance = Math.max(distance, dot(v, toEye) + reach / HALF_VIEW);
  }
  distance *= 1.08;
  const center = middle.map((m, a) => (m - (scene.range[a][0] + scene.range[a][1]) / 2) / unit);
  const eye = center.map((c, a) => c + distance * toEye[a]);
  const point = ([x, y, z]) => ({x, y, z});
  return {distance, camera: {eye: point(eye), center: point(center), up: point([0, 0, 1])}};
}

// A marker of size 1 is drawn 1.85 pixels wide (measured, plotly.js 4.1). Squares, because plotly
// draws symbols as triangles: two for a square, dozens for a circle.
function pointSize(plot, distance) {
  const pixelsPerUnit = plot.clientHeight / (2 * HALF_VIEW * distance);
  const gapless = 1.7 * scene.spacing / unit * pixelsPerUnit;
  return Math.min(Math.max(gapless, 2), 12) / 1.85 * document.getElementById("size").value;
}

const cameraOf = (view) => view.plot._fullLayout.scene._scene.getCamera();

function look(view, camera) {
  Plotly.relayout(view.plot, {"scene.camera": structuredClone(camera)});  // plotly keeps the object
}

// Linked cameras: the view that was touched last leads, the others follow. Its camera is read
// every frame, because plotly's events come before a wheel step has its effect and not at all for
// touches. Followers never lead by themselves, so cameras cannot chase each other. When the leader
// has come to rest it is told its own camera, which plotly otherwise forgets with the next restyle.
let leader = null;

function lead(now) {
  if (leader) {
    const camera = cameraOf(leader);
    const key = JSON.stringify(camera, (_, value) => value.toFixed ? value.toFixed(6) : value);
    if (key !== leader.key) {
      Object.assign(leader, {key, movedAt: now});
      for (const view of opened()) if (view !== leader) look(view, camera);
    } else if (leader.movedAt && now - leader.movedAt > 200) {
      leader.movedAt = 0;
      look(leader, camera);
    }
  }
  requestAnimationFrame(lead);
}

function reset() {
  leader = null;
  touched = false;
  for (const view of opened()) look(view, view.start.camera);
}
document.getElementById("reset").addEventListener("click", reset);

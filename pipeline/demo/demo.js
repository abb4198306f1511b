"use strict";
// The map and the sound of a place are asked for in pieces, those that play now and next: a video may be of any length.

const $ = (id) => document.getElementById(id);
const video = $("video"), heat = $("heat"), sound = new Audio(), small = document.createElement("canvas");

let model = null; // what the server says of it
let shown = null; // id of the video
let maps = new Map(); // piece → its maps, once they are there
let place = null; // that is listened to: {x, y, pieces: piece → {url, begin}}

function say(sentence, wrong = false) {
  $("status").textContent = sentence;
  $("status").classList.toggle("wrong", wrong);
}

// What is done is no longer said; what went wrong stays until something else is asked for.
function done() {
  if (!$("status").classList.contains("wrong")) say("");
}

async function ask(path, how) {
  const answer = await fetch(path, how);
  if (answer.ok) return answer;
  const text = await answer.text();
  let sentence = text;
  try { sentence = JSON.parse(text).error; } catch { /* it is a sentence already */ }
  throw new Error(sentence);
}

async function show(file) {
  say(`opening ${file.name} …`);
  try {
    const { video: id } = await (await ask("videos", { method: "POST", body: file })).json();
    forget();
    shown = id;
    maps = new Map();
    $("stage").hidden = false;
    $("drop").classList.add("small");
    video.src = `videos/${id}`;
    say("looking for what sounds …");
  } catch (error) {
    say(`${file.name}: ${error.message}`, true);
  }
}

// Ask for a piece once; what was asked about another video or another place meanwhile is nobody's business any more.
async function want(pieces, piece, fetchPiece, isCurrent) {
  if (pieces.has(piece) || piece * model.piece_s >= (video.duration || Infinity)) return;
  pieces.set(piece, null);
  try {
    const found = await fetchPiece();
    if (isCurrent()) { pieces.set(piece, found); done(); }
  } catch (error) {
    if (isCurrent()) say(error.message, true);
  }
}

function wantMaps(piece) {
  const id = shown, own = maps;
  return want(own, piece, async () => {
    const found = await (await ask(`videos/${id}/maps/${piece}`)).json();
    found.heat = Uint8Array.from(atob(found.heat), (letter) => letter.charCodeAt(0));
    return found;
  }, () => own === maps);
}

function wantSound(piece) {
  const id = shown, own = place;
  return want(own.pieces, piece, async () => {
    const answer = await ask(`videos/${id}/sounds/${piece}?x=${own.x}&y=${own.y}`);
    return { begin: Number(answer.headers.get("X-Begin-S")), url: URL.createObjectURL(await answer.blob()) };
  }, () => own === place);
}

// The map of a moment: between two maps they are blended, and a map stands for no more than the time to the next one.
function heatAt(time) {
  const piece = Math.floor(time / model.piece_s), near = [];
  for (const found of [piece - 1, piece, piece + 1].map((one) => maps.get(one)).filter(Boolean)) {
    const size = found.rows.length * found.columns.length;
    found.times_s.forEach((moment, number) => {
      if (Math.abs(moment - time) < model.every_s + 0.05) near.push({ moment, found, from: number * size, size, number });
    });
  }
  near.sort((one, other) => one.moment - other.moment);
  const before = near.filter((one) => one.moment <= time).pop(), after = near.find((one) => one.moment > time);
  if (!before && !after) return null;
  const share = before && after ? (time - before.moment) / (after.moment - before.moment) : after ? 1 : 0;
  const parts = [[before, 1 - share], [after, share]].filter(([one, part]) => one && part > 0);
  const { found, size } = parts[0][0], values = new Float32Array(size);
  for (const [one, part] of parts) {
    const strength = part * one.found.strength[one.number];
    for (let cell = 0; cell < size; cell++) values[cell] += strength * one.found.heat[one.from + cell];
  }
  return { values, found };
}

// Where a map's cells lie: their middles are given, and each reaches half way to the next.
function reach(middles, low, high) {
  const pitch = middles.length > 1 ? (middles[middles.length - 1] - middles[0]) / (middles.length - 1) : 1;
  const begin = low + (middles[0] - pitch / 2) * (high - low);
  return [begin, pitch * middles.length * (high - low)];
}

function draw() {
  const wide = video.videoWidth, high = video.videoHeight, box = video.getBoundingClientRect();
  const scale = Math.min(box.width / wide, box.height / high) || 0;
  const width = Math.round(wide * scale), height = Math.round(high * scale);
  if (heat.width !== width || heat.height !== height) [heat.width, heat.height] = [width, height];
  heat.style.left = `${(box.width - width) / 2}px`;
  heat.style.top = `${(box.height - height) / 2}px`;
  const context = heat.getContext("2d");
  context.clearRect(0, 0, width, height);
  const now = $("shown").checked && shown && width ? heatAt(video.currentTime) : null;
  if (now) {
    const { values, found } = now, [rows, columns] = [found.rows.length, found.columns.length];
    const image = new ImageData(columns, rows);
    values.forEach((value, cell) => {
      const level = Math.min(255, Math.round(value));
      image.data.set([...model.colours[level], value * model.opacity], 4 * cell);
    });
    [small.width, small.height] = [columns, rows];
    small.getContext("2d").putImageData(image, 0, 0);
    const [x1, y1, x2, y2] = found.square;
    const [left, across] = reach(found.columns, x1, x2), [top, down] = reach(found.rows, y1, y2);
    context.imageSmoothingQuality = "high";
    context.drawImage(small, left * width, top * height, across * width, down * height);
  }
  if (place) {
    context.lineWidth = 3;
    context.strokeStyle = "#fff";
    context.beginPath();
    context.arc(place.x * width, place.y * height, 10, 0, 2 * Math.PI);
    context.stroke();
  }
}

function listen() {
  const piece = Math.floor(video.currentTime / model.piece_s), found = place.pieces.get(piece);
  wantSound(piece);
  if (!found) { sound.pause(); return; }
  wantSound(piece + 1);
  if (sound.src !== found.url) sound.src = found.url;
  const from = video.currentTime - found.begin;
  if (Math.abs(sound.currentTime - from) > 0.15 && from >= 0) sound.currentTime = from;
  if (video.paused) sound.pause();
  else if (sound.paused && !sound.ended) sound.play().catch((error) => say(error.message, true));
}

function forget() {
  sound.pause();
  sound.removeAttribute("src");
  for (const found of place ? place.pieces.values() : []) if (found) URL.revokeObjectURL(found.url);
  place = null;
  video.muted = false;
  $("all").hidden = true;
}

async function hear(event) {
  if (model.reason_against_sounds) return;
  forget();
  place = { x: event.offsetX / heat.width, y: event.offsetY / heat.height, pieces: new Map() };
  const own = place;
  video.muted = true;
  $("all").hidden = false;
  say("taking what sounds here out of the rest …");
  video.pause();
  await wantSound(Math.floor(video.currentTime / model.piece_s));
  if (own === place) video.play();
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function showTime() {
  $("when").max = video.duration;
  if (document.activeElement !== $("when") || !video.paused) $("when").value = video.currentTime;
  $("time").textContent = `${clock(video.currentTime)} of ${clock(video.duration)}`;
  $("play").textContent = video.paused ? "play" : "pause";
}

function tick() {
  if (shown && !Number.isNaN(video.duration)) {
    const piece = Math.floor(video.currentTime / model.piece_s);
    wantMaps(piece).then(() => maps.get(piece) && wantMaps(piece + 1));
    draw();
    showTime();
    if (place) listen();
  }
  requestAnimationFrame(tick);
}

const drop = $("drop");
$("file").addEventListener("change", (event) => event.target.files[0] && show(event.target.files[0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
  });
}
heat.addEventListener("click", hear);
$("all").addEventListener("click", forget);
$("play").addEventListener("click", () => (video.paused ? video.play() : video.pause()));
$("when").addEventListener("input", () => { video.currentTime = Number($("when").value); });
video.addEventListener("error", () => say("this browser can't play the video: MP4 (H.264) and WebM are what all play", true));

ask("model").then((answer) => answer.json()).then((found) => {
  model = found;
  $("about").textContent = `${model.checkpoint}, step ${model.step}`;
  $("hint").textContent = model.reason_against_sounds
    ? `Places can't be heard with this model: ${model.reason_against_sounds}`
    : "Click a place to hear what sounds there.";
  tick();
}).catch((error) => say(error.message, true));

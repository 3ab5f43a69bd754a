"use strict";
// Everything that a model or a person says is put in as text (textContent), never as HTML.

const about = JSON.parse(document.getElementById("about").textContent);
// Without the name and password that may stand in the page's own address: fetch takes no address with them.
const there = (name) => new URL(name, location.origin + location.pathname).href;
const at = (name) => document.getElementById(name);
const FIRST_BARS = 8;
const SERVER_READS = /\.(wav|flac|ogg|oga|opus|mp3|aiff?|au)$/i;

let current = null; // what was asked last: { body, type, name, row, url }
let asking = new AbortController();
let explanations = 0; // of several that were asked for, the last is shown
let peaks = null; // the loudness of the clip over time, for the picture of its explanation

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key === "on") for (const [event, heard] of Object.entries(value)) element.addEventListener(event, heard);
    else if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// ---- talking to the service

class Refused extends Error {
  constructor(error, fix) {
    super(error);
    this.fix = fix;
  }
}

async function post(address, asked) {
  let answer;
  try {
    answer = await fetch(there(address), { method: "POST", headers: { "Content-Type": asked.type }, body: asked.body, signal: asking.signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service does not answer.", "Is it still running? Its terminal says what happened.");
  }
  let found;
  try {
    found = await answer.json();
  } catch {
    throw new Refused(`The service answered with status ${answer.status} and no JSON.`, "Is something else listening at this address?");
  }
  if (!answer.ok) throw refusal(answer, found);
  return found;
}

function refusal(answer, found) {
  const wait = answer.headers.get("Retry-After");
  return new Refused(sentence(found.error || `The service answered with status ${answer.status}.`), sentence([found.fix || "", wait ? `(again in ${wait} s)` : ""].join(" ").trim()));
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return !whole || /[.!?…)]$/.test(whole) ? whole : `${whole}.`;
}

async function ask(asked) {
  asking.abort();
  asking = new AbortController();
  const mine = asking;
  current = asked;
  for (const name of ["problem", "result", "why", "truth"]) at(name).hidden = true;
  at("why-note").textContent = "";
  showPrograms(asked);
  busy(true);
  const began = performance.now();
  try {
    const found = await post("predict", asked);
    showAnswer(found.rows[0], found.milliseconds, performance.now() - began);
    busy(false);
    await explain(null);
  } catch (error) {
    if (error.name !== "AbortError") showProblem(error);
  } finally {
    if (mine === asking) busy(false);
  }
}

async function explain(label, test = false) {
  if (!about.explains && !about.labels.length) return;
  at("why").hidden = false;
  at("why-test").hidden = true;
  if (!test) at("why-body").replaceChildren();
  if (!about.explains) {
    at("why-lead").textContent = sentence(about.unexplained);
    return;
  }
  at(test ? "why-note" : "why-lead").textContent = test ? "Testing: the marked parts are taken out one after the other …" : "Looking for what speaks for it …";
  const mine = ++explanations;
  const asked = new URLSearchParams({ test });
  if (label !== null) asked.set("label", label);
  try {
    const found = await post(`explain?${asked}`, current);
    if (mine === explanations) showWhy(found.explanation, found.milliseconds);
  } catch (error) {
    if (error.name === "AbortError" || mine !== explanations) return;
    at(test ? "why-note" : "why-lead").textContent = error instanceof Refused ? `${error.message} ${error.fix}` : `This page has a fault: ${error.message}`;
  }
}

function busy(is) {
  document.body.toggleAttribute("aria-busy", is);
  for (const button of document.querySelectorAll("button.main")) button.disabled = is;
}

function showProblem(error) {
  const known = error instanceof Refused;
  at("problem-error").textContent = known ? error.message : `This page has a fault: ${error.message}`;
  at("problem-fix").textContent = known ? error.fix : "Reload it, and tell us if that does not help.";
  at("problem").hidden = false;
}

// ---- the answer

function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1\u00a0%";
  if (share < 1 && share > 0.9995) return "> 99.9\u00a0%";
  return `${(100 * share).toFixed(1)}\u00a0%`;
}

function milliseconds(count) {
  return count < 1000 ? `${count < 10 ? count.toFixed(1) : Math.round(count)} ms` : `${(count / 1000).toFixed(1)} s`;
}

function showAnswer(record, inside, outside) {
  const answer = record[about.answer];
  const stretch = answer !== null && typeof answer === "object" && typeof answer.text === "string" ? answer : null; // of the second text
  const chosen = stretch ? [stretch.text] : Array.isArray(answer) ? answer : [answer];
  const words = stretch ? `The ${about.titles.text_pair || "text"} holds no answer.` : { text: "Nothing was heard.", boxes: "Nothing was found.", keypoints: "Numbered as below; pale where the model is unsure." }[about.answer] || "None of the labels.";
  at("boxed").hidden = !["boxes", "keypoints"].includes(about.answer);
  if (about.answer === "boxes") showBoxes(answer);
  if (about.answer === "keypoints") showPoints(answer);
  const said = about.answer === "boxes" ? counts(answer) : about.answer === "keypoints" ? "" : chosen.map((one) => (typeof one === "number" ? String(Number(one.toPrecision(6))) : one)).join(", ");
  const isMask = answer !== null && typeof answer === "object" && Array.isArray(answer.counts);
  const isMarked = record.entities !== undefined && current.row?.text !== undefined;
  const sound = typeof answer === "string" && answer.startsWith("data:audio/");
  if (sound) at("said").replaceChildren(player(answer));
  else if (isMask) at("said").replaceChildren(...drawMask(answer));
  else if (isMarked) at("said").replaceChildren(...marked(current.row.text, record.entities));
  else at("said").textContent = said || words;
  at("said").classList.toggle("quiet", !said);
  at("said").classList.toggle("marked", isMarked);
  at("said").classList.toggle("masked", isMask);
  at("passage").hidden = !stretch;
  if (stretch) at("passage").replaceChildren(...marked(current.row.text_pair, stretch.text ? [{ ...stretch, type: "answer" }] : []));
  const shares = Object.entries(record.probabilities || {}).sort((one, other) => other[1] - one[1]);
  at("bars").replaceChildren(...shares.slice(0, FIRST_BARS).map((share) => bar(share, chosen)));
  at("rest-bars").replaceChildren(...shares.slice(FIRST_BARS).map((share) => bar(share, chosen)));
  at("rest").hidden = shares.length <= FIRST_BARS;
  at("rest-title").textContent = `All ${shares.length} labels`;
  const hint = about.explains && shares.length ? " Press a label to see what speaks for it." : "";
  const sure = stretch && stretch.text && typeof record.probability === "number" ? `Probability ${percent(record.probability)}. ` : "";
  at("took").textContent = `${sure}Answered in ${milliseconds(inside)}, ${milliseconds(outside)} with the way there and back.${hint}`;
  if (current.label) at("truth").textContent = `The data says: ${current.label}`;
  at("truth").hidden = !current.label;
  at("result").hidden = false;
}

// Colours that people with any colour vision tell apart (Okabe and Ito), then more; those of the report.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#f0e442", "#56b4e9", "#9467bd", "#7f7f7f", "#8c564b", "#bcbd22", "#17becf", "#ff9896", "#2c3c78", "#aec778", "#5a143c"];

// ---- boxes: drawn over the picture, those below the slider's score left out

function counts(boxes) {
  const found = new Map();
  for (const { label } of boxes) found.set(label, (found.get(label) || 0) + 1);
  return [...found].map(([label, count]) => `${count} ${label}`).join(", ");
}

function showBoxes(boxes) {
  const picture = document.querySelector("#preview img");
  if (!picture) return;
  const canvas = make("canvas", { role: "img", "aria-label": "the picture with the boxes found" });
  const least = boxes.length ? Math.min(...boxes.map((box) => box.score)) : 0;
  const slider = make("input", { type: "range", min: String(Math.floor(100 * least)), max: "100", value: String(Math.floor(100 * least)), id: "least-score" });
  const told = make("output", {});
  const draw = () => {
    const shown = boxes.filter((box) => 100 * box.score >= Number(slider.value));
    drawBoxes(canvas, picture, shown);
    told.textContent = ` ${slider.value}\u00a0%: ${shown.length} of ${boxes.length} shown`;
  };
  slider.addEventListener("input", draw);
  at("boxed").replaceChildren(canvas, make("label", { htmlFor: "least-score" }, "Boxes scored at least "), slider, told);
  if (picture.complete && picture.naturalWidth) draw();
  else picture.addEventListener("load", draw, { once: true });
}

// ---- points: numbered on the picture, their names below

const UNSURE = 0.15;

function showPoints(points) {
  const picture = document.querySelector("#preview img");
  if (!picture) return;
  const canvas = make("canvas", { role: "img", "aria-label": "the picture with the points found" });
  const names = make("ol", {});
  for (const [place, [x, y, sure]] of points.entries()) {
    names.append(make("li", {}, make("bdi", { textContent: about.labels[place] }), ` ${x.toFixed(1)}, ${y.toFixed(1)} (${percent(sure)})`));
  }
  const draw = () => drawPoints(canvas, picture, points);
  at("boxed").replaceChildren(canvas, names);
  if (picture.complete && picture.naturalWidth) draw();
  else picture.addEventListener("load", draw, { once: true });
}

function drawPoints(canvas, picture, points) {
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  const pen = canvas.getContext("2d");
  const radius = Math.max(2, Math.max(canvas.width, canvas.height) / 80);
  pen.drawImage(picture, 0, 0);
  pen.font = `${2.5 * radius}px sans-serif`;
  for (const [place, [x, y, sure]] of points.entries()) {
    pen.globalAlpha = sure < UNSURE ? 0.45 : 1;
    pen.fillStyle = COLOURS[place % COLOURS.length];
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fill();
    pen.lineWidth = radius / 2;
    pen.strokeStyle = "#ffffff";
    pen.strokeText(place + 1, x + radius, y - radius);
    pen.fillStyle = "#000000";
    pen.fillText(place + 1, x + radius, y - radius);
  }
  pen.globalAlpha = 1;
}

function drawBoxes(canvas, picture, boxes) {
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  const pen = canvas.getContext("2d");
  const thick = Math.max(1, Math.max(canvas.width, canvas.height) / 300);
  pen.drawImage(picture, 0, 0);
  pen.font = `${8 * thick}px sans-serif`;
  pen.textBaseline = "top";
  for (const { label, box, score } of boxes) {
    const [left, top, right, bottom] = box;
    const words = `${label} ${Math.round(100 * score)}`;
    pen.strokeStyle = pen.fillStyle = COLOURS[Math.max(0, about.labels.indexOf(label)) % COLOURS.length];
    pen.lineWidth = thick;
    pen.strokeRect(left, top, right - left, bottom - top);
    const above = Math.max(0, top - 9 * thick);
    pen.fillRect(left, above, pen.measureText(words).width + 2 * thick, 9 * thick);
    pen.fillStyle = "#ffffff";
    pen.fillText(words, left + thick, above);
  }
}

function player(address) {
  const made = document.createElement("audio");
  made.controls = true;
  made.src = address;
  return made;
}

// Places are counted in code points, as Python counts characters.
function marked(text, entities) {
  const signs = Array.from(text);
  const parts = [];
  let at = 0;
  for (const { start, end, type } of entities) {
    const colour = Array.from(new TextEncoder().encode(type)).reduce((sum, byte) => sum + byte, 0) % 6;
    parts.push(signs.slice(at, start).join(""), make("mark", { className: `t${colour}` }, signs.slice(start, end).join(""), make("small", { textContent: type })));
    at = end;
  }
  return [...parts, signs.slice(at).join("")];
}

const OPACITY = 140; // of 255

// The runs of a region as COCO writes them: down the columns, each told by its difference from the one two before it.
function runs(text) {
  const found = [];
  let [value, shift] = [0, 0];
  for (const letter of text) {
    const code = letter.charCodeAt(0) - 48;
    value += (code & 31) * 2 ** shift;
    shift += 5;
    if (code & 32) continue;
    if (code & 16) value -= 2 ** shift;
    found.push(found.length > 2 ? value + found[found.length - 2] : value);
    [value, shift] = [0, 0];
  }
  return found;
}

// The classes over the picture, and a legend with their shares.
function drawMask(mask) {
  const [height, width] = mask.size;
  const canvas = make("canvas", { width, height, role: "img", "aria-label": "the picture with the class of each pixel in its colour" });
  const paint = canvas.getContext("2d");
  const layer = new ImageData(width, height);
  const legend = make("ul", { className: "legend" });
  const parts = mask.classes.map((name, place) => {
    const colour = COLOURS[Math.max(0, about.labels.indexOf(name)) % COLOURS.length];
    const rgb = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
    let [pixel, area] = [0, 0];
    runs(mask.counts[place]).forEach((length, number) => {
      const end = Math.min(pixel + length, width * height);
      if (number % 2) {
        area += length;
        for (let i = pixel; i < end; i++) layer.data.set([...rgb, OPACITY], 4 * ((i % height) * width + Math.floor(i / height)));
      }
      pixel = end;
    });
    return { name, colour, share: area / (width * height) };
  });
  for (const { name, colour, share } of parts.sort((one, other) => other.share - one.share)) {
    const spot = make("i", {});
    spot.style.backgroundColor = colour;
    legend.append(make("li", {}, spot, make("bdi", { textContent: name }), ` ${percent(share)}`));
  }
  const draw = (picture) => {
    if (picture) paint.drawImage(picture, 0, 0, width, height);
    createImageBitmap(layer).then((over) => paint.drawImage(over, 0, 0));
  };
  const shown = at("preview").querySelector("img");
  if (!shown || (shown.complete && !shown.naturalWidth)) draw(null);
  else if (shown.complete) draw(shown);
  else shown.addEventListener("load", () => draw(shown));
  return [canvas, legend];
}

function bar([label, share], chosen) {
  const fill = make("span", { className: "fill" });
  fill.style.width = `${(100 * share).toFixed(2)}%`;
  const name = about.explains
    ? make("button", { className: "name", type: "button", dir: "auto", textContent: label, on: { click: () => explain(label) } })
    : make("span", { className: "name", dir: "auto", textContent: label });
  const row = make("li", { className: chosen.includes(label) ? "chosen" : "" });
  row.append(name, make("span", { className: "track" }, fill), make("span", { className: "share", textContent: percent(share) }));
  return row;
}

// ---- what it rests on

function showWhy(found, took) {
  const label = found.explained;
  for (const button of document.querySelectorAll(".bars button.name")) button.setAttribute("aria-pressed", String(button.textContent === label));
  const lead = at("why-lead");
  lead.replaceChildren("What speaks for ", make("b", { dir: "auto", textContent: label }), ` (${found.figure === "probability" ? "" : `${found.figure} `}${percent(found.probability)}), by ${found.method}.`);
  const draw = { text: drawWords, image: drawLooks, audio: drawTime }[found.kind];
  at("why-body").replaceChildren(...draw(found, label));
  const test = found.faithfulness ? `${found.faithfulness.sentence} ` : "";
  at("why-note").textContent = `${test}${found.notes.map(sentence).join(" ")} Found in ${milliseconds(took)}.`.trim();
  at("why-test").hidden = Boolean(found.faithfulness) || tried(found);
  at("why-test").onclick = () => explain(about.labels.length ? label : null, true);
}

// A single part has no order that could be tested.
function tried(found) {
  return found.kind !== "image" && found.scores.length < 2;
}

function key(label) {
  const part = (side, words) => make("span", {}, make("i", { className: side }), words, make("bdi", { textContent: label }));
  return make("p", { className: "key" }, part("for", "speaks for "), part("against", "speaks against "));
}

function drawWords(found, label) {
  const most = Math.max(...found.scores.map(Math.abs)) || 1;
  const texts = [current.row.text, current.row.text_pair].filter((text) => text !== undefined);
  const drawn = texts.map((text, side) => {
    const signs = Array.from(text); // characters as the service counts them
    const shown = make("p", { className: "words", dir: "auto" });
    let reached = 0;
    found.spans.forEach(([spanSide, start, stop], number) => {
      if (spanSide !== side || start < reached) return;
      shown.append(signs.slice(reached, start).join(""));
      const score = found.scores[number];
      const word = make("mark", { className: score < 0 ? "against" : "for", textContent: signs.slice(start, stop).join("") });
      word.style.setProperty("--weight", (Math.abs(score) / most).toFixed(3));
      word.title = `${score >= 0 ? "+" : "−"}${Math.abs(score).toPrecision(2)}`;
      shown.append(word);
      reached = stop;
    });
    shown.append(signs.slice(reached).join(""));
    return shown;
  });
  return [key(label), ...drawn];
}

function drawLooks(found, label) {
  const look = (address, words, name) => {
    const image = make("img", { alt: words });
    if (/^data:image\//.test(address)) image.src = address;
    return make("figure", {}, image, make("figcaption", {}, words, make("bdi", { textContent: name })));
  };
  return [make("div", { className: "looks" }, look(found.picture, "the picture as the model sees it", ""), look(found.overlay, "warm places speak for ", label))];
}

function drawTime(found, label) {
  const draw = (tag, options) => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(options)) shape.setAttribute(name, value);
    return shape;
  };
  const most = Math.max(...found.scores.map(Math.abs)) || 1;
  const svg = draw("svg", { viewBox: `0 -50 1000 100`, preserveAspectRatio: "none", role: "img", "aria-label": "scores over time" });
  if (peaks) {
    const points = peaks.map((peak, number) => [(1000 * number) / (peaks.length - 1), 48 * peak]);
    const upper = points.map(([x, y]) => `${x.toFixed(1)},${(-y).toFixed(1)}`);
    const lower = points.reverse().map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`);
    svg.append(draw("path", { d: `M${upper.join("L")}L${lower.join("L")}Z` }));
  }
  svg.append(draw("line", { x1: 0, x2: 1000, y1: 0, y2: 0 }));
  found.times.forEach((start, number) => {
    const stop = found.times[number + 1] ?? found.seconds;
    const score = found.scores[number] / most;
    const [left, width, height] = [(1000 * start) / found.seconds, (1000 * (stop - start)) / found.seconds, 48 * Math.abs(score)];
    const shape = draw("rect", { x: left, width: Math.max(1, width - 2), y: score > 0 ? -height : 0, height, class: score < 0 ? "against" : "for" });
    shape.addEventListener("click", () => playFrom(start));
    svg.append(shape);
  });
  const ends = make("div", { className: "ends" }, make("span", { textContent: "0 s" }), make("span", { textContent: `${found.seconds.toFixed(2)} s` }));
  return [key(label), make("div", { className: "over-time" }, svg, ends)];
}

function playFrom(seconds) {
  const player = document.querySelector("#preview audio");
  if (!player) return;
  player.currentTime = seconds;
  player.play();
}

// ---- the same from a program

function showPrograms(asked) {
  const base = there("predict");
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const bearer = about.asks_token ? ", \"Authorization\": \"Bearer TOKEN\"" : "";
  const token = about.asks_token ? " -H 'Authorization: Bearer TOKEN'" : "";
  const send = [
    `url, headers = ${JSON.stringify(base)}, {"Content-Type": "application/json"${bearer}}`,
    'request = urllib.request.Request(url, json.dumps({"rows": rows}).encode(), headers)',
    'print(json.load(urllib.request.urlopen(request))["rows"])',
  ];
  if (!asked.name) {
    at("curl").textContent = `curl ${base}${token} -H 'Content-Type: application/json' \\\n  -d ${shell(JSON.stringify({ rows: [asked.row] }))}`;
    at("python").textContent = ["import json, urllib.request", "", `rows = [${JSON.stringify(asked.row)}]`, ...send].join("\n");
    return;
  }
  const read = [
    `names = [${JSON.stringify(asked.name)}]`,
    "files = [base64.b64encode(pathlib.Path(name).read_bytes()).decode() for name in names]",
    `rows = [{"id": name, "${about.modality}": file} for name, file in zip(names, files)]`,
  ];
  at("curl").textContent = `curl ${base}${token} -H 'Content-Type: ${asked.type}' \\\n  --data-binary @${shell(asked.name)}`;
  at("python").textContent = ["import base64, json, pathlib, urllib.request", "", ...read, ...send].join("\n");
}

// ---- texts

function askText(label = null) {
  if (about.holds_turns) {
    say(at("text").value.trim(), label);
    return;
  }
  const row = {};
  for (const name of about.fields) {
    const value = at(name).value;
    if (value.trim() || about.needed.includes(name)) row[name] = value;
  }
  const lacking = about.needed.find((name) => !row[name].trim());
  if (lacking) {
    at(lacking).focus();
    return;
  }
  ask({ type: "application/json", body: JSON.stringify({ rows: [row] }), row, label });
}

function startTexts() {
  const { text, text_pair: pair } = about.titles;
  at("lead").textContent = text && pair ? `Write a ${text} and a ${pair}, and see which words of the ${pair} answer it.` : about.needed.length > 1 ? "Write two texts and see what the model says of them, with what confidence, and what its answer rests on." : "Write a text and see what the model says of it, with what confidence, and what its answer rests on.";
  if (about.holds_turns) startTalk();
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    askText();
  });
  at("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) askText();
  });
  const given = new URLSearchParams(location.search);
  for (const name of about.fields) at(name).value = given.get(name) || "";
  showPrograms({ row: Object.fromEntries(about.needed.map((name) => [name, `a ${about.titles[name] || "text"}`])) });
  if (about.needed.every((name) => given.get(name))) askText();
}

// ---- conversations: what was said stays on this page, and goes whole with each turn

let talk = []; // the turns so far

function startTalk() {
  at("lead").textContent = "Hold a conversation with the model. It reads all that was said since you began.";
  at("stop").addEventListener("click", () => asking.abort());
  at("anew").addEventListener("click", beginAnew);
}

function beginAnew() {
  asking.abort();
  talk = [];
  at("talk").replaceChildren();
  for (const name of ["problem", "result", "anew"]) at(name).hidden = true;
}

async function say(text, label) {
  if (!text) {
    at("text").focus();
    return;
  }
  asking.abort();
  const mine = (asking = new AbortController());
  const asked = [...talk, { role: "user", content: text }];
  const [question, answer] = [make("li", { className: "user", dir: "auto", textContent: text }), make("li", { className: "assistant", dir: "auto", textContent: "…" })];
  at("talk").append(question, answer);
  at("text").value = "";
  for (const name of ["problem", "truth", "result"]) at(name).hidden = true;
  for (const name of ["stop", "anew"]) at(name).hidden = false;
  showPrograms({ row: { messages: asked } });
  busy(true);
  let written = "";
  try {
    for await (const found of streamed({ messages: asked })) {
      if (found.error) throw new Refused(sentence(found.error), sentence(found.fix || ""));
      written = found.row ? found.row[about.answer] : found.text;
      answer.textContent = written || "…";
      if (!found.row) continue;
      answer.textContent = written || "(nothing)";
      const left = found.row.turns_left_out ? ` The first ${found.row.turns_left_out} turns no longer fit, and were not read.` : "";
      at("took").textContent = `${found.row.new_tokens} ${found.row.new_tokens === 1 ? "token" : "tokens"} in ${milliseconds(found.milliseconds)}${found.row.finish_reason === "length" ? ", cut off at the longest answer" : ""}.${left}`;
      at("said").textContent = "";
      at("truth").textContent = `The data says: ${label}`;
      at("truth").hidden = !label;
      at("result").hidden = false;
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      showProblem(error);
      at("text").value = text;
      question.remove();
      answer.remove();
      written = "";
    } else if (!written) answer.textContent = "(stopped)";
  } finally {
    if (mine === asking) {
      talk = written.trim() ? [...asked, { role: "assistant", content: written }] : talk;
      at("stop").hidden = true;
      busy(false);
      at("text").focus();
    }
  }
}

async function* streamed(row) {
  let answer;
  try {
    answer = await fetch(there("stream"), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(row), signal: asking.signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The service does not answer.", "Is it still running? Its terminal says what happened.");
  }
  if (!answer.ok) throw refusal(answer, await answer.json().catch(() => ({})));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let [held, whole] = ["", false];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (held + value).split("\n");
    held = lines.pop();
    for (const line of lines) {
      const found = JSON.parse(line);
      whole ||= Boolean(found.row || found.error);
      yield found;
    }
  }
  if (!whole) throw new Refused("The answer broke off.", "Ask again; the terminal of the service says what happened.");
}

// ---- pictures and recordings

async function askFile(file, name, label = null) {
  const { modality } = about;
  const noun = modality === "image" ? "picture" : "recording";
  if (file.type && !file.type.startsWith(`${modality}/`) && /^(text|image|audio)\//.test(file.type)) {
    showProblem(new Refused(`"${name}" is not a ${noun}.`, `Choose a ${noun}.`));
    return;
  }
  let sent = file;
  if (modality === "audio") {
    const heard = await decoded(file);
    peaks = heard && loudness(heard);
    if (heard && !SERVER_READS.test(name)) [sent, name] = [wav(heard), name.replace(/(\.\w+)?$/, ".wav")];
  }
  if (sent.size > about.limits.body_bytes) {
    showProblem(new Refused(`The ${noun} has ${(sent.size / 2 ** 20).toFixed(1)} MiB, the limit is ${(about.limits.body_bytes / 2 ** 20).toFixed(1)} MiB.`, "Take a smaller one."));
    return;
  }
  showPreview(sent, name);
  const type = sent.type.startsWith(`${modality}/`) ? sent.type : "application/octet-stream";
  ask({ type, body: sent, name, label });
}

function showPreview(file, name) {
  const old = at("preview").firstElementChild;
  if (old && old.src) URL.revokeObjectURL(old.src);
  const address = URL.createObjectURL(file);
  const shown = about.modality === "image" ? make("img", { src: address, alt: "your picture" }) : make("audio", { src: address, controls: true });
  shown.addEventListener("error", () => shown.remove()); // the service says what is wrong with it
  at("preview").replaceChildren(shown, make("span", { textContent: name }));
}

// The samples of a clip, where the browser can decode it: mono, 16 kHz.
async function decoded(file) {
  try {
    const context = new OfflineAudioContext(1, 1, 16000);
    const heard = await context.decodeAudioData(await file.arrayBuffer());
    const samples = new Float32Array(heard.length);
    for (let channel = 0; channel < heard.numberOfChannels; channel++) heard.getChannelData(channel).forEach((value, i) => (samples[i] += value / heard.numberOfChannels));
    return samples;
  } catch {
    return null;
  }
}

function loudness(samples) {
  const found = Array.from({ length: 400 }, (_, number) => {
    const [from, to] = [Math.floor((number * samples.length) / 400), Math.floor(((number + 1) * samples.length) / 400)];
    let most = 0;
    for (let i = from; i < to; i++) most = Math.max(most, Math.abs(samples[i]));
    return most;
  });
  const most = Math.max(...found) || 1;
  return found.map((peak) => peak / most);
}

// 16-bit PCM in a RIFF file, as every reader knows it.
function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (place, text) => [...text].forEach((sign, i) => view.setUint8(place + i, sign.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  word(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, 16000, 4], [28, 32000, 4], [32, 2, 2], [34, 16, 2], [40, 2 * samples.length, 4]].forEach(([place, value, bytes]) => (bytes === 4 ? view.setUint32(place, value, true) : view.setUint16(place, value, true)));
  word(36, "data");
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, value))), true));
  return new File([view], "recording.wav", { type: "audio/wav" });
}

let recorder = null;

async function toggleRecording() {
  if (recorder) {
    recorder.stop();
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    showProblem(new Refused("The microphone cannot be used.", error.name === "NotAllowedError" ? "Allow it in the browser's bar and try again." : sentence(error.message)));
    return;
  }
  const pieces = [];
  recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
  recorder.addEventListener("stop", () => {
    stream.getTracks().forEach((track) => track.stop());
    recorder = null;
    showRecording(false);
    askFile(new File(pieces, "recording", { type: pieces[0]?.type || "audio/webm" }), "recording");
  });
  recorder.start();
  showRecording(true);
  setTimeout(() => recorder?.stop(), 1000 * Math.max(1, about.limits.clip_seconds - 0.5));
}

function showRecording(is) {
  at("record").textContent = is ? "Stop and ask the model" : "Record from the microphone";
  at("record").classList.toggle("on", is);
}

function startFiles() {
  const noun = about.modality === "image" ? "picture" : "recording";
  at("lead").textContent = about.labels.length ? `Give the model a ${noun} and see what it says of it, with what confidence, and what its answer rests on.` : `Give the model a ${noun} and see what it writes down.`;
  at("choose").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", () => {
    const [file] = at("file").files;
    if (file) askFile(file, file.name);
    at("file").value = "";
  });
  const drop = at("drop");
  for (const event of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(event, (happened) => {
      happened.preventDefault();
      drop.classList.toggle("over-it", event === "dragenter" || event === "dragover");
    });
  }
  document.addEventListener("drop", (event) => {
    const [file] = event.dataTransfer.files;
    if (file) askFile(file, file.name);
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) askFile(file, file.name);
  });
  const record = at("record");
  if (record) {
    record.addEventListener("click", toggleRecording);
    record.hidden = !(navigator.mediaDevices && window.MediaRecorder);
    if (record.hidden) at("drop-hint").className = "hint";
    if (record.hidden) at("drop-hint").textContent = "or drop one here. A browser lets a page record only at localhost or over https.";
  }
  const example = about.modality === "image" ? ["photo.jpg", "image/jpeg"] : ["clip.wav", "audio/wav"];
  showPrograms({ name: example[0], type: example[1] });
}

// ---- rows to try

function sampleButton(sample) {
  if (about.modality === "text") {
    const shown = about.titles.text ? about.fields.slice(0, 1) : about.fields;
    const words = shown.map((name) => sample[name]).filter(Boolean).join(" / ");
    const ask = () => {
      if (about.holds_turns) beginAnew();
      for (const name of about.fields) at(name).value = sample[name] || "";
      askText(sample.label);
    };
    return make("button", { type: "button", dir: "auto", title: words, textContent: words, on: { click: ask } });
  }
  const bytes = Uint8Array.from(atob(sample.data), (sign) => sign.charCodeAt(0));
  const file = new File([bytes], sample.name, { type: sample.type });
  const button = make("button", { type: "button", title: sample.name, on: { click: () => askFile(file, sample.name, sample.label) } });
  if (about.modality === "image") button.append(make("img", { src: URL.createObjectURL(file), alt: sample.name }));
  else button.textContent = `▶ ${sample.name}`;
  return button;
}

async function showSamples() {
  let found;
  try {
    found = await (await fetch(there("samples"))).json();
  } catch {
    return; // the page works without them
  }
  if (!found.samples || !found.samples.length) return;
  at("samples-title").textContent = "Or try a row that the model did not learn from:";
  at("samples-list").replaceChildren(...found.samples.map(sampleButton));
  at("samples").hidden = false;
}

if (about.modality === "text") startTexts();
else startFiles();
showSamples();

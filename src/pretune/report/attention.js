"use strict";
// Attention weights, looked at three ways. All text reaches the page as text (textContent, fillText), never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const box = byId("attend");
  if (!box) return;
  const data = JSON.parse(byId("attention-data").textContent);
  const tokens = data.tokens, count = tokens.length;
  const stage = byId("stage"), readout = byId("readout"), legend = byId("legend"), whole = byId("whole");
  const layerBox = byId("layer"), headBox = byId("head"), fromBox = byId("from");
  const ZOOM = 24, MOST_NAMED = 64, LEAST_CELL = 12, MOST_LINES = 500, KEPT = 48;
  const EVERY = -1, WARM = [255, 106, 20];

  // --- the weights ---------------------------------------------------------------------------------------------------

  const bytes = (id) => {
    const element = byId(id);
    if (!element) return new Uint8Array(0);
    const raw = atob(element.textContent.trim()), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  };
  const pairs = (id) => new Uint16Array(bytes(id).buffer);
  const isFull = data.how === "16 bits";
  const values = isFull ? pairs("attention-values") : bytes("attention-values");
  const largest = isFull ? null : pairs("attention-largest");
  const columns = data.how === "largest" ? pairs("attention-columns") : null;
  const offsets = [0];
  for (const heads of data.heads) offsets.push(offsets[offsets.length - 1] + heads + 2);

  const kept = new Map();
  const matrix = (layer, head) => {
    const number = offsets[layer] + head;
    if (kept.has(number)) return kept.get(number);
    const found = new Float32Array(count * count), k = data.kept;
    if (isFull) {
      const start = number * count * count;
      for (let i = 0; i < found.length; i++) found[i] = values[start + i] / 65535;
    } else {
      for (let q = 0; q < count; q++) {
        const row = number * count + q, top = largest[row] / 65535 / 255;
        for (let i = 0; i < k; i++) {
          const key = columns ? columns[row * k + i] : i;
          found[q * count + key] = values[row * k + i] * top;
        }
      }
    }
    if (kept.size >= KEPT) kept.delete(kept.keys().next().value);
    kept.set(number, found);
    return found;
  };
  const meanRow = (weights) => {
    const row = new Float32Array(count);
    for (let q = 0; q < count; q++) for (let k = 0; k < count; k++) row[k] += weights[q * count + k] / count;
    return row;
  };
  const rowOf = (weights, query) => query === EVERY ? meanRow(weights) : weights.subarray(query * count, (query + 1) * count);
  const maxOf = (list) => { let most = 0; for (const one of list) if (one > most) most = one; return most; };
  const minOf = (list) => { let least = Infinity; for (const one of list) if (one < least) least = one; return least; };

  // --- state and small things ----------------------------------------------------------------------------------------

  const state = { view: data.kind === "text" ? "lines" : "picture", layer: data.start.layer, head: data.start.head,
    pinned: null, hover: null, query: data.query, window: null };
  const weightsNow = () => matrix(state.layer, state.head);
  const headName = (layer, head) => head === data.heads[layer] ? "mean of the heads"
    : head === data.heads[layer] + 1 ? "rollout" : `head ${head + 1}`;
  const nameOf = (position) => position === EVERY ? data.every : data.kind === "text" ? `“${tokens[position]}”`
    : position < data.prefix ? `the ${tokens[position]}` : data.kind === "image" ? `the patch in ${tokens[position]}` : `the frame at ${tokens[position]}`;
  const shown = (weight) => weight < 0.00005 && weight > 0 ? "< 0.0001" : weight.toFixed(4);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = (name) => { const hex = colour(name); return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)); };
  const depth = (weight, most) => most > 0 ? Math.sqrt(Math.min(1, weight / most)) : 0;
  const make = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const say = (text) => { readout.textContent = text; };
  const sayPair = (query, key, weight) => say(`Layer ${state.layer + 1}, ${headName(state.layer, state.head)}: ${nameOf(query)} ${query === EVERY ? "look" : "looks"} at ${nameOf(key)} with ${shown(weight)}`);
  const idle = () => say(data.kind === "text" ? "Point at a token, or tap it, to see where it looks." : "Point at the picture for a weight; tap a place to ask where it looks.");
  const paper = document.createElement("canvas").getContext("2d");
  const measured = (text, font) => { paper.font = font; return paper.measureText(text).width; };
  const fitted = (text, room, font) => {
    if (measured(text, font) <= room) return text;
    const signs = [...text];
    while (signs.length > 1 && paper.measureText(signs.join("") + "…").width > room) signs.pop();
    return signs.join("") + "…";
  };
  const FONT = getComputedStyle(document.body).fontFamily;
  const canvas = (width, height, label) => {
    const element = document.createElement("canvas"), scale = Math.min(3, window.devicePixelRatio || 1);
    element.width = Math.round(width * scale);
    element.height = Math.round(height * scale);
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", label);
    const pen = element.getContext("2d");
    pen.scale(scale, scale);
    return [element, pen];
  };
  const bitmap = (list, wide, high, ink, depthOf) => {
    const held = document.createElement("canvas");
    held.width = wide;
    held.height = high;
    const pen = held.getContext("2d"), image = pen.createImageData(wide, high);
    for (let i = 0; i < wide * high; i++) {
      image.data.set(ink, 4 * i);
      image.data[4 * i + 3] = Math.round(255 * depthOf(list[i]));
    }
    pen.putImageData(image, 0, 0);
    return held;
  };
  const scaleText = (least, most) => {
    legend.replaceChildren();
    const bar = document.createElement("span"), low = document.createElement("span"), high = document.createElement("span");
    bar.className = data.kind === "text" || state.view === "matrix" ? "ramp" : "ramp warm";
    low.textContent = least > 0 ? shown(least) : "0";
    high.textContent = shown(most);
    legend.append(low, bar, high);
  };

  // --- lines between two columns -------------------------------------------------------------------------------------

  const drawLines = () => {
    const weights = weightsNow(), width = stage.clientWidth;
    const rowHigh = count > 80 ? 20 : 26, column = Math.min(230, width * 0.35), font = `${count > 80 ? 12 : 14}px ${FONT}`;
    const high = count * rowHigh + 30, left = column, right = width - column;
    const svg = make("svg", { viewBox: `0 0 ${width} ${high}`, width, height: high, role: "img", "aria-label": "lines from each token to the tokens it looks at, wider for more" });
    const base = make("g", { class: "links" }), lit = make("g", { class: "links lit" }), marks = make("g", {}), labels = make("g", {});
    svg.append(make("text", { x: left, y: 14, class: "muted", "text-anchor": "end" }, "looks from"), make("text", { x: right, y: 14, class: "muted" }, "looks at"), marks, base, lit, labels);
    const middle = (position) => 30 + (position + 0.5) * rowHigh - 4;
    const link = (query, key, weight) => make("path", {
      d: `M${left + 8} ${middle(query)}C${left + (right - left) * 0.45} ${middle(query)} ${right - (right - left) * 0.45} ${middle(key)} ${right - 8} ${middle(key)}`,
      "stroke-width": Math.max(0.4, 7 * weight).toFixed(2), "stroke-opacity": (0.12 + 0.78 * Math.sqrt(weight)).toFixed(3) });
    const order = [...weights.keys()].filter((i) => weights[i] >= 0.01).sort((a, b) => weights[b] - weights[a]).slice(0, MOST_LINES);
    for (const i of order.reverse()) base.append(link(Math.floor(i / count), i % count, weights[i]));
    const places = [];
    for (let side = 0; side < 2; side++) {
      for (let position = 0; position < count; position++) {
        const y = 30 + position * rowHigh - 4, x = side ? right : 0;
        const text = make("text", { x: side ? right : left, y: middle(position) + 5, class: data.special[position] ? "token quiet" : "token", "text-anchor": side ? "start" : "end" }, fitted(tokens[position], column - 44, font));
        text.append(make("title", {}, tokens[position]));
        const back = make("rect", { x, y, width: column, height: rowHigh, rx: 3, class: "back" });
        const figure = make("text", { x: side ? width : 0, y: middle(position) + 5, class: "figure", "text-anchor": side ? "end" : "start" }, "");
        const area = make("rect", { x, y, width: column, height: rowHigh, class: "area" });
        area.addEventListener("pointerenter", () => light({ side, position }));
        area.addEventListener("click", () => { state.pinned = same(state.pinned, { side, position }) ? null : { side, position }; light(state.pinned); });
        marks.append(back);
        labels.append(text, figure, area);
        places.push({ side, position, back, figure, text });
      }
    }
    const same = (a, b) => a !== null && b !== null && a.side === b.side && a.position === b.position;
    const light = (chosen) => {
      lit.replaceChildren();
      base.classList.toggle("dimmed", chosen !== null);
      for (const place of places) { place.back.style.fillOpacity = ""; place.back.classList.remove("own"); place.figure.textContent = ""; place.text.classList.remove("strong"); }
      if (chosen === null) { idle(); return; }
      let best = -1, most = -1;
      for (let other = 0; other < count; other++) {
        const [query, key] = chosen.side ? [other, chosen.position] : [chosen.position, other];
        const weight = weights[query * count + key];
        if (weight > most) [best, most] = [other, weight];
        if (weight >= 0.0005) lit.append(link(query, key, weight));
        const place = places[(chosen.side ? 0 : count) + other];
        place.back.style.fillOpacity = (0.75 * Math.sqrt(weight)).toFixed(3);
        if (weight >= 0.00005) place.figure.textContent = shown(weight);
      }
      const own = places[chosen.side * count + chosen.position];
      own.text.classList.add("strong");
      own.back.classList.add("own");
      const [query, key] = chosen.side ? [best, chosen.position] : [chosen.position, best];
      say(`Layer ${state.layer + 1}, ${headName(state.layer, state.head)}: ` + (chosen.side
        ? `${nameOf(key)} gets most from ${nameOf(query)}: ${shown(most)}` : `${nameOf(query)} looks most at ${nameOf(key)}: ${shown(most)}`));
    };
    svg.addEventListener("pointerleave", () => light(state.pinned));
    stage.replaceChildren(svg);
    legend.replaceChildren();
    legend.textContent = order.length >= MOST_LINES ? `The ${MOST_LINES} heaviest lines are drawn; a token you point at shows all of its own.` : "The wider a line, the larger the weight.";
    light(state.pinned);
    stage.move = (step) => {
      const before = state.pinned === null ? { side: 0, position: step > 0 ? -1 : count } : state.pinned;
      state.pinned = { side: before.side, position: Math.max(0, Math.min(count - 1, before.position + step)) };
      light(state.pinned);
    };
  };

  // --- the matrix ----------------------------------------------------------------------------------------------------

  const drawMatrix = () => {
    const weights = weightsNow(), width = stage.clientWidth, most = maxOf(weights);
    const [row0, column0, size] = state.window || [0, 0, count];
    const labelled = size <= MOST_NAMED, widest = labelled ? Math.max(...tokens.map((token) => measured(token, `600 13px ${FONT}`))) : 0;
    const edge = labelled ? Math.min(150, width * 0.3, widest + 14) : 48, head = labelled ? Math.min(110, widest + 14) : 26;
    const cell = labelled ? Math.max(LEAST_CELL, Math.min(30, (width - edge - 4) / size)) : (width - edge - 4) / size, span = size * cell;
    const [element, pen] = canvas(edge + span + 2, head + span + 2, "heat map: rows look, columns are looked at");
    const part = new Float32Array(size * size);
    for (let r = 0; r < size; r++) for (let c = 0; c < size; c++) part[r * size + c] = weights[(row0 + r) * count + column0 + c];
    const image = bitmap(part, size, size, rgb("--s0"), (weight) => depth(weight, most));
    const fontSize = Math.min(13, Math.max(9, cell * 0.82));
    const label = (position, isLit) => {
      pen.font = `${isLit ? 600 : 400} ${fontSize}px ${FONT}`;
      pen.fillStyle = data.special[position] && !isLit ? colour("--quiet") : colour("--ink");
      return fitted(tokens[position], (labelled ? head : 40) - 8, pen.font);
    };
    const paint = () => {
      pen.clearRect(0, 0, edge + span + 2, head + span + 2);
      pen.fillStyle = colour("--soft");
      pen.fillRect(edge, head, span, span);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(image, edge, head, span, span);
      const lit = state.hover || state.pinned && state.pinned.cell || null;
      pen.textBaseline = "middle";
      const step = labelled ? 1 : Math.max(1, Math.ceil(46 / cell));
      for (let i = 0; i < size; i += step) {
        pen.textAlign = "right";
        const text = label(row0 + i, lit !== null && lit[0] === row0 + i);
        if (labelled) pen.fillText(fitted(tokens[row0 + i], edge - 8, pen.font), edge - 6, head + (i + 0.5) * cell);
        else pen.fillText(data.kind === "audio" ? text : String(row0 + i + 1), edge - 6, head + (i + 0.5) * cell);
        pen.save();
        pen.translate(edge + (i + 0.5) * cell, head - 6);
        if (labelled) pen.rotate(-Math.PI / 2);
        pen.textAlign = labelled ? "left" : "center";
        const over = label(column0 + i, lit !== null && lit[1] === column0 + i);
        pen.fillText(labelled || data.kind === "audio" ? over : String(column0 + i + 1), 0, labelled ? 0 : -4);
        pen.restore();
      }
      if (lit === null) return;
      pen.strokeStyle = colour("--s1");
      pen.lineWidth = 1.5;
      const y = head + (lit[0] - row0) * cell, x = edge + (lit[1] - column0) * cell;
      pen.strokeRect(edge, y, span, cell);
      pen.strokeRect(x, y, cell, cell);
    };
    const at = (event) => {
      const frame = element.getBoundingClientRect();
      const c = Math.floor((event.clientX - frame.left - edge) / cell), r = Math.floor((event.clientY - frame.top - head) / cell);
      return r < 0 || c < 0 || r >= size || c >= size ? null : [row0 + r, column0 + c];
    };
    const point = (where) => {
      state.hover = where;
      paint();
      if (where === null) idle();
      else sayPair(where[0], where[1], weights[where[0] * count + where[1]]);
    };
    element.addEventListener("pointermove", (event) => point(at(event)));
    element.addEventListener("pointerleave", () => point(null));
    element.addEventListener("click", (event) => {
      const where = at(event);
      if (where === null || labelled || state.window) return;
      const clip = (middle) => Math.max(0, Math.min(count - ZOOM, middle - ZOOM / 2));
      state.window = [clip(where[0]), clip(where[1]), Math.min(ZOOM, count)];
      render();
    });
    stage.replaceChildren(element);
    whole.hidden = state.window === null;
    scaleText(0, most);
    state.hover = null;
    paint();
    if (labelled) idle();
    else say(`${count} positions are too many to name them all: tap a place to see ${ZOOM} of them around it.`);
    stage.move = (step) => point([Math.max(0, Math.min(count - 1, (state.hover ? state.hover[0] : -1) + step)), state.hover ? state.hover[1] : 0]);
  };

  // --- over a picture or a clip --------------------------------------------------------------------------------------

  const picture = new Image();
  const [gridRows, gridColumns] = data.grid;
  const overPicture = (pen, row, wide, high) => {
    const patches = row.subarray(data.prefix), least = minOf(patches), most = maxOf(patches);
    pen.fillStyle = colour("--soft");
    pen.fillRect(0, 0, wide, high);
    if (picture.complete && picture.naturalWidth) {
      pen.imageSmoothingEnabled = picture.naturalWidth >= wide / 2;
      pen.drawImage(picture, 0, 0, wide, high);
    }
    pen.imageSmoothingEnabled = false;
    pen.globalAlpha = 0.72;
    pen.drawImage(bitmap(patches, gridColumns, gridRows, WARM, (weight) => most > least ? (weight - least) / (most - least) : 0), 0, 0, wide, high);
    pen.globalAlpha = 1;
  };
  const drawPicture = () => {
    const weights = weightsNow(), row = rowOf(weights, state.query);
    const wide = data.kind === "audio" ? stage.clientWidth : Math.min(stage.clientWidth, 460);
    const high = data.kind === "audio" ? 150 : Math.round(wide * data.aspect);
    const axis = data.kind === "audio" ? 22 : 0;
    const [element, pen] = canvas(wide, high + axis, "where the chosen position looks, warm for much");
    const cellWide = wide / gridColumns, cellHigh = high / gridRows;
    const paint = () => {
      overPicture(pen, row, wide, high);
      const outline = (position, ink, thick) => {
        if (position === null || position < data.prefix) return;
        const patch = position - data.prefix;
        pen.strokeStyle = ink;
        pen.lineWidth = thick;
        pen.strokeRect((patch % gridColumns) * cellWide, Math.floor(patch / gridColumns) * cellHigh, cellWide, cellHigh);
      };
      outline(state.hover, colour("--paper"), 1.5);
      outline(state.query, colour("--s0"), 3);
      if (!axis) return;
      pen.clearRect(0, high, wide, axis);
      pen.font = `12px ${FONT}`;
      pen.fillStyle = colour("--quiet");
      pen.textBaseline = "top";
      for (let i = 0; i <= 4; i++) {
        pen.textAlign = i === 0 ? "left" : i === 4 ? "right" : "center";
        pen.fillText(`${(data.seconds * i / 4).toFixed(2)} s`, wide * i / 4, high + 6);
      }
    };
    const at = (event) => {
      const frame = element.getBoundingClientRect();
      const c = Math.floor((event.clientX - frame.left) / cellWide), r = Math.floor((event.clientY - frame.top) / cellHigh);
      return r < 0 || c < 0 || r >= gridRows || c >= gridColumns ? null : data.prefix + r * gridColumns + c;
    };
    element.addEventListener("pointermove", (event) => {
      state.hover = at(event);
      paint();
      if (state.hover !== null) sayPair(state.query, state.hover, row[state.hover]);
    });
    element.addEventListener("pointerleave", () => { state.hover = null; paint(); idle(); });
    element.addEventListener("click", (event) => { const where = at(event); if (where !== null) { state.query = where; fromBox.value = "place"; render(); } });
    stage.replaceChildren(element);
    scaleText(minOf(row.subarray(data.prefix)), maxOf(row.subarray(data.prefix)));
    paint();
    idle();
    stage.move = (step) => { state.query = Math.max(data.prefix, Math.min(count - 1, Math.max(state.query, data.prefix - 1) + step)); fromBox.value = "place"; render(); };
  };

  // --- all heads -----------------------------------------------------------------------------------------------------

  const thumb = (layer, head, side) => {
    const weights = matrix(layer, head);
    const [element, pen] = canvas(side, side, "");
    element.setAttribute("aria-hidden", "true");
    pen.fillStyle = colour("--soft");
    pen.fillRect(0, 0, side, side);
    if (data.kind === "image") {
      overPicture(pen, rowOf(weights, state.query), side, side);
      return element;
    }
    const size = Math.min(count, 2 * side), small = new Float32Array(size * size);
    for (let q = 0; q < count; q++) for (let k = 0; k < count; k++) {
      const i = Math.floor(q * size / count) * size + Math.floor(k * size / count), weight = weights[q * count + k];
      if (weight > small[i]) small[i] = weight;
    }
    pen.imageSmoothingEnabled = size > side;
    const most = maxOf(small);
    pen.drawImage(bitmap(small, size, size, rgb("--s0"), (weight) => depth(weight, most)), 0, 0, side, side);
    return element;
  };
  const drawHeads = () => {
    const widest = Math.max(...data.heads) + 2, side = Math.max(44, Math.min(96, Math.floor((stage.clientWidth - 66) / widest) - 10));
    const table = document.createElement("div");
    table.className = "heads";
    for (let layer = 0; layer < data.heads.length; layer++) {
      const line = document.createElement("div"), name = document.createElement("span");
      name.textContent = `Layer ${layer + 1}`;
      line.append(name);
      for (let head = 0; head < data.heads[layer] + 2; head++) {
        const button = document.createElement("button"), caption = document.createElement("small");
        button.type = "button";
        button.setAttribute("aria-label", `layer ${layer + 1}, ${headName(layer, head)}`);
        if (layer === state.layer && head === state.head) button.setAttribute("aria-current", "true");
        caption.textContent = head < data.heads[layer] ? String(head + 1) : head === data.heads[layer] ? "mean" : "rollout";
        button.append(thumb(layer, head, side), caption);
        button.addEventListener("click", () => { state.layer = layer; state.head = head; choose(data.kind === "text" ? "lines" : "picture"); });
        line.append(button);
      }
      table.append(line);
    }
    stage.replaceChildren(table);
    legend.replaceChildren();
    legend.textContent = `Each has its own scale, ${data.kind === "image" ? "from its smallest" : "from 0"} to its largest weight. Tap one to see it large.`;
    say(data.kind === "image" ? `Where ${nameOf(state.query)} ${state.query === EVERY ? "look" : "looks"}, in every layer and head.` : "Rows look, columns are looked at, in every layer and head.");
    stage.move = null;
  };

  // --- the controls --------------------------------------------------------------------------------------------------

  const VIEWS = { lines: drawLines, matrix: drawMatrix, picture: drawPicture, heads: drawHeads };
  const fill = (element, names) => element.replaceChildren(...names.map(([value, text]) => {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = text;
    return option;
  }));
  const render = () => {
    fill(headBox, [...Array(data.heads[state.layer] + 2).keys()].map((head) => [head, headName(state.layer, head).replace(/^./, (sign) => sign.toUpperCase())]));
    layerBox.value = state.layer;
    headBox.value = state.head;
    if (fromBox) {
      fromBox.options[fromBox.options.length - 1].textContent = state.query >= data.prefix ? tokens[state.query] : "a place: tap it";
      fromBox.value = state.query >= data.prefix ? "place" : state.query;
      fromBox.closest("label").hidden = state.view === "matrix" || (state.view === "heads" && data.kind !== "image");
    }
    for (const label of [layerBox.closest("label"), headBox.closest("label")]) label.hidden = state.view === "heads";
    whole.hidden = true;
    state.hover = null;
    VIEWS[state.view]();
  };
  const choose = (view) => {
    state.view = view;
    state.window = null;
    for (const radio of box.querySelectorAll("input[name=view]")) radio.checked = radio.value === view;
    render();
  };
  fill(layerBox, data.heads.map((_, layer) => [layer, `Layer ${layer + 1}`]));
  if (fromBox) {
    const prefix = [...Array(data.prefix).keys()].map((position) => [position, tokens[position]]);
    fill(fromBox, [...prefix, [EVERY, data.every], ["place", "a place: tap it"]]);
    fromBox.addEventListener("change", () => { state.query = fromBox.value === "place" ? data.prefix : Number(fromBox.value); render(); });
  }
  layerBox.addEventListener("change", () => {
    const kind = state.head - data.heads[state.layer];
    state.layer = Number(layerBox.value);
    state.head = kind >= 0 ? data.heads[state.layer] + kind : Math.min(state.head, data.heads[state.layer] - 1);
    render();
  });
  headBox.addEventListener("change", () => { state.head = Number(headBox.value); render(); });
  whole.addEventListener("click", () => { state.window = null; render(); });
  for (const radio of box.querySelectorAll("input[name=view]")) radio.addEventListener("change", () => choose(radio.value));
  stage.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && stage.move) { event.preventDefault(); stage.move(step); }
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  let width = 0;
  new ResizeObserver(() => { if (stage.clientWidth !== width) { width = stage.clientWidth; render(); } }).observe(stage);
  picture.addEventListener("load", render);
  box.hidden = false;
  if (data.picture) picture.src = data.picture;
  choose(state.view);
})();

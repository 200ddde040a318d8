"use strict";
// Copies commands, and shows one layer at a time out of the page's JSON: no library, nothing but text and SVG elements.
const SVG = "http://www.w3.org/2000/svg", SIZE = 240, EDGE = { left: 46, right: 8, top: 22, bottom: 34 }, ROWS = 12;

const build = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const html = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => build(document.createElementNS(SVG, tag), attributes, children);
const words = (x) => (x === null || x === undefined ? "–" : Number.isInteger(x) ? `${x}` : `${Number(x.toPrecision(3))}`);
const button = (text, action) => {
  const made = html("button", { type: "button" }, text);
  made.addEventListener("click", action);
  return made;
};

function axis(low, high, length) {
  if (!(high > low)) [low, high] = [low - 0.5 || -0.5, low + 0.5 || 0.5];
  const raw = (high - low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= high / step + 1e-9; i++) ticks.push(i * step);
  return { at: (value) => ((value - low) / (high - low)) * length, ticks };
}

function frame(title, summary, x, y, below, above) {
  const base = SIZE - EDGE.bottom, drawing = svg("svg", { viewBox: `0 0 ${SIZE + 40} ${SIZE}`, role: "img", "aria-label": `${title}: ${summary}` });
  const width = SIZE + 40 - EDGE.left - EDGE.right;
  for (const tick of y.ticks) {
    const at = base - y.at(tick);
    drawing.append(svg("path", { class: "grid", d: `M${EDGE.left} ${at}h${width}` }));
    drawing.append(svg("text", { class: "tick", x: EDGE.left - 5, y: at, dy: ".32em" }, words(tick)));
  }
  for (const tick of x.ticks) drawing.append(svg("text", { class: "below", x: EDGE.left + x.at(tick), y: base + 15 }, words(tick)));
  drawing.append(svg("path", { class: "axis", d: `M${EDGE.left} ${base}h${width}` }));
  drawing.append(svg("text", { class: "below", x: EDGE.left + width / 2, y: SIZE - 3 }, below), svg("text", { x: 4, y: 11 }, above));
  return { drawing, base, figure: html("figure", {}, html("figcaption", {}, title), drawing) };
}

const plotWidth = SIZE + 40 - EDGE.left - EDGE.right, plotHeight = SIZE - EDGE.top - EDGE.bottom;

function scatter(spec, columns) {
  const points = columns[spec.x].map((x, i) => [x, columns[spec.y][i], columns.channel[i]]).filter(([x, y]) => x !== null && y !== null);
  if (!points.length) return null;
  const span = (values) => { const low = Math.min(...values), high = Math.max(...values), room = (high - low) * 0.04; return [low - room, high + room]; };
  const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]), both = span([...xs, ...ys]);
  const x = axis(...(spec.diagonal ? both : span(xs)), plotWidth), y = axis(...(spec.diagonal ? both : span(ys)), plotHeight);
  const { drawing, base, figure } = frame(spec.title, `${spec.y} against ${spec.x} of ${points.length} channels`, x, y, spec.x, spec.y);
  if (spec.diagonal) drawing.append(svg("path", { class: "diagonal", d: `M${EDGE.left + x.at(both[0])} ${base - y.at(both[0])}L${EDGE.left + x.at(both[1])} ${base - y.at(both[1])}` }));
  points.map((point, i) => [point, i]).reverse().forEach(([[px, py, channel], i]) => drawing.append(
    svg("circle", { class: i < 3 ? "dot worst" : "dot", cx: EDGE.left + x.at(px), cy: base - y.at(py), r: 3 },
      svg("title", {}, `channel ${channel}: ${spec.x} ${words(px)}, ${spec.y} ${words(py)}`))));
  return figure;
}

function histogram(spec) {
  const most = Math.max(...spec.counts, 1), x = axis(spec.low, spec.high, plotWidth), y = axis(0, most * 1.05, plotHeight);
  const { drawing, base, figure } = frame(spec.title, `${spec.counts.length} bins from ${words(spec.low)} to ${words(spec.high)}`, x, y, spec.unit, "channels");
  const width = plotWidth / spec.counts.length;
  spec.counts.forEach((count, i) => drawing.append(svg("rect", { class: "bar s1", x: EDGE.left + i * width + 0.5, y: base - y.at(count), width: width - 1, height: y.at(count) },
    svg("title", {}, `${count} channels`))));
  if (spec.agreement !== null) drawing.append(svg("path", { class: "diagonal", d: `M${EDGE.left + x.at(spec.agreement)} ${base}v${-plotHeight}` }));
  return figure;
}

function table(layer, columns, rows) {
  const titles = Object.keys(columns), size = columns[titles[0]].length, shown = Math.min(rows, size);
  const head = html("tr", {}, ...titles.map((title) => html("th", { scope: "col", class: "right" }, title)));
  const body = Array.from({ length: shown }, (_, i) => html("tr", {}, ...titles.map((title) => html("td", { class: "right" }, words(columns[title][i])))));
  const made = html("table", {}, html("caption", {}, `Worst channels: ${shown} of ${size + layer.hidden}`), html("thead", {}, head), html("tbody", {}, ...body));
  const box = html("div", {}, html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Worst channels" }, made));
  if (shown < size) box.append(button(`Show ${size} channels`, () => box.replaceWith(table(layer, columns, size))));
  return box;
}

function beside(layer, anchors) {
  const op = ([name, kind]) => html("span", {}, anchors.has(name) ? html("a", { href: `#layer-${anchors.get(name)}` }, name) : name, html("small", {}, ` ${kind}`));
  const step = (ops) => html("li", {}, ...ops.map(op));
  return html("ol", { class: "beside", "aria-label": "Beside it in the network" }, ...layer.before.map(step),
    html("li", { class: "this" }, html("span", {}, layer.name)), ...layer.after.map(step));
}

function panel(layer, { titles, scatters }, anchors) {
  const columns = Object.fromEntries(titles.map((title, i) => [title, layer.columns[i]]));
  const facts = html("dl", {}, ...layer.facts.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
  const figures = scatters.map((spec) => scatter(spec, columns)).concat(layer.histogram ? [histogram(layer.histogram)] : []).filter(Boolean);
  return [...(layer.before.length + layer.after.length ? [beside(layer, anchors)] : []),
    facts, html("div", { class: "small" }, ...figures), titles.length ? table(layer, columns, ROWS) : html("p", {}, "Nothing is known of its channels.")];
}

function layers(section, data) {
  const select = html("select", { "aria-label": "Layer" }, ...data.layers.map((layer, i) => html("option", { value: i }, layer.name)));
  const step = (by) => { const next = Number(select.value) + by; if (data.layers[next]) location.hash = `layer-${next}`; };
  const back = button("Previous", () => step(-1)), forth = button("Next", () => step(1)), title = html("h3", { "aria-live": "polite" }), parts = html("div", { class: "parts" });
  section.querySelector(".legend").replaceWith(html("p", { class: "legend" }, "Choose a layer here, in the charts or in the tables; the arrow keys go on to the next. The orange points are the worst channels."),
    html("div", { class: "choose" }, select, back, forth), html("div", { class: "panel" }, title, parts));
  const anchors = new Map(data.layers.map((layer, i) => [layer.name, i]));
  const show = (index) => {
    select.value = index;
    back.disabled = index === 0;
    forth.disabled = index === data.layers.length - 1;
    const layer = data.layers[index];
    title.textContent = `${layer.name}, ${layer.kind}`;
    parts.replaceChildren(...panel(layer, data.views[layer.view], anchors));
    for (const hit of document.querySelectorAll(".hit[data-layer]")) hit.classList.toggle("chosen", Number(hit.dataset.layer) === index);
  };
  const follow = () => {
    const index = Number(/^#layer-(\d+)$/.exec(location.hash)?.[1] ?? -1);
    if (!data.layers[index]) return;
    show(index);
    section.scrollIntoView({ block: "nearest" });
    if (!section.contains(document.activeElement)) section.focus({ preventScroll: true });
  };
  select.addEventListener("change", () => { location.hash = `layer-${select.value}`; });
  section.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.closest("select, .scroll")) return;
    event.preventDefault();
    step(by);
  });
  document.addEventListener("click", (event) => { const hit = event.target.closest?.(".hit[data-layer]"); if (hit) location.hash = `layer-${hit.dataset.layer}`; });
  addEventListener("hashchange", follow);
  show(Math.max(data.focus, 0));
  follow();
}

for (const copy of document.querySelectorAll("button.copy")) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    const code = copy.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
  });
}
const block = document.getElementById("data");
if (block) layers(document.getElementById("layer"), JSON.parse(block.textContent));

// Draw the chart of scores and the curves of a window as SVG. No library, no strings of HTML.

const SVG = "http://www.w3.org/2000/svg";

function node(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

export function number(value) {
  if (value === null || value === undefined) return "-";
  return Number(value.toPrecision(4)).toString();
}

// The seconds of the history are [at, low, high, threshold, worst, items].
export function drawChart(svg, seconds, now, spanS, texts) {
  const box = svg.getBoundingClientRect();
  const width = Math.max(240, Math.round(box.width)), height = Math.max(120, Math.round(box.height));
  const left = 52, right = 10, top = 16, bottom = 34;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const shown = seconds.filter((one) => one[0] > now - spanS);
  const scored = shown.filter((one) => one[2] !== null);
  const children = [];
  const x = (at) => left + (width - left - right) * (1 - (now - at) / spanS);
  children.push(node("path", { class: "axis", d: `M${left} ${top} V${height - bottom} H${width - right}` }));
  for (let minutes = spanS / 60; minutes >= 0; minutes -= spanS / 120) {
    const label = minutes === 0 ? texts.now : texts.ago.replace("{minutes}", minutes);
    const anchor = minutes === 0 ? "end" : minutes === spanS / 60 ? "start" : "middle";
    children.push(node("text", { x: x(now - minutes * 60), y: height - 4, "text-anchor": anchor }, label));
  }
  let threshold = null;
  for (const one of shown) if (one[3] !== null) threshold = one[3];
  if (scored.length) {
    let low = Infinity, high = -Infinity;
    for (const one of scored) { low = Math.min(low, one[1]); high = Math.max(high, one[2]); }
    const limit = threshold === null ? high : threshold;
    const unit = Math.max(limit - low, Math.abs(limit) * 0.05, 1e-9);
    const floor = low - 0.08 * unit;
    const ceiling = Math.min(Math.max(high, limit + 0.25 * unit), limit + unit) + 0.05 * unit;
    const y = (value) => top + (height - top - bottom) * (1 - (Math.min(value, ceiling) - floor) / (ceiling - floor));
    // a line through the highest scores, and a bar from the lowest to the highest of each second
    let path = "", bars = "", before = null;
    for (const one of scored) {
      const at = x(one[0]).toFixed(1), lowest = y(one[1]).toFixed(1), highest = y(one[2]).toFixed(1);
      path += `${before !== null && one[0] - before < 15 ? "L" : "M"}${at} ${highest}h.1`;
      if (lowest !== highest) bars += `M${at} ${lowest}V${highest}`;
      before = one[0];
    }
    children.push(node("path", { class: "bars", d: bars, "stroke-width": Math.max(1, (width - left - right) / spanS).toFixed(2) }));
    children.push(node("path", { class: "scores", d: path }));
    if (threshold !== null) {
      const steps = scored.filter((one) => one[3] !== null);
      let line = `M${left} ${y(steps[0][3]).toFixed(1)}`;
      let held = steps[0][3];
      for (const one of steps) if (one[3] !== held) { line += `H${x(one[0]).toFixed(1)}V${y(one[3]).toFixed(1)}`; held = one[3]; }
      children.push(node("path", { class: "limit", d: `${line}H${width - right}` }));
      children.push(node("text", { x: left + 6, y: y(threshold) - 5 }, `${texts.threshold} ${number(threshold)}`));
    }
    children.push(node("text", { x: left - 6, y: y(floor), "text-anchor": "end" }, number(floor)));
    children.push(node("text", { x: left - 6, y: top + 6, "text-anchor": "end" }, number(ceiling)));
    for (const one of scored) {
      const at = x(one[0]), over = y(one[2]);
      if (one[4] === "REJECT") children.push(node("rect", { class: "REJECT", x: at - 4, y: over - 4, width: 8, height: 8 }));
      if (one[4] === "REVIEW") children.push(node("path", { class: "REVIEW", d: `M${at} ${over - 5}l5 5-5 5-5-5Z` }));
    }
  }
  for (const one of shown) {
    if (one[4] === "INVALID") children.push(node("path", { class: "INVALID", d: `M${x(one[0])} ${height - bottom - 9}l5 9h-10Z` }));
  }
  svg.replaceChildren(...children);
  const rejects = shown.filter((one) => one[4] === "REJECT").length, invalid = shown.filter((one) => one[4] === "INVALID").length;
  const highest = scored.reduce((most, one) => Math.max(most, one[2]), -Infinity);
  const summary = scored.length
    ? texts.summary.replace("{high}", number(highest)).replace("{threshold}", number(threshold)).replace("{rejects}", rejects).replace("{invalid}", invalid)
    : texts.empty;
  if (svg.getAttribute("aria-label") !== summary) svg.setAttribute("aria-label", summary);
}

// Each curve has the lowest and the highest value of each piece, so that no short peak is lost.
export function drawCurves(place, curves, shareText) {
  const rows = curves.map((curve) => {
    const row = document.createElement("div");
    row.className = "curve";
    const label = document.createElement("div");
    label.append(curve.unit ? `${curve.name} [${curve.unit}]` : curve.name);
    if (curve.share !== null && curve.share !== undefined) {
      const share = document.createElement("span");
      share.className = "share";
      share.textContent = shareText.replace("{share}", Math.round(100 * curve.share));
      label.append(share);
    }
    const values = curve.low.concat(curve.high).filter((one) => one !== null);
    const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
    const svg = node("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": `${curve.name}: ${number(values.length ? low : null)} to ${number(values.length ? high : null)}` });
    if (curve.share) svg.append(node("rect", { x: 0, y: 0, width: 1000 * curve.share, height: 100 }));
    const y = (value) => (95 - (90 * (value - low)) / span).toFixed(1);
    let path = "", pen = false;
    curve.low.forEach((value, at) => {
      if (value === null) { pen = false; return; }
      const x = ((1000 * at) / Math.max(1, curve.low.length - 1)).toFixed(1);
      path += `${pen ? "L" : "M"}${x} ${y(value)}V${y(curve.high[at])}`;
      pen = true;
    });
    svg.append(node("path", { d: path }));
    row.append(label, svg);
    return row;
  });
  place.classList.toggle("few", rows.length <= 5);
  place.replaceChildren(...rows);
}

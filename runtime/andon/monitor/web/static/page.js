// Fill the page with the messages of the monitor. All names and texts are set as text, never as HTML.

import { drawChart, drawCurves, number } from "/static/drawing.js";
import { askQuestions, countQuestions } from "/static/questions.js";

const SPAN_S = 600;
const SILENCE_MS = 5000;
const meta = (name) => document.querySelector(`meta[name="andon-${name}"]`).content;
const TEXTS = JSON.parse(meta("texts"));
const MAY_ACT = meta("may-act") === "yes";
const byId = (id) => document.getElementById(id);

function text(key, values = {}) {
  let found = TEXTS[key] ?? key;
  for (const [name, value] of Object.entries(values)) found = found.replaceAll(`{${name}}`, value);
  return found;
}

function duration(seconds) {
  if (seconds < 99.5) return text("unit.seconds", { number: Math.round(seconds) });
  if (seconds < 5940) return text("unit.minutes", { number: Math.round(seconds / 60) });
  return text("unit.hours", { number: Math.round(seconds / 3600) });
}

function clockTime(iso, withSeconds = false) {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (withSeconds) options.second = "2-digit";
  return new Date(iso).toLocaleTimeString(undefined, options);
}

// A screen reader announces a text only when it changes, so it is not set again without need.
function put(root, field, value) {
  const place = root.querySelector(`[data-field="${field}"]`);
  if (place && place.textContent !== String(value)) place.textContent = value;
}

function putShape(root, field, shape) {
  const use = root.querySelector(`[data-field="${field}"]`);
  if (!use) return;
  use.setAttribute("href", `#shape-${shape}`);
  use.parentNode.dataset.shape = shape;
}

function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function shape(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "shape small");
  svg.setAttribute("aria-hidden", "true");
  svg.dataset.shape = name;
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#shape-${name}`);
  svg.append(use);
  return svg;
}

// ---------------------------------------------------------------- what a person does

let saying = 0;

function say(message) {
  byId("message").textContent = message;
  clearTimeout(saying);
  saying = setTimeout(() => { byId("message").textContent = ""; }, 8000);
}

function person() {
  const field = byId("person");
  if (!field) return meta("person");  // the name of the login
  const name = field.value.trim();
  if (!name) { say(text("page.person_needed")); field.focus(); }
  return name;
}

async function act(name, body) {
  const by = person();
  if (!by) return false;
  let answer;
  try {
    answer = await fetch(`/act/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Andon-CSRF": meta("csrf") },
      body: JSON.stringify({ ...body, by }),
    });
  } catch {
    say(text("page.refused", { error: "-" }));
    return false;
  }
  if (answer.ok) { say(text("page.done")); return true; }
  const error = (await answer.text()).trim().slice(0, 300) || String(answer.status);
  say(text("page.refused", { error }));
  return false;
}

let shelving = null;

function openShelf(line, alarm) {
  shelving = { line, alarm };
  byId("shelf-form").reset();
  byId("shelf").showModal();
}

function setUpActions() {
  const field = byId("person");
  if (field) {
    try { field.value = localStorage.getItem("andon-person") ?? ""; } catch { /* storage may be blocked */ }
    field.addEventListener("change", () => { try { localStorage.setItem("andon-person", field.value.trim()); } catch { /* see above */ } });
  }
  const form = byId("shelf-form");
  if (form) {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const entered = new FormData(form);
      byId("shelf").close();
      await act("shelve", { ...shelving, seconds: Number(entered.get("seconds")), reason: String(entered.get("reason")) });
    });
    byId("shelf-cancel").addEventListener("click", () => byId("shelf").close());
  }
  for (const button of document.querySelectorAll("[data-act]")) {
    button.addEventListener("click", async () => {
      const last = lineState?.last;
      if (!last) return;
      // the item at the time of the click: a newer one may arrive while the request is under way
      const { seq, item } = last;
      if (await act("confirm-item", { line: lineState.name, seq, item, truth: button.dataset.act })) say(`${text(`item.noted_${button.dataset.act}`)}: ${item}`);
    });
  }
  for (const button of document.querySelectorAll("[data-propose], [data-swap]")) {
    button.addEventListener("click", async () => {
      const line = button.closest("[data-line]").dataset.line;
      const done = button.dataset.swap ? await act("swap", { line, digest: button.dataset.swap }) : await act("propose", { line });
      if (done) location.reload();
    });
  }
  // a proposal takes some seconds
  if (document.querySelector("[data-running]")) setTimeout(() => location.reload(), 1500);
  for (const button of document.querySelectorAll("[data-confirm]")) {
    button.addEventListener("click", async () => {
      const place = button.closest("[data-event]");
      const body = { line: place.dataset.line, event: Number(place.dataset.event), truth: button.dataset.confirm };
      if (await act("confirm-event", body)) say(text(`item.noted_${button.dataset.confirm}`));
    });
  }
}

// ---------------------------------------------------------------- what all views of a line have

// The subject of the signal: the alarms, the state of the source, or the lamps.
function why(line) {
  const condition = { alarm: "unack", acked: "acked", returned: "rtn_unack" }[line.signal];
  const named = () => line.alarms.filter((one) => one.condition === condition && one.shelved_s === null).map((one) => text(`alarm.${one.name}`)).join(", ");
  if (condition) return line.signal === "returned" ? text("alarm.not_acknowledged", { alarms: named() }) : named();
  if (line.signal === "fault") return text(`state.${line.state}`);
  if (line.signal === "idle" && line.state !== "running") return text(`state.${line.state}`);
  if (line.signal === "notice") return line.lamps.filter((lamp) => !lamp.ok).map((lamp) => text(`lamp.${lamp.name}`, { of: lamp.of })).join(", ");
  return "";
}

function showCommon(root, line) {
  if (root.dataset.signal !== line.signal) root.dataset.signal = line.signal;
  putShape(root, "signal-shape", line.signal);
  put(root, "signal", text(`signal.${line.signal}`));
  put(root, "why", why(line));
  const shelved = line.alarms.filter((one) => one.shelved_s !== null).length;
  put(root, "shelved", shelved ? text("alarm.number_shelved", { number: shelved }) : "");
  const last = line.last;
  const status = last ? last.status : "none";
  put(root, "status", text(`status.${status}`));
  putShape(root, "status-shape", last ? last.status : "idle");
  const verdict = root.querySelector(".verdict");
  verdict.dataset.status = last ? last.status : "OK";
  verdict.dataset.stale = last && last.stale ? "yes" : "no";
  const age = root.querySelector('[data-field="age"]');
  put(root, "age", last ? text(last.stale ? "item.stale" : "item.age", { age: duration(last.age_s) }) : "");
  age.classList.toggle("old", Boolean(last && last.stale));
  put(root, "reason", line.failure || (last && last.reason) || "");
  for (const [name, count] of Object.entries(line.shift)) put(root, `shift-${name}`, count);
}

// ---------------------------------------------------------------- one line

let lineState = null;
let history = new Map();
let picture = null;
let pictureUrl = null;
let storedSeen = null;
let listing = false;
let oldestEvent = null;

function showLine(root, line) {
  lineState = line;
  showCommon(root, line);
  put(root, "state", text(`state.${line.state}`));
  put(root, "model", `${line.model_name} ${line.model}`);
  const last = line.last;
  put(root, "score", last && last.score !== null ? text("item.score", { score: number(last.score), threshold: number(last.threshold) }) : "");
  put(root, "channel", last && last.channel ? text("item.channel", { channel: last.channel }) : "");
  put(root, "item", last ? last.item : "");
  for (const button of root.querySelectorAll("[data-act]")) button.disabled = !last;
  for (const [name, count] of Object.entries(line.total)) put(root, `total-${name}`, count);
  put(root, "dropped", line.dropped);
  put(root, "shift-since", text(line.shift_whole ? "counts.since" : "counts.partial", { time: clockTime(line.shift_since) }));
  put(root, "total-since", text("counts.since", { time: clockTime(line.total_since) }));
  put(root, "picture-title", text(`picture.${line.kind}`));
  showPromise(root, line.promise);
  showAlarms(line);
  showLamps(line.lamps);
  for (const second of line.newest) history.set(second[0], second);
  for (const at of history.keys()) if (at <= line.now - SPAN_S) history.delete(at);
  drawHistory(line.now);
  showPictureAge();
}

function drawHistory(now) {
  const seconds = [...history.values()].sort((one, other) => one[0] - other[0]);
  drawChart(byId("chart"), seconds, now, SPAN_S, {
    now: text("chart.now"), ago: text("chart.ago"), threshold: text("chart.threshold"), summary: text("chart.summary"), empty: text("chart.empty"),
  });
}

function showPromise(root, promise) {
  const bar = byId("promise-bar");
  if (!promise) { put(root, "promise", text("promise.none")); return; }
  put(root, "promise", promise.sentence);
  const values = { rejects: promise.rejects, judged: promise.judged, unit: promise.unit, allowed: number(promise.allowed) };
  put(root, "promise-used", `${text(promise.promised ? "promise.used" : "promise.one", values)} ${text("promise.all", values)}`);
  bar.toggleAttribute("hidden", !promise.promised || promise.judged === 0);
  bar.querySelector(".used").setAttribute("width", 100 * Math.min(2, promise.allowed > 0 ? promise.rejects / promise.allowed : 2));
  bar.classList.toggle("bad", promise.exceeded);
  let finding = "";
  if (promise.exceeded) finding = text("promise.exceeded");
  else if (promise.promised && promise.judged && promise.rejects <= promise.allowed) finding = text("promise.within");
  put(root, "promise-finding", finding);
  root.querySelector('[data-field="promise-finding"]').classList.toggle("bad", promise.exceeded);
}

// The rows are made again only if something other than an age has changed, so that the focus stays on a button.
let alarmKey = "";

function showAlarms(line) {
  const alarms = line.alarms.filter((one) => one.condition !== "normal" || one.shelved_s !== null);
  const drifting = line.lamps.filter((lamp) => lamp.name === "drift" && !lamp.ok);
  const key = JSON.stringify([line.alarms.map((one) => [one.name, one.condition, one.number, one.occurrence, one.shelved_s !== null, one.shelf_reason]), drifting.map((lamp) => lamp.of)]);
  if (key !== alarmKey) {
    alarmKey = key;
    const rows = alarms.map((one) => alarmRow(line, one));
    if (drifting.length) rows.push(driftRow(line, drifting));
    if (!rows.length) rows.push(made("li", {}, text("alarm.quiet")));
    byId("alarms").replaceChildren(...rows);
  }
  for (const one of alarms) {
    const place = document.querySelector(`[data-alarm="${CSS.escape(one.name)}"] .age`);
    if (!place) continue;
    place.textContent = one.shelved_s !== null
      ? text("alarm.shelved", { age: duration(one.shelved_s), reason: one.shelf_reason, by: one.shelf_by })
      : one.raised_age_s === null ? "" : text("alarm.raised", { age: duration(one.raised_age_s) });
  }
}

function alarmRow(line, alarm) {
  const shelved = alarm.shelved_s !== null;
  const signs = { unack: "alarm", acked: "acked", rtn_unack: "returned", normal: "quiet" };
  const name = `${text(`alarm.${alarm.name}`)} ${alarm.number ? `#${alarm.number}` : ""}`;
  const head = made("p", { class: "row-head" }, shape(shelved ? "shelved" : signs[alarm.condition]), name, made("span", {}, text(`alarm.${alarm.condition}`)));
  const times = alarm.occurrence > 1 ? ` ${text("alarm.repeated", { number: alarm.occurrence })}` : "";
  const row = made("li", { "data-alarm": alarm.name }, head, made("p", { class: "age" }), made("p", {}, text(`alarm.do_${alarm.name}`) + times));
  if (MAY_ACT) {
    const buttons = made("p", { class: "buttons" });
    const id = { line: line.name, alarm: alarm.name };
    if (alarm.condition === "unack" || alarm.condition === "rtn_unack") {
      buttons.append(made("button", { type: "button", onclick: () => act("acknowledge", { ...id, number: alarm.number }) }, text("alarm.acknowledge")));
    }
    buttons.append(shelved
      ? made("button", { type: "button", onclick: () => act("unshelve", id) }, text("alarm.unshelve"))
      : made("button", { type: "button", onclick: () => openShelf(line.name, alarm.name) }, text("alarm.shelve")));
    row.append(buttons);
  }
  return row;
}

function driftRow(line, lamps) {
  const row = made("li", {}, made("p", { class: "row-head" }, shape("notice"), `${text("alarm.drift")} (${lamps.map((lamp) => lamp.of).join(", ")})`), made("p", {}, text("alarm.do_drift")));
  if (MAY_ACT) {
    row.append(made("p", { class: "buttons" }, made("button", { type: "button", onclick: () => act("acknowledge", { line: line.name, alarm: "drift", number: 0 }) }, text("alarm.acknowledge"))));
  }
  return row;
}

function showLamps(lamps) {
  byId("lamps").replaceChildren(...lamps.map((lamp) => {
    const words = made("span", {}, text(`lamp.${lamp.name}`, { of: lamp.of }), ": ", text(lamp.ok ? "lamp.ok" : "lamp.bad"));
    if (lamp.detail && (!lamp.ok || lamp.name === "drift")) words.append(made("span", { class: "detail" }, lamp.detail));
    return made("li", { class: lamp.ok ? "" : "bad" }, shape(lamp.ok ? "quiet" : lamp.name === "source" ? "fault" : "notice"), words);
  }));
}

// ---------------------------------------------------------------- the picture and its age

function showPicture(message) {
  picture = { ...message, received: performance.now() };
  const image = byId("picture"), curves = byId("curves");
  image.hidden = !message.jpeg;
  curves.hidden = !message.curves.length;
  if (message.jpeg) {
    const bytes = Uint8Array.from(atob(message.jpeg), (letter) => letter.charCodeAt(0));
    const url = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    image.src = url;
    if (pictureUrl) URL.revokeObjectURL(pictureUrl);
    pictureUrl = url;
  } else {
    drawCurves(curves, message.curves, text("picture.share"));
  }
  // the newest item of the panel may be another one: it is sent less often than pictures
  const place = document.querySelector(".picture");
  putShape(place, "picture-shape", message.status);
  put(place, "picture-item", text("picture.item", { status: text(`status.${message.status}`), item: message.item }));
  showPictureAge();
}

function showPictureAge() {
  const place = document.querySelector(".picture");
  if (!place || !picture) return;
  const age = picture.age_s + (performance.now() - picture.received) / 1000;
  const lost = document.body.dataset.connection === "lost";
  const stale = lost || !lineState || lineState.away || age > lineState.picture_limit_s;
  place.dataset.stale = stale ? "yes" : "no";
  put(place, "picture-age", text(stale ? "picture.stale" : "picture.age", { age: duration(age) }));
  place.querySelector('[data-field="picture-age"]').classList.toggle("old", stale);
}

// ---------------------------------------------------------------- events

const EVENT_SHAPES = { reject: "REJECT", review: "REVIEW", invalid: "INVALID", "alarm-raised": "alarm", "alarm-repeated": "alarm", drift: "notice", lost: "notice", shelve: "shelved" };

function eventRow(line, event, withPicture) {
  const link = made("a", { href: `/events/${event.seq}` }, TEXTS[`kind.${event.kind}`] ?? event.kind);
  const head = made("p", { class: "row-head" });
  if (EVENT_SHAPES[event.kind]) head.append(shape(EVENT_SHAPES[event.kind]));
  head.append(link, made("time", { datetime: event.at }, clockTime(event.at, true)));
  const words = made("div", { class: "text" }, event.text);
  const body = made("div", { class: "row-body" });
  if (withPicture && event.pictures.length) body.append(made("img", { src: `/events/${event.seq}/evidence/${event.pictures[0]}`, alt: text("event.alt", { seq: event.seq }), loading: "lazy" }));
  body.append(words);
  if (MAY_ACT && (event.kind === "reject" || event.kind === "review")) {
    const buttons = made("p", { class: "buttons" });
    for (const truth of ["good", "defective"]) {
      buttons.append(made("button", {
        type: "button",
        "aria-label": `${text(`item.${truth}`)}: ${event.item}`,
        onclick: async () => { if (await act("confirm-event", { line, event: event.seq, truth })) buttons.replaceChildren(text(`item.noted_${truth}`)); },
      }, text(`event.${truth}`)));
    }
    words.append(buttons);
  }
  return made("li", {}, head, body);
}

// A row is made once, so that its pictures are not loaded again each time that the list changes.
const rowsBySeq = new Map();

function keptRow(line, event, withPicture) {
  const kept = rowsBySeq.get(event.seq);
  if (kept && kept.pictures === event.pictures.length > 0) return kept.row;
  const row = eventRow(line, event, withPicture);
  rowsBySeq.set(event.seq, { row, pictures: event.pictures.length > 0 });
  if (rowsBySeq.size > 500) rowsBySeq.delete(rowsBySeq.keys().next().value);
  return row;
}

async function loadEvents(line, older) {
  if (listing) return;
  listing = true;
  try {
    const before = older && oldestEvent ? `?before=${oldestEvent}` : "";
    const answer = await fetch(`/lines/${encodeURIComponent(line)}/events${before}`);
    if (!answer.ok) return;
    const found = await answer.json();
    const rows = found.map((event, place) => keptRow(line, event, older || place < 6));
    if (older) byId("events").append(...rows);
    else if (rows.length) byId("events").replaceChildren(...rows);
    else byId("events").replaceChildren(made("li", {}, text(storedSeen === null ? "event.no_store" : "event.none")));
    if (found.length) oldestEvent = found[found.length - 1].seq;
    byId("more").hidden = found.length < 20;
  } catch { /* the connection is lost; its banner says so */ } finally { listing = false; }
}

let eventsDue = false;
let readingOlder = false;

function watchEvents(line, stored) {
  if (stored === storedSeen && !eventsDue) return;
  const inside = byId("events").contains(document.activeElement);
  eventsDue = inside || readingOlder || listing;  // a list that a person uses does not move
  storedSeen = stored;
  if (!eventsDue) loadEvents(line, false);
}

// ---------------------------------------------------------------- the stream

let stream = null;
let heard = performance.now();

function receive(message) {
  heard = performance.now();
  const data = JSON.parse(message.data);
  byId("clock").textContent = clockTime(data.at, true);
  byId("clock").dateTime = data.at;
  byId("version").textContent = text("page.version", { version: data.version });
  if (document.body.dataset.connection !== "ok") document.body.dataset.connection = "ok";
  const notice = byId("connection");
  const problem = data.stopping ? text("page.stopping") : data.ready ? "" : text("page.not_ready");
  if (notice.textContent !== problem) notice.textContent = problem;
  notice.hidden = !problem;
  for (const line of data.lines) {
    const root = document.querySelector(`[data-line="${CSS.escape(line.name)}"]`);
    if (!root) continue;
    if (root.classList.contains("line")) { showLine(root, line); watchEvents(line.name, data.stored); if (data.stored !== null) countQuestions(line.name, text); } else showCommon(root, line);
  }
}

async function connect(address) {
  if (stream) stream.close();
  const root = document.querySelector(".line");
  stream = new EventSource(address);
  stream.addEventListener("state", receive);
  stream.addEventListener("picture", (message) => { heard = performance.now(); showPicture(JSON.parse(message.data)); });
  if (root) {
    try {
      const answer = await fetch(`/lines/${encodeURIComponent(root.dataset.line)}/history`);
      if (answer.ok) for (const second of await answer.json()) history.set(second[0], second);
    } catch { /* the stream reports a lost connection */ }
  }
}

// The stream was refused: a login has ended, or too many pages are open. Only the first needs another page.
let asking = false;

async function connectAgain(address) {
  if (asking) return;
  asking = true;
  try {
    const answer = await fetch(location.pathname, { method: "HEAD" });
    if (answer.status === 401) location.reload();
    else connect(address);
  } catch { /* the server is away; the next try comes in a few seconds */ }
  setTimeout(() => { asking = false; }, 5000);
}

function watchConnection(address) {
  const silent = performance.now() - heard;
  if (silent > SILENCE_MS && !document.hidden) {
    document.body.dataset.connection = "lost";
    const notice = byId("connection");
    notice.textContent = text("page.lost", { age: duration(silent / 1000) });
    notice.hidden = false;
    if (stream && stream.readyState === EventSource.CLOSED) connectAgain(address);
  }
  showPictureAge();
}

function start() {
  setUpActions();
  for (const place of document.querySelectorAll("time[datetime]")) if (place.dateTime) place.textContent = new Date(place.dateTime).toLocaleString();
  for (const place of document.querySelectorAll("[data-csv]")) drawCsv(place);
  askQuestions({ text, act, drawCsv, made });
  const address = document.body.dataset.live;
  if (!address) return;
  const root = document.querySelector(".line");
  if (root) byId("more").addEventListener("click", () => { readingOlder = true; loadEvents(root.dataset.line, true); });
  connect(address);
  setInterval(() => watchConnection(address), 1000);
  // a hidden page costs nothing, and browsers allow only six connections to a server
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stream.close(); stream = null; } else { heard = performance.now(); connect(address); }
  });
  addEventListener("resize", () => { if (lineState) drawHistory(lineState.now); });
}

async function drawCsv(place) {
  const answer = await fetch(place.dataset.csv);
  if (!answer.ok) return;
  const [header, ...lines] = (await answer.text()).trim().split("\n");
  const names = header.match(/"(?:[^"]|"")*"|[^,]+/g).map((name) => name.replace(/^"|"$/g, "").replaceAll('""', '"'));
  const rows = lines.map((line) => line.split(","));
  const curves = names.map((name, column) => {
    const values = rows.map((row) => (row[column] === undefined || row[column] === "" || Number.isNaN(Number(row[column])) ? null : Number(row[column])));
    return { name, unit: "", share: null, low: values, high: values };
  });
  drawCurves(place, curves, "");
}

start();

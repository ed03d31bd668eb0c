"use strict";
// The page of a wasmill host. State comes once per second; records and log lines only while they are looked at.
// Everything from the host is set as text, never as HTML.

const app = document.getElementById("app");
const said = document.getElementById("said");
const SVG = "http:" + "//www.w3.org/2000/svg";
const POINTS = 600;
const RECORDS = 12;
const LINES = 200;
const BUILDS = 20;
const BUILDS_EVERY = 10000;

const view = {
  state: null, error: null, needsToken: false, flow: null, history: {}, records: [], counts: null, hiddenRate: 0,
  frozen: false, dead: false, grep: "", lines: [], samples: {}, asks: null, builds: {},
};

// --- the token: kept for this tab only -------------------------------------------------------------------------
const fromAddress = new URLSearchParams(location.hash.slice(1));
if (fromAddress.get("token")) {
  sessionStorage.setItem("token", fromAddress.get("token"));
  fromAddress.delete("token");
  history.replaceState(null, "", "#" + fromAddress);
}
const token = () => sessionStorage.getItem("token");

async function ask(path, options = {}) {
  const headers = token() ? { Authorization: "Bearer " + token() } : {};
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401 && !options.method) view.needsToken = true;
  return answer;
}

async function json(path) {
  const answer = await ask(path);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error || answer.statusText);
  return body;
}

// --- elements: described, then brought about with as few changes as possible, so that focus and selection stay -----
const h = (tag, props, ...children) => ({ tag, props: props || {}, children: children.flat(9).filter((c) => c !== null && c !== false && c !== undefined && c !== "") });

function make(node, svg) {
  if (typeof node !== "object") return document.createTextNode(String(node));
  const inSvg = svg || node.tag === "svg";
  const element = inSvg ? document.createElementNS(SVG, node.tag) : document.createElement(node.tag);
  update(element, { tag: node.tag, props: {}, children: [] }, node, inSvg);
  return element;
}

function update(element, before, now, svg) {
  for (const name of Object.keys({ ...before.props, ...now.props })) {
    const value = now.props[name];
    if (name.startsWith("on")) element[name] = value || null;
    else if (name === "value" || name === "checked" || name === "disabled") {
      if (element[name] !== (value ?? "") && !(name === "value" && document.activeElement === element)) element[name] = value ?? "";
    } else if (before.props[name] !== value) {
      if (value === undefined || value === null || value === false) element.removeAttribute(name);
      else element.setAttribute(name, value === true ? "" : value);
    }
  }
  patch(element, before.children, now.children, svg);
}

const keyOf = (node) => (typeof node === "object" ? node.tag + "#" + (node.props.key ?? "") : "text");

function patch(parent, before, now, svg) {
  for (let i = 0; i < now.length; i++) {
    const [old, wanted] = [before[i], now[i]];
    const at = parent.childNodes[i];
    if (old === undefined || at === undefined) parent.appendChild(make(wanted, svg));
    else if (keyOf(old) !== keyOf(wanted)) parent.replaceChild(make(wanted, svg), at);
    else if (typeof wanted !== "object") { if (old !== wanted) at.nodeValue = String(wanted); }
    else update(at, old, wanted, svg || wanted.tag === "svg");
  }
  while (parent.childNodes.length > now.length) parent.removeChild(parent.lastChild);
}

let drawn = null;
function draw() {
  const now = [].concat(page()).flat(9).filter(Boolean);
  if (drawn === null) app.textContent = "";
  patch(app, drawn || [], now, false);
  drawn = now;
  document.title = view.state ? (view.state.ready ? "" : "✗ ") + "wasmill " + view.state.instance : "wasmill";
}
let scheduled = false;
function redraw() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; draw(); });
}

// --- figures --------------------------------------------------------------------------------------------------------
const number = (n) => Math.round(n).toLocaleString("en");
const rate = (n) => (n < 10 ? n.toFixed(1) : number(n)) + "/s";
const millis = (ms) => (ms === null || ms === undefined ? "–" : ms < 10 ? ms.toFixed(1) + " ms" : ms < 10000 ? Math.round(ms) + " ms" : time(ms / 1000));
const time = (s) => (s < 120 ? Math.floor(s) + " s" : s < 7200 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " days");
const ago = (at) => time(Math.max(0, view.state.at - at) / 1000);
const short = (digest) => digest.split("+").map((one) => one.slice(0, 8)).join("+");
const kind = (state) => (state === "running" || state === "ok" ? "good" : ["paused", "starting", "draining"].includes(state) ? "warn" : state === "idle" ? "" : "bad");
const chip = (state) => h("span", { class: "chip " + kind(state) }, state);
const ORDER = ["refused", "stopped", "failing", "starting", "draining", "paused", "running"];
const flows = () => [...view.state.flows].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || (a.name < b.name ? -1 : 1));
const chosen = () => view.state.flows.find((flow) => flow.name === view.flow) || flows()[0];

// --- the page -------------------------------------------------------------------------------------------------------
function page() {
  if (view.needsToken) return tokenPage();
  if (!view.state) return h("p", { class: "note" }, view.error ? "No answer from the host: " + view.error : "wasmill: asking the host…");
  const state = view.state;
  const word = state.draining ? ["warn", "stopping"] : state.ready ? ["good", "ready"] : ["bad", "not ready"];
  const mine = new Set(state.flows.flatMap((flow) => (flow.reason ? [flow.reason] : [])));
  const others = state.problems.filter((p) => !mine.has(p.reason));
  return [
    h("header", { key: "head" },
      h("h1", {}, "wasmill"), h("span", { class: "soft" }, state.version + " · " + state.instance + " · up " + time(state.uptime_seconds)),
      h("span", { class: "chip " + word[0], id: "ready" }, word[1]), h("span", { class: "grow" }),
      h("button", { onclick: openToken, title: "Changes need the token" }, token() ? "token given" : "read only: enter token")),
    view.error ? h("p", { class: "stale", key: "stale", role: "alert" }, "No answer from the host since " + ago(state.at) + ": " + view.error + ". What follows is old.") : h("p", { key: "fresh", hidden: true }),
    others.length ? h("ul", { class: "problems", key: "problems" }, others.map((p) => h("li", {}, h("b", {}, p.name + ": "), p.reason))) : h("ul", { key: "none", hidden: true }),
    h("main", { key: "main" }, list(), h("section", { class: "card", id: "flow", tabindex: -1, "aria-label": "flow" }, detail(chosen()))),
  ];
}

function list() {
  const refused = view.state.modules.filter((file) => file.refused);
  return h("nav", { "aria-label": "flows" },
    flows().map((flow) => h("button", { class: "flow", "data-flow": flow.name, "aria-current": flow === chosen() ? "true" : false, onclick: () => choose(flow.name) },
      h("span", { class: "top" }, h("span", {}, flow.name), chip(flow.state)),
      flow.reason && flow.state !== "paused" && flow.state !== "starting" ? h("span", { class: "reason" }, flow.reason) : null,
      h("span", { class: "soft" }, rate(flow.now.records_in) + " in · " + rate(flow.now.outputs) + " out · lag " + number(flow.lag)),
      flow.totals.dead ? h("span", { class: "reason" }, number(flow.totals.dead) + " dead letters") : null)),
    view.state.flows.length ? null : h("p", { class: "note" }, "No flow. Put a module into the modules folder."),
    refused.map((file) => h("p", { class: "reason" }, "✗ " + file.name + ".wasm: " + file.refused)));
}

function detail(flow) {
  if (!flow) return h("p", { class: "soft" }, "Nothing runs yet.");
  return [
    h("div", { class: "title" }, h("h2", {}, flow.name), chip(flow.state), flow.behind ? h("span", { class: "chip warn" }, "held back by a sink") : null,
      h("span", { class: "grow" }),
      flow.state === "paused" || flow.reason.includes("paused by an operator")
        ? h("button", { id: "resume", onclick: () => change(flow, "resume") }, "Resume")
        : h("button", { id: "pause", disabled: flow.state === "refused" || flow.state === "stopped", onclick: () => change(flow, "pause") }, "Pause")),
    flow.reason ? h("p", { class: "reason" + (kind(flow.state) === "warn" ? " warn" : ""), id: "reason" }, flow.reason) : null,
    picture(flow),
    h("h3", {}, "Ten minutes"), charts(flow),
    h("h3", {}, "Records: before | after"), records(flow),
    h("h3", {}, "Modules"), modules(flow),
    h("h3", {}, "Sinks"), sinks(flow),
    h("h3", {}, "Dead letters"), letters(flow),
    h("h3", {}, "Partitions"), partitions(flow),
    h("h3", {}, "Log"), logs(flow),
  ];
}

function picture(flow) {
  const box = (name, detail, state) => h("div", { class: "box " + (state || "") }, name, h("small", {}, detail));
  const arrow = (n) => h("div", { class: "arrow" }, h("b", {}, n), "→");
  const targets = (sink) => flow.targets.filter((t) => t.startsWith(sink.name + ":")).map((t) => t.slice(sink.name.length + 1)).join(", ");
  const rows = [...flow.sinks].filter((s) => s.name !== "consumer group").sort((a, b) => (b.state === "failing") - (a.state === "failing"));
  const dead = flow.totals.dead
    ? h("div", { class: "row" }, arrow(rate(flow.now.dead)), box("dead letters", flow.dead_letters + " · " + number(flow.totals.dead) + " so far", "bad")) : null;
  return h("div", { class: "picture", role: "group", "aria-label": "path of the records" },
    box(flow.topics.join(", "), "group " + flow.group), arrow(rate(flow.now.records_in)),
    flow.modules.map((module, i) => [i ? h("div", { class: "arrow" }, "→") : null, box(module.name, short(module.digest), flow.rolled_back ? "bad" : "")]),
    h("div", { class: "stack" },
      rows.map((sink) => h("div", { class: "row" }, arrow(rate(sink.rate)), box(sink.name, sink.state === "failing" ? sink.last_error : targets(sink) || sink.kind, kind(sink.state)))),
      dead));
}

function charts(flow) {
  const points = view.history[flow.name] || [];
  const lines = (key) => points.map((p) => p[key]);
  return h("div", { class: "charts" },
    chart("throughput", [["in", lines("records_in")], ["out", lines("outputs")], ["dead", lines("dead")]], rate),
    chart("latency", [["from timestamp to commit", lines("latency_ms")]], millis),
    chart("lag", [["records", lines("lag")]], number));
}

function chart(name, series, words) {
  const most = Math.max(1e-9, ...series.flatMap(([, line]) => line.map((v) => v || 0)));
  const path = (line) => line.map((v, i) => (POINTS - line.length + i) + "," + (56 - ((v || 0) / most) * 52).toFixed(1)).join(" ");
  const last = series.map(([label, line], i) => h("span", {}, h("span", { class: "k" + i }, "▬ "), label + " ", h("b", {}, line.length ? words(line[line.length - 1] ?? 0) : "–"), " "));
  return h("figure", {}, h("figcaption", {}, h("span", {}, name), h("span", {}, "most " + words(most > 1e-8 ? most : 0))),
    h("svg", { viewBox: "0 0 600 60", preserveAspectRatio: "none", role: "img", "aria-label": name + " over ten minutes, most " + words(most) },
      series.map(([, line], i) => h("polyline", { class: "l" + i, points: path(line) }))),
    h("figcaption", { class: "legend" }, last));
}

// --- records --------------------------------------------------------------------------------------------------------
function records(flow) {
  const hidden = view.counts && view.counts.not_shown ? number(view.hiddenRate) + "/s not shown (" + number(view.counts.not_shown) + " so far)" : "all shown";
  return h("div", {},
    h("div", { class: "tools" },
      h("button", { id: "freeze", "aria-pressed": String(view.frozen), onclick: () => { view.frozen = !view.frozen; redraw(); } }, view.frozen ? "Go on" : "Freeze"),
      h("label", {}, h("input", { type: "checkbox", id: "onlydead", checked: view.dead, onchange: (e) => { view.dead = e.target.checked; listen(true); } }), "only refused"),
      h("label", {}, "containing ", h("input", { type: "text", id: "grep", value: view.grep, size: 16, onchange: (e) => { view.grep = e.target.value; listen(true); } })),
      h("span", { class: "soft", id: "hidden" }, hidden)),
    view.records.length ? null : h("p", { class: "soft" }, "No record has passed since the page listens."),
    h("ol", { class: "records", id: "records", tabindex: 0, "aria-label": "records, newest first" }, view.records.map((record) => h("li", { key: record.id },
      h("div", { class: "where" }, h("span", {}, record.topic + "/" + record.partition + "/" + record.offset), record.key ? h("span", {}, "key " + record.key.text) : null,
        record.headers.map(([name, value]) => h("span", {}, name + ": " + (value === null ? "NULL" : value)))),
      beforeAfter(record)))));
}

function parsed(payload) {
  if (!payload || payload.cut || payload.binary) return null;
  try {
    const value = JSON.parse(payload.text);
    return value && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch { return null; }
}
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const show = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const raw = (payload) => h("pre", {}, payload ? (payload.binary ? "hex " : "") + payload.text + (payload.cut ? "… (" + number(payload.bytes) + " bytes)" : "") : "NULL");

function beforeAfter(record) {
  const input = parsed(record.value);
  const outputs = record.outputs.map((output) => [output, parsed(output.value)]);
  const kept = (name) => outputs.some(([, out]) => out && (name in out || Object.values(out).some((v) => same(v, input[name]))));
  const comparable = input && outputs.some(([, out]) => out);
  const before = input
    ? h("dl", { class: "fields" }, Object.entries(input).map(([name, value]) => field(name, value, comparable && !kept(name) ? "dropped" : "", comparable && !kept(name) ? "not in any output" : "")))
    : raw(record.value);
  return h("div", { class: "beforeafter" }, h("div", {}, h("div", { class: "label" }, "before"), before),
    h("div", {},
      outputs.map(([output, out]) => h("div", { class: "out" }, h("div", { class: "label" }, output.sink + ":" + output.target + (output.operation === "write" ? "" : " " + output.operation), output.key ? h("span", { class: "soft" }, " key " + output.key.text) : null),
        out && input ? h("dl", { class: "fields" }, Object.entries(out).map(([name, value]) => compared(name, value, input))) : raw(output.value))),
      record.dead.map((verdict) => h("div", { class: "out" }, h("div", { class: "label bad" }, "✗ " + verdict.code + (verdict.sink ? " by " + verdict.sink : " by module " + verdict.module)), h("p", {}, verdict.message))),
      outputs.length || record.dead.length ? null : h("p", { class: "soft" }, "filtered: no output")));
}

function compared(name, value, input) {
  if (name in input) return same(input[name], value) ? field(name, value, "", "") : field(name, value, "changed", "changed");
  const from = Object.keys(input).find((other) => same(input[other], value));
  return from ? field(name, value, "changed", "was " + from) : field(name, value, "new", "new");
}
const field = (name, value, mark, words) => h("div", { class: mark }, h("dt", {}, name), h("dd", {}, show(value)), words ? h("span", { class: "mark" }, words) : null);

// --- tables ---------------------------------------------------------------------------------------------------------
const table = (heads, rows) => h("div", { class: "scroll" }, h("table", {},
  h("thead", {}, h("tr", {}, heads.map((head) => h("th", { class: head.startsWith("#") ? "n" : "", scope: "col" }, head.replace("#", ""))))),
  h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => h("td", { class: heads[i].startsWith("#") ? "n" : "" }, cell)))))));

function modules(flow) {
  const rows = flow.modules.map((module) => {
    const file = view.state.modules.find((f) => f.name === module.name);
    const note = file && file.refused ? h("span", { class: "reason" }, "the file in the folder is refused: " + file.refused) : file && file.digest !== module.digest ? "the folder holds " + short(file.digest || "") : "";
    return [module.name, h("code", { title: module.digest }, short(module.digest)), flow.modules_since ? ago(flow.modules_since) : "–", note];
  });
  const swap = number(flow.swaps) + " swaps" + (flow.last_swap_ms === null ? "" : ", the last in " + millis(flow.last_swap_ms)) + ", " + number(flow.totals.traps) + " traps";
  return h("div", {}, table(["module", "digest", "in place for", ""], rows),
    h("div", { class: "tools" }, h("span", { class: "soft" }, swap),
      flow.rolled_back ? h("button", { id: "undo", onclick: () => change(flow, "rollback?undo=true") }, "Take the rollback back") : null,
      flow.rolled_back ? h("span", { class: "reason" }, "rolled back until the module is replaced") : null,
      flow.before ? h("button", { id: "rollback", onclick: () => confirmRollback(flow) }, "Roll back to " + short(flow.before)) : null),
    // Last, so that nothing before it moves when it comes.
    builds(flow));
}

function builds(flow) {
  const known = view.builds[flow.name];
  if (!known) return null;
  if (known.error) return h("p", { class: "soft" }, "Which builds were in force is not known now: " + known.error);
  if (!known.builds.length) return null;
  const from = (build) => build.from.map((p) => p.topic + "/" + p.partition + " from " + number(p.offset));
  return h("details", { id: "builds" }, h("summary", {}, "Builds in force so far: " + number(known.builds.length)),
    table(["digest", "since", "from offset"], known.builds.slice(0, BUILDS).map((build) => [h("code", { title: build.digest }, short(build.digest)), ago(build.since) + " ago",
      from(build).slice(0, 8).join(", ") + (build.from.length > 8 ? " and " + (build.from.length - 8) + " more" : "")])),
    h("p", { class: "soft" }, "As sink " + known.sink + " has it."));
}

/// Asked of the sink, so only for the flow that is looked at, and not often.
async function askBuilds(flow) {
  const known = view.builds[flow.name];
  if (known && known.swaps === flow.swaps && Date.now() - known.asked < BUILDS_EVERY) return;
  const asked = { ...(known || { builds: [] }), swaps: flow.swaps, asked: Date.now() };
  view.builds[flow.name] = asked;
  try {
    Object.assign(asked, await json("/api/module-history?flow=" + encodeURIComponent(flow.name)), { error: null });
  } catch (error) { asked.error = error.message; }
  redraw();
}

const sinks = (flow) => table(["sink", "state", "#outputs", "#per second", "#retries", "#last write", "last error"],
  flow.sinks.map((s) => [s.name, chip(s.state), number(s.outputs), s.rate.toFixed(1), number(s.retries), millis(s.last_write_ms), s.last_error ? ago(s.last_error_at) + " ago: " + s.last_error : "none"]));

const partitions = (flow) => flow.partitions.length ? table(["partition", "#committed", "#end", "#lag", "#last commit", ""],
  [...flow.partitions].sort((a, b) => Boolean(b.stopped) - Boolean(a.stopped) || b.lag - a.lag).map((p) => [p.topic + "/" + p.partition, number(p.committed), number(p.end), number(p.lag), p.lag ? time(p.commit_age_seconds) + " ago" : "–", p.stopped ? h("span", { class: "reason" }, p.stopped) : ""]))
  : h("p", { class: "soft" }, "This host owns no partition of the group.");

function letters(flow) {
  if (!flow.dead.length) return h("p", { class: "soft" }, "None since the host began.");
  return h("div", {}, table(["code", "#count", "newest", ""], flow.dead.map((dead) => [h("code", {}, dead.code), number(dead.count),
    dead.last ? dead.last.topic + "/" + dead.last.partition + "/" + dead.last.offset + ": " + dead.last.message : "",
    h("button", { class: "link", "data-code": dead.code, onclick: () => sample(flow.name, dead.code) }, "sample")])),
    Object.entries(view.samples).filter(([key]) => key.startsWith(flow.name + " ")).map(([key, letter]) => h("div", { class: "out sample" },
      h("div", { class: "label bad" }, key.slice(flow.name.length + 1) + " · " + letter.topic + "/" + letter.partition + "/" + letter.offset + " · " + (letter.sink ? letter.sink + ":" + letter.target : "module " + letter.module)),
      h("p", {}, letter.message), letter.key ? h("p", { class: "mono" }, "key " + letter.key.text) : null, raw(letter.value))));
}

async function sample(flow, code) {
  const found = await json("/api/dead-letters?n=1&flow=" + encodeURIComponent(flow) + "&code=" + encodeURIComponent(code)).catch((e) => (say(e.message), { letters: [] }));
  if (found.letters.length) view.samples[flow + " " + code] = found.letters[0];
  redraw();
}

const logs = (flow) => {
  const own = view.lines.filter((line) => !line.flow || line.flow === flow.name);
  return h("div", { class: "logs mono", id: "logs", tabindex: 0, "aria-label": "log lines, newest first" }, own.length ? [...own].reverse().map((line) =>
    h("div", { class: line.level, key: line.id }, new Date(line.at).toLocaleTimeString("en-GB") + " " + line.level + " " + (line.module ? line.module + ": " : "") + line.message + (line.fields ? " " + line.fields : ""))) : "no line yet");
};

// --- changes --------------------------------------------------------------------------------------------------------
let silence = 0;
function say(words) {
  said.textContent = words;
  clearTimeout(silence);
  silence = setTimeout(() => { said.textContent = ""; }, 8000);
}

async function change(flow, action) {
  const answer = await ask("/api/flows/" + encodeURIComponent(flow.name) + "/" + action, { method: "POST" }).catch((e) => (say(e.message), null));
  if (!answer) return;
  const body = await answer.json().catch(() => ({}));
  say(body.done || body.error || answer.statusText);
  if (answer.status === 401) openToken();
  look();
}

function dialog(title, words, action, field) {
  const box = document.createElement("dialog");
  const form = make(h("form", { method: "dialog" }, h("h2", {}, title), h("p", {}, words),
    field ? h("p", {}, h("input", { type: "password", id: "token", "aria-label": "token", autocomplete: "off", size: 40 })) : null,
    h("p", {}, h("button", { value: "yes", id: "yes" }, action), " ", h("button", { value: "no", type: "button", onclick: () => box.close("no") }, "Cancel"))), false);
  form.onsubmit = (event) => { event.preventDefault(); box.close("yes"); };
  box.appendChild(form);
  document.body.appendChild(box);
  box.showModal();
  return new Promise((done) => { box.onclose = () => { const text = field ? form.querySelector("input").value.trim() : ""; box.remove(); done(box.returnValue === "yes" ? text || true : null); }; });
}

async function confirmRollback(flow) {
  if (await dialog("Roll back " + flow.name + "?", "From the next batch on, the build " + short(flow.before) + " runs instead of " + short(flow.modules.map((m) => m.digest).join("+")) + ", until the module's file changes again. The file in the modules folder stays as it is.", "Roll back")) change(flow, "rollback");
}

async function openToken() {
  const text = await dialog("Token", "Changes need the host's token. `wasmill page` prints this page's address with it. It is kept for this tab only.", "Use it", true);
  if (typeof text === "string") {
    sessionStorage.setItem("token", text);
    view.needsToken = false;
    look();
  }
}
const tokenPage = () => h("div", { class: "note" }, h("h1", {}, "wasmill"), h("p", {}, "This host shows itself only to those who have its token."), h("button", { id: "entertoken", onclick: openToken }, "Enter the token"));

function choose(name) {
  view.flow = name;
  location.hash = "flow=" + encodeURIComponent(name);
  listen(true);
  redraw();
}

// --- what comes from the host ---------------------------------------------------------------------------------------
async function look() {
  try {
    const state = await json("/api/state");
    view.state = state;
    view.error = null;
    // The flow that is looked at stays the same when others break.
    if (!state.flows.some((flow) => flow.name === view.flow)) view.flow = state.flows.length ? flows()[0].name : null;
    for (const flow of state.flows) {
      const line = (view.history[flow.name] ||= []);
      line.push({ ...flow.now, lag: flow.lag });
      if (line.length > POINTS) line.shift();
    }
    listen(false);
    if (chosen() && !document.hidden) askBuilds(chosen());
  } catch (error) {
    view.error = error.message;
  }
  redraw();
}

async function past() {
  try { view.history = await json("/api/history"); } catch { /* look() tells that the host does not answer */ }
}

/// Reads a stream of events until it ends; `take` gets the event's name and data.
async function stream(path, signal, take) {
  const answer = await ask(path, { signal });
  if (!answer.ok) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) {
      const name = /^event: (.*)$/m.exec(event);
      const data = /^data: (.*)$/m.exec(event);
      if (name && data) take(name[1], JSON.parse(data[1]));
    }
  }
}

const open = { tap: null, events: null, flow: null };
let next = 0;

function listen(again) {
  const flow = view.state && chosen();
  const wanted = flow && !document.hidden ? flow.name : null;
  if (again || open.flow !== wanted) {
    if (open.tap) open.tap.abort();
    open.tap = null;
    if (open.flow !== wanted || again) { view.records = []; view.counts = null; view.hiddenRate = 0; }
    open.flow = wanted;
  }
  if (wanted && !open.tap) {
    const stop = (open.tap = new AbortController());
    const path = "/api/tap?flow=" + encodeURIComponent(wanted) + "&dead=" + view.dead + (view.grep ? "&grep=" + encodeURIComponent(view.grep) : "");
    stream(path, stop.signal, taken).catch(() => {}).finally(() => { if (open.tap === stop) open.tap = null; });
  }
  if (!document.hidden && !open.events) {
    const stop = (open.events = new AbortController());
    view.lines = [];
    stream("/api/events?recent=" + LINES, stop.signal, logged).catch(() => {}).finally(() => { if (open.events === stop) open.events = null; });
  } else if (document.hidden && open.events) {
    open.events.abort();
    open.events = null;
  }
}

let waiting = [];
function taken(name, data) {
  if (name === "counts") {
    const before = view.counts ? view.counts.not_shown : 0;
    view.hiddenRate = Math.max(0, data.not_shown - before);
    view.counts = data;
    if (waiting.length && !view.frozen) {
      view.records = [...waiting.reverse(), ...view.records].slice(0, RECORDS);
      redraw();
    }
    waiting = [];
  } else if (name === "record") {
    waiting.push({ ...data, id: ++next });
    if (waiting.length > RECORDS) waiting.shift();
  }
}

function logged(name, data) {
  if (name === "log") view.lines.push({ ...data, id: ++next });
  if (name === "missed") view.lines.push({ at: Date.now(), level: "WARN", message: data.lines + " lines were not shown", id: ++next });
  if (view.lines.length > LINES) view.lines.shift();
  redraw();
}

// --- keys: j and k go through the flows, p pauses or resumes, f freezes --------------------------------------------
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !view.state || /INPUT|TEXTAREA/.test(event.target.tagName) || document.querySelector("dialog")) return;
  const names = flows().map((flow) => flow.name);
  const at = names.indexOf((chosen() || {}).name);
  if (event.key === "j" && names[at + 1]) choose(names[at + 1]);
  else if (event.key === "k" && names[at - 1]) choose(names[at - 1]);
  else if (event.key === "f") { view.frozen = !view.frozen; redraw(); }
  else return;
  event.preventDefault();
});
document.addEventListener("visibilitychange", () => listen(false));
window.addEventListener("hashchange", () => { view.flow = new URLSearchParams(location.hash.slice(1)).get("flow"); listen(true); redraw(); });

view.flow = fromAddress.get("flow");
look().then(past).then(redraw);
setInterval(() => { if (!document.hidden) look(); }, 1000);

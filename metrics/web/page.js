"use strict";
// Asks for status.json every two seconds and shows it. Whatever comes from there is shown as text (textContent), never
// as HTML: user names come from strangers.

const EVERY = 2000; // ms between two questions
const PATIENCE = 5000; // ms for an answer
const MOST_ROWS = 1000;

const find = (id) => document.getElementById(id);
const asked = { filter: "", sort: "started", desc: "1", span: "2m", rows: 100, users: "0", thing: "" };

// --- words ---------------------------------------------------------------------------------------------------------

const number = new Intl.NumberFormat("en").format;
const twoDigits = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 }).format;
const oneDigit = new Intl.NumberFormat("en", { maximumFractionDigits: 1 }).format;
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
const two = (value) => String(value).padStart(2, "0");

function age(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h${two(Math.floor((s % 3600) / 60))}m`;
  return `${Math.floor(s / 86400)}d${two(Math.floor((s % 86400) / 3600))}h`;
}

function octets(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

const TITLES = { started: "age", since: "in state", sid: "session" };
const title = (name) => TITLES[name] ?? name;

const TONES = { online: "good", offline: "quiet", disabled: "busy", fake: "busy" };

// --- the document --------------------------------------------------------------------------------------------------

const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const mark = (element, name, value) => { if (element.getAttribute(name) !== value) element.setAttribute(name, value); };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// As many children as there are items, made only when one is missing, so that focus and selection stay.
function match(parent, count, birth) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(birth(parent.children.length));
}

// A table: columns are {name, title, text(row), kind, tone?(row), hint?(row)}. The first one is the head of the line.
function fill(table, columns, rows, none, sortable) {
  const names = columns.map((column) => column.name).join();
  if (table.dataset.columns !== names) {
    table.replaceChildren(head(columns, sortable), make("tbody", { role: "rowgroup" }));
    table.dataset.columns = names;
    mark(table, "role", "table"); // said aloud, because on a phone the lines are no table's to the browser
  }
  const body = table.tBodies[0];
  if (!rows.length) {
    body.replaceChildren(make("tr", { role: "row" }, make("td", { class: "none", role: "cell", colspan: columns.length }, none)));
    return;
  }
  if (body.querySelector(".none")) body.replaceChildren();
  match(body, rows.length, () => line(columns));
  rows.forEach((row, index) => {
    const cells = body.children[index].children;
    columns.forEach((column, place) => show(cells[place], column, row));
  });
}

function head(columns, sortable) {
  const cells = columns.map((column) => {
    const cell = make("th", { scope: "col", role: "columnheader", class: column.kind === "text" ? "" : "number" });
    if (column.help) cell.title = column.help;
    if (sortable) {
      const button = make("button", { type: "button" }, column.title);
      button.addEventListener("click", () => sortBy(column.name));
      cell.dataset.column = column.name;
      cell.append(button);
    } else {
      cell.append(column.title);
    }
    return cell;
  });
  return make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...cells));
}

function line(columns) {
  const cells = columns.map((column, place) => {
    if (place === 0) return make("th", { scope: "row", role: "rowheader" });
    const cell = make("td", { role: "cell" });
    if (column.label !== "") cell.dataset.label = column.label ?? column.title;
    return cell;
  });
  return make("tr", { role: "row" }, ...cells);
}

function show(cell, column, row) {
  const text = column.text(row);
  const place = column.link?.(row);
  if (place && cell.firstElementChild?.tagName !== "A") cell.replaceChildren(make("a"));
  if (place) mark(cell.firstElementChild, "href", `#${place}`);
  say(place ? cell.firstElementChild : cell, text === "" ? "–" : text);
  const kinds = [column.kind === "text" ? "" : "number", text === "" ? "empty" : "", column.tone ? "state" : "", column.long ? "long" : ""];
  const classes = kinds.filter(Boolean).join(" ");
  if (cell.className !== classes) cell.className = classes;
  if (column.tone) mark(cell, "data-tone", column.tone(row));
  const hint = column.hint ? column.hint(row) : column.long ? text : "";
  if (cell.title !== hint) cell.title = hint;
}

// --- parts ---------------------------------------------------------------------------------------------------------

function showHead(told) {
  say(find("program"), told.program);
  say(find("host"), `on ${told.host}`);
  say(find("headline"), told.headline.text);
  mark(find("headline"), "data-tone", told.headline.tone);
  say(find("detail"), told.headline.detail);
  const totals = told.totals;
  const facts = [
    `up ${age(told.taken - told.started)}`,
    `${totals.workers} worker${totals.workers === 1 ? "" : "s"}`,
    `configuration ${totals.generation}`,
    `${number(totals.started)} sessions since the start`,
    told.version ? `version ${told.version}` : "",
  ];
  say(find("facts"), facts.filter(Boolean).join(" · "));
  document.title = `${told.headline.text} · ${told.program} · ${told.host}`;
}

const WIDTH = 240;
const HEIGHT = 56;

function showGraphs(told) {
  const graphs = told.history.graphs;
  match(find("graphs"), graphs.length, birthOfGraph);
  graphs.forEach((graph, index) => showGraph(find("graphs").children[index], graph, told));
}

function birthOfGraph() {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" })) picture.setAttribute(name, value);
  for (const kind of ["area", "stroke"]) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", kind);
    picture.append(path);
  }
  const words = [make("span", { class: "title" }), make("span", { class: "peak" }), make("span", { class: "value" }, make("span"), make("span", { class: "unit" }))];
  return make("figure", { class: "graph" }, make("figcaption", {}, ...words), picture);
}

function showGraph(figure, graph, told) {
  const { span, points } = told.history;
  const [name, peak, value] = figure.querySelector("figcaption").children;
  const highest = Math.max(0, ...graph.values);
  const now = current(graph, told);
  mark(figure, "data-name", graph.name);
  say(name, graph.title);
  say(peak, graph.values.length > 1 ? `peak ${oneDigit(highest)}` : "");
  say(value.children[0], oneDigit(now));
  say(value.children[1], unit(graph, told));
  const picture = figure.querySelector("svg");
  const time = span === "2m" ? "two minutes" : "hour";
  mark(picture, "aria-label", `${graph.title}, the last ${time}: now ${oneDigit(now)}, highest ${oneDigit(highest)}`);
  const [area, stroke] = curve(graph.values, points, Math.max(highest * 1.15, graph.rate ? 3 : graph.name === "load" ? 1 : 4));
  mark(picture.children[0], "d", area);
  mark(picture.children[1], "d", stroke);
}

function current(graph, told) {
  if (graph.name === "sessions") return told.totals.sessions;
  if (graph.rate) return told.totals[`${graph.name}_a_second`];
  return told.totals.readings[0].value;
}

function unit(graph, told) {
  if (graph.rate) return "a second";
  const limit = graph.name === "sessions" ? told.totals.maxsession : told.totals.readings[0].limit;
  return limit ? `of ${number(limit)}` : "";
}

// The newest value stands at the right edge; what is not yet known stays empty.
function curve(values, points, top) {
  if (values.length < 2) return ["", ""];
  const step = WIDTH / (points - 1);
  const first = WIDTH - (values.length - 1) * step;
  const dots = values.map((value, index) => `${(first + index * step).toFixed(1)} ${(HEIGHT - 2 - (value / top) * (HEIGHT - 6)).toFixed(1)}`);
  const stroke = `M${dots.join("L")}`;
  return [`${stroke}L${WIDTH} ${HEIGHT}L${first.toFixed(1)} ${HEIGHT}Z`, stroke];
}

const text = (name, heading, more = {}) => ({ name, title: heading, kind: "text", text: (row) => String(row[name] ?? ""), ...more });
const count = (name, heading, more = {}) => ({ name, title: heading, kind: "number", text: (row) => number(row[name] ?? 0), ...more });
const state = { ...text("state", "state"), tone: (row) => TONES[row.state] ?? "quiet" };

const ident = (table) => text("id", "id", { link: (row) => table.has_page ? `${table.name}/${row.id}` : "" });
const PLACE = [state, text("address", "address", { label: "" }), text("protocol", "protocol", { label: "" }), count("sessions", "sessions")];

// What a program says of its things: which tables there are, and their columns behind those of every table.
function thingColumns(table, told) {
  const kinds = {
    number: (column) => count(column.name, column.title),
    text: (column) => text(column.name, column.title, { label: "" }),
    share: (column) => ({ ...count(column.name, column.title), text: percent, hint: (row) => row.tried ? `of ${number(row.tried)}` : "", tone: (row) => row.failing ? "closed" : row.share ? "busy" : "quiet" }),
    age: (column) => ({ ...count(column.name, column.title), text: (row) => row[column.name] ? age(told.taken - row[column.name]) : "" }),
  };
  return [ident(table), ...PLACE, ...table.columns.map((column) => ({ ...kinds[column.kind](column), help: column.help }))];
}

const percent = (row) => row.share === null ? "" : `${oneDigit(100 * row.share)} %`;

const THINGS = {
  workers: [
    text("slot", "slot"),
    count("pid", "process", { text: (row) => String(row.pid) }),
    count("sessions", "sessions"),
    { name: "resident_bytes", title: "memory", kind: "number", text: (row) => row.resident_bytes === null ? "" : octets(row.resident_bytes) },
    { name: "lag_seconds", title: "lag", kind: "number", help: "how late its loop was at worst in the last half minute", text: (row) => `${oneDigit(row.lag_seconds * 1000)} ms` },
    { name: "silent_seconds", title: "silent", help: "since its last sign of life; there is one a second", kind: "number", text: (row) => row.silent_seconds === null ? "none yet" : `${row.silent_seconds.toFixed(1)}s` },
  ],
  certificates: [
    text("name", "name"),
    { name: "names", title: "for", kind: "text", label: "", long: true, text: (row) => [].concat(row.names ?? []).join(", ") },
    text("key_type", "key", { label: "" }),
    { name: "days_left", title: "expires in", kind: "number", text: (row) => row.days_left < 0 ? "expired" : `${row.days_left} d`, tone: (row) => row.days_left < 7 ? "closed" : row.days_left < 21 ? "busy" : "good" },
  ],
};

function showThings(told) {
  const tables = told.tables.map((table) => [table.name, thingColumns(table, told)]);
  for (const table of told.tables) {
    if (find(table.name) === null) find("workers").before(make("section", { id: table.name, class: table.columns.length > 4 ? "wide" : "" }, make("h2", {}, table.title), make("div", { class: "sheet" }, make("table"))));
  }
  for (const [name, columns] of [...tables, ...Object.entries(THINGS)]) {
    const section = find(name);
    section.hidden = !told[name].length;
    if (!told[name].length) continue;
    const counted = columns.filter((column) => column.name in told[name][0]); // what the program does not count has no column
    fill(section.querySelector("table"), counted, told[name], "");
  }
}

const moment = (name, heading, told, more = {}) => ({ name, title: heading, kind: "number", text: (row) => row[name] ? age(told.taken - row[name]) : "", hint: (row) => row[name] ? new Date(row[name] * 1000).toLocaleString("en-GB") : "", ...more });

// What fails: since when, and for how many.
function showBroken(told) {
  const { rows, all } = told.broken;
  find("broken").hidden = !rows.length;
  if (!rows.length) return;
  fill(find("broken").querySelector("table"), [
    text("what", "what", { link: (row) => row.thing }),
    text("how", "how", { tone: () => "closed" }),
    moment("since", "for", told),
    count("users", "users", { help: "different ones, about, since that goes on", text: (row) => row.users ? `about ${twoDigits(row.users)}` : "" }),
    count("refused", "refused in the last minute", { text: (row) => `${number(row.refused)} of ${number(row.tried)}` }),
    count("sessions", "still there"),
    text("why", "why", { label: "" }),
  ], rows, "");
  say(find("unlisted"), rows.length < all ? `and ${number(all - rows.length)} more` : "");
}

function showOrders(told) {
  find("orders").hidden = !told.orders.length;
  if (told.orders.length) fill(find("orders").querySelector("table"), [text("what", "what"), count("count", "how many"), moment("since", "oldest", told)], told.orders, "");
}

const seconds = (name, heading) => ({ name, title: heading, kind: "number", text: (row) => row[name] === null ? "" : `${oneDigit(row[name] * 1000)} ms` });

// The page of one thing.
function showThing(told) {
  const one = told.thing;
  find("thing").hidden = !one;
  if (!one) return delete document.body.dataset.thing;
  document.body.dataset.thing = "";
  say(find("thing-title"), one.title);
  const since = one.since ? ` since ${age(told.taken - one.since)}` : "";
  const tried = one.good + one.bad ? `; ${number(one.bad)} of ${number(one.good + one.bad)} failed in the last minute` : "";
  const users = one.users ? `; for about ${twoDigits(one.users)} ${one.users === 1 ? "user" : "users"}` : "";
  say(find("thing-said"), `Configured as ${one.state}, ${one.failing && one.found === "up" ? "fails" : `found ${one.found}`}${since}${one.why ? `: ${one.why}` : ""}${tried}${users}.`);
  const values = { moment: (fact) => fact.value > told.taken ? `in ${age(fact.value - told.taken)}` : `${age(told.taken - fact.value)} ago`, number: (fact) => number(fact.value), text: (fact) => fact.value };
  const facts = [...one.facts.map((fact) => ({ title: fact.title, value: values[fact.kind](fact) })), ...one.counted.map((fact) => ({ title: fact.title, value: number(fact.value) }))];
  fill(find("thing-facts").querySelector("table"), [text("title", "what"), text("value", "is")], facts, "");
  fill(find("thing-took").querySelector("table"), [text("title", "step"), count("times", "times"), seconds("mean", "mean"), seconds("median", "median"), seconds("late", "99 %")], one.took, "");
  fill(find("thing-failures").querySelector("table"), [text("reason", "reason"), count("times", "times"), moment("first", "began", told), moment("last", "last", told)], one.failures, "None since this page's server was started.");
}

let mayUnmask = false;

function showSessions(told) {
  const listed = told.sessions;
  mayUnmask = listed.may_unmask;
  const columns = listed.columns.map((column, place) => sessionColumn(column, place, told));
  const none = listed.all ? "No session matches the filter." : "Nobody is connected.";
  fill(find("sessions").querySelector("table"), columns, listed.rows, none, true);
  for (const cell of find("sessions").querySelectorAll("thead th")) {
    if (cell.dataset.column === asked.sort) mark(cell, "aria-sort", ascends() ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  }
  showChoices(columns);
  say(find("count"), counted(listed));
  find("more").hidden = listed.rows.length >= Math.min(listed.found, MOST_ROWS);
  find("unmask").hidden = !listed.may_unmask && !listed.takes_token;
}

function sessionColumn(column, place, told) {
  const made = { name: column.name, title: title(column.name), kind: column.kind, help: column.help };
  const value = (row) => row[place];
  if (column.kind === "time") made.text = (row) => age(told.taken - value(row));
  else if (column.kind === "octets") Object.assign(made, { text: (row) => octets(value(row)), hint: (row) => `${number(value(row))} octets` });
  else if (column.kind === "number") made.text = (row) => number(value(row));
  else Object.assign(made, { text: (row) => String(value(row)), long: true });
  if (column.name === "state") made.tone = (row) => told.sessions.tones[value(row)] ?? "quiet";
  return made;
}

function showChoices(columns) {
  const choice = find("sort");
  if (choice.options.length !== columns.length) {
    choice.replaceChildren(...columns.map((column) => make("option", { value: column.name }, column.title)));
  }
  choice.value = asked.sort;
}

function counted({ rows, found, all }) {
  const of = found < all ? `${number(found)} of ${number(all)} match` : `${number(all)} session${all === 1 ? "" : "s"}`;
  if (rows.length >= found) return of;
  return `${of}; the first ${number(rows.length)} are shown${rows.length >= MOST_ROWS ? ", filter to see others" : ""}`;
}

// Ages grow as the moment of the start falls: what looks ascending is the other way round for the server.
const TIMES = ["started", "since"];
const ascends = () => (asked.desc === "1") === TIMES.includes(asked.sort);

function sortBy(name) {
  if (asked.sort === name) asked.desc = asked.desc === "1" ? "0" : "1";
  else Object.assign(asked, { sort: name, desc: TIMES.includes(name) ? "1" : "0" });
  ask();
}

// --- the dialogue with the server ----------------------------------------------------------------------------------

let timer = 0;
let question = null;
let token = ""; // who has it sees names in full; forgotten with the page
let heard = null; // when the last answer came, seconds since 1970

async function ask() {
  clearTimeout(timer);
  question?.abort();
  const mine = question = new AbortController();
  const patience = setTimeout(() => mine.abort(), PATIENCE);
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const answer = await fetch(`status.json?${new URLSearchParams(asked)}`, { signal: mine.signal, cache: "no-store", headers });
    if (answer.status === 401) return void refuse();
    if (answer.status === 400 && asked.thing) return void (location.hash = ""); // it is gone from the configuration
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const told = await answer.json();
    if (mine === question) draw(told);
  } catch {
    if (mine === question) miss();
  } finally {
    clearTimeout(patience);
  }
  if (mine === question && !document.hidden) timer = setTimeout(ask, EVERY);
}

function draw(told) {
  heard = told.taken;
  delete document.body.dataset.stale;
  find("alarm").hidden = true;
  showHead(told);
  showBroken(told);
  showThing(told);
  showGraphs(told);
  showThings(told);
  showOrders(told);
  showSessions(told);
  const masks = told.sessions.masked ? "Names and addresses are shortened" : "Names and addresses are shown in full";
  const why = told.sessions.may_unmask ? "" : "; in full only with the token, or over the socket in the run directory";
  say(find("footer"), `As of ${clock(told.taken)}, renewed every two seconds. ${masks}${why}.`);
}

function mask() {
  token = "";
  asked.users = "0";
  find("users").checked = false;
}

function refuse() {
  mask();
  say(find("alarm"), "This is not the token: names stay shortened.");
  find("alarm").hidden = false;
  timer = setTimeout(ask, EVERY);
}

function miss() {
  document.body.dataset.stale = "";
  const alarm = find("alarm");
  say(alarm, heard ? `No answer. What you see is of ${clock(heard)}. Trying again …` : "No answer. Trying again …");
  alarm.hidden = false;
  mark(find("headline"), "data-tone", "wait");
  document.title = "No answer · POPular";
}

// --- controls ------------------------------------------------------------------------------------------------------

function press(group, chosen) {
  for (const button of group) mark(button, "aria-pressed", String(button === chosen));
}

function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* a browser that keeps nothing */ }
}

function dress(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const group = [...document.querySelectorAll("[data-theme]")].filter((element) => element.tagName === "BUTTON");
  press(group, group.find((button) => button.dataset.theme === theme));
}

for (const button of document.querySelectorAll("button[data-theme]")) {
  button.addEventListener("click", () => { remember("theme", button.dataset.theme); dress(button.dataset.theme); });
}
for (const button of document.querySelectorAll("button[data-span]")) {
  button.addEventListener("click", () => {
    asked.span = button.dataset.span;
    press(document.querySelectorAll("button[data-span]"), button);
    ask();
  });
}
find("filter").addEventListener("input", (event) => { asked.filter = event.target.value.trim(); asked.rows = 100; ask(); });
find("users").addEventListener("change", (event) => {
  asked.users = event.target.checked ? "1" : "0";
  if (event.target.checked && !mayUnmask) token = (window.prompt("The token of --metrics-token") ?? "").trim();
  if (event.target.checked && !mayUnmask && !token) mask();
  ask();
});
find("sort").addEventListener("change", (event) => sortBy(event.target.value));
find("turn").addEventListener("click", () => sortBy(asked.sort));
find("more").addEventListener("click", () => { asked.rows = MOST_ROWS; ask(); });
function follow() {
  try { asked.thing = decodeURIComponent(location.hash.slice(1)); } catch { asked.thing = ""; }
  ask();
}
window.addEventListener("hashchange", follow);
document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(timer); else ask(); });

const theme = remembered("theme");
dress(["light", "dark"].includes(theme) ? theme : "auto");
follow();

// Shows the events of the server. What it names goes into text nodes alone, and so is never markup.
"use strict";

const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname); // no token in the address bar, nor in bookmarks

const SHOWN = 300; // rows
const KEPT = 120; // seconds of the plots
const histories = new Map(); // by key: bytes received and sent in each second
const rates = [];
let last = null;
let moment = 0;

const element = (id) => document.getElementById(id);

function scaled(value, unit) {
  for (const prefix of ["", "k", "M", "G"]) {
    if (value < 999.5) return `${Number(value.toPrecision(3))} ${prefix}${unit}`;
    value /= 1000;
  }
  return `${Number(value.toPrecision(3))} T${unit}`;
}

function ago(time) {
  if (!time) return "never";
  const seconds = Math.max(0, Math.round(Date.now() / 1000 - time));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

function line(values, width, height, top) {
  const step = width / (KEPT - 1);
  const points = values.map((value, n) =>
    `${(n + KEPT - values.length) * step},${height - 1 - (height - 2) * value / top}`);
  return points.length ? `M${points.join("L")}` : "";
}

function path(kind) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
  made.setAttribute("class", kind);
  return made;
}

const plot = [path("received"), path("sent")];
element("plot").append(...plot);

async function ask(method, where, body) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(where, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

function problem(text) {
  element("summary").textContent = text;
  element("summary").className = "problem";
}

function button(text, act) {
  const made = document.createElement("button");
  made.textContent = text;
  made.addEventListener("click", async () => {
    try { await act(); } catch (error) { alert(error.message); }
  });
  return made;
}

// A row stays while its peer does: whoever is about to click on it does not lose it.
class Row {
  constructor(peer) {
    this.peer = peer;
    this.element = document.createElement("tr");
    this.element.dataset.key = peer.key;
    this.cells = Array.from({ length: 8 }, () => this.element.insertCell());
    this.name = document.createTextNode("");
    const key = document.createElement("small");
    key.textContent = peer.public_key;
    this.cells[0].append(this.name, key);
    const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    spark.setAttribute("viewBox", "0 0 100 20");
    spark.setAttribute("preserveAspectRatio", "none");
    this.line = path("received");
    spark.append(this.line);
    this.cells[6].append(spark);
    const where = `api/peers/${peer.key}`;
    this.toggle = button("", () => ask("POST", `${where}/${this.peer.enabled ? "disable" : "enable"}`));
    const remove = button("Remove", async () => {
      if (confirm(`Remove ${this.peer.name || this.peer.public_key}?`)) await ask("DELETE", where);
    });
    this.cells[7].append(this.toggle, remove);
  }

  update(peer) {
    this.peer = peer;
    this.element.className = peer.enabled ? "" : "disabled";
    this.name.data = peer.name || "(no name)";
    this.toggle.textContent = peer.enabled ? "Disable" : "Enable";
    const texts = [
      peer.allowed_ips.join(", "),
      peer.endpoint + (peer.server ? ` at ${peer.server}` : ""),
      peer.enabled ? ago(peer.last_handshake) : "disabled",
      scaled(peer.received, "B"),
      scaled(peer.sent, "B"),
    ];
    texts.forEach((text, n) => { this.cells[n + 1].textContent = text; });
    const values = histories.get(peer.key) || [];
    this.line.setAttribute("d", line(values, 100, 20, Math.max(1, ...values)));
  }
}

const rows = new Map(); // by key

function show(state) {
  const now = performance.now();
  const seconds = last ? (now - moment) / 1000 : 0;
  const before = new Map(last ? last.peers.map((peer) => [peer.key, peer]) : []);
  let received = 0, sent = 0;
  for (const peer of state.peers) {
    const known = before.get(peer.key) || peer;
    const more = [peer.received - known.received, peer.sent - known.sent].map((n) => Math.max(0, n));
    received += more[0];
    sent += more[1];
    const values = histories.get(peer.key) || [];
    values.push(more[0] + more[1]);
    histories.set(peer.key, values.slice(-KEPT));
  }
  const present = new Set(state.peers.map((peer) => peer.key));
  for (const key of histories.keys()) if (!present.has(key)) histories.delete(key);
  for (const key of rows.keys()) if (!present.has(key)) rows.delete(key);
  if (seconds) rates.push([received, sent].map((bytes) => 8 * bytes / seconds));
  if (rates.length > KEPT) rates.shift();
  const top = Math.max(1, ...rates.flat());
  plot.forEach((each, n) => each.setAttribute("d", line(rates.map((rate) => rate[n]), 600, 80, top)));
  const rate = rates.at(-1) || [0, 0];
  element("received").textContent = scaled(rate[0], "bit/s");
  element("sent").textContent = scaled(rate[1], "bit/s");
  last = state;
  moment = now;
  document.title = element("interface").textContent = `${state.interface}, UDP port ${state.listen_port}`;
  const servers = state.servers.length ? `, servers: ${state.servers.join(", ")}` : "";
  if (state.store_reachable) {
    element("summary").textContent = `${state.peers.length} peers, ${state.handshakes} handshakes${servers}`;
    element("summary").className = "";
  } else {
    problem("The store cannot be reached: what was read before holds on.");
  }
  const dropped = Object.entries(state.dropped).map(([reason, count]) => `${reason} ${count}`);
  element("dropped").textContent = dropped.join(", ") || "nothing";
  list();
}

function list() {
  if (!last) return;
  const wanted = element("filter").value.toLowerCase();
  const found = last.peers.filter((peer) =>
    [peer.name, peer.public_key, ...peer.allowed_ips].some((text) => text.toLowerCase().includes(wanted)));
  const shown = found.slice(0, SHOWN).map((peer) => {
    if (!rows.has(peer.key)) rows.set(peer.key, new Row(peer));
    rows.get(peer.key).update(peer);
    return rows.get(peer.key).element;
  });
  const present = Array.from(element("peers").children);
  if (shown.length !== present.length || shown.some((each, n) => each !== present[n])) {
    element("peers").replaceChildren(...shown);
  }
  element("more").textContent = found.length > SHOWN ? `and ${found.length - SHOWN} more: filter them` : "";
}

async function follow() {
  for (;;) {
    try {
      const answer = await ask("GET", "api/events");
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const events = text.split("\n\n");
        text = events.pop();
        if (events.length) show(JSON.parse(events.at(-1).replace(/^data: /, "")));
      }
      problem("The server has ended.");
    } catch (error) {
      problem(error.message);
    }
    await new Promise((resume) => setTimeout(resume, 2000));
  }
}

element("filter").addEventListener("input", list);

element("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(event.target));
  try {
    const made = await (await ask("POST", "api/peers", fields)).json();
    if (made.qr) element("qr").src = made.qr;
    element("config").textContent = made.config;
    element("client").showModal();
    event.target.elements.name.value = "";
  } catch (error) {
    alert(error.message);
  }
});

element("client").addEventListener("close", () => {
  element("qr").removeAttribute("src");
  element("config").textContent = "";
});

follow();

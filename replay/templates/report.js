// The report's script: timeline, filters, sorting, links to a finding. The page can be read without it.
// It makes elements and sets texts; it never writes markup (the page's policy would not let it).
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const TRACK = 44, BAR = 5, LANES = 15, SHORTEST = 10;
  const { fields, rows, who, rules, severities } = JSON.parse($("data").textContent);
  const findings = rows.map((row) => Object.fromEntries(row.map((value, n) => [fields[n], value])));
  for (const f of findings) {
    f.article = $(`f-${f.id}`);
    f.curve = $(`c-${f.id}`);
    f.from = Math.min(f.opened, f.begin ?? f.opened);
    f.to = Math.max(f.last + 1, f.end ?? f.last);
  }
  const [first, last] = [Math.min(...findings.map((f) => f.opened)), Math.max(...findings.map((f) => f.last))];
  const pad = Math.max(60, 0.05 * (last - first));
  const whole = [first - pad, last + pad];
  let view = whole, shown = findings, allLanes = false;

  const filled = (one, attributes, inside) => {
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    one.append(...inside);
    return one;
  };
  const make = (name, attributes = {}, ...inside) => filled(document.createElement(name), attributes, inside);
  const drawing = (name, attributes = {}, ...inside) => filled(document.createElementNS(SVG, name), attributes, inside);
  const number = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 1 });
  const iso = (second) => new Date(1000 * second).toISOString().replace("T", " ").slice(0, 19);
  const told = (f) => `${number(f.peak)} ${f.measure}, threshold ${number(f.threshold)}`;
  const short = (name) => name.replace(/^arn:[^:]*:[^:]*:[^:]*:(\d*):(?:assumed-role\/)?(.*)$/, "$2 ($1)");
  const plural = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

  // --- The timeline: a lane for whoever has findings; in it as many tracks as findings overlap.
  const tracksOf = (some) => {
    const ends = [];
    return [...some].sort((a, b) => a.from - b.from).map((f) => {
      let track = ends.findIndex((end) => end <= f.from);
      if (track < 0) track = ends.length;
      ends[track] = f.to;
      return [f, track];
    });
  };
  const grouped = (some) => {
    const byWho = new Map();
    for (const f of some) byWho.has(f.who) ? byWho.get(f.who).push(f) : byWho.set(f.who, [f]);
    return byWho;
  };
  const place = (width) => {
    const scale = width / (view[1] - view[0]);
    return (second) => (second - view[0]) * scale;
  };
  const drawn = (f, top, x, width) => {
    const left = x(f.from), right = x(f.to), height = TRACK - 8;
    if (right < 0 || left > width) return null;
    const link = drawing("a", { href: `#f-${f.id}`, tabindex: -1, class: severities[f.severity] });
    link.append(drawing("title", {}, `${rules[f.rule]}: ${told(f)}, ${iso(f.opened)} to ${iso(f.last)} UTC`));
    link.append(drawing("rect", { class: "hit", x: left, y: top, width: Math.max(BAR, right - left), height }));
    const [first, last] = [x(f.opened), x(f.last + 1)];
    const curved = f.curve && right - left > 6 * BAR;
    const bar = { class: curved ? "span" : "bar", x: first, y: top, width: Math.max(BAR, last - first), height };
    link.append(drawing("rect", bar));
    if (curved) {
      const [columns, rows] = [(right - left) / f.points, height / 200], line = top + height * (1 - f.threshold / f.top);
      link.append(drawing("line", { class: "limit", x1: left, x2: right, y1: line, y2: line }));
      link.append(drawing("use", { href: `#c-${f.id}`, transform: `matrix(${columns} 0 0 ${rows} ${left} ${top})` }));
    }
    return link;
  };
  const STEPS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000, 7776000];
  const axis = (width) => {
    const x = place(width), least = (90 * (view[1] - view[0])) / width;
    const step = STEPS.find((one) => one >= least) ?? 31536000;
    const marks = [];
    for (let at = Math.ceil(view[0] / step) * step; at <= view[1] && marks.length < 50; at += step) {
      const day = at % 86400 === 0, text = day ? iso(at).slice(0, 10) : iso(at).slice(11, step < 60 ? 19 : 16);
      marks.push(drawing("line", { x1: x(at), x2: x(at), y1: 18, y2: 26 }));
      if (x(at) > 30 && x(at) < width - 30) marks.push(drawing("text", { x: x(at), y: 13, "text-anchor": "middle" }, text));
    }
    $("axis").setAttribute("viewBox", `0 0 ${width} 26`);  // on paper, which has another width, it is drawn to scale
    $("axis").replaceChildren(...marks);
  };
  const draw = () => {
    const byWho = grouped(shown);
    const lanes = [...byWho].slice(0, allLanes ? Infinity : LANES);
    const width = $("axis").clientWidth, x = place(width);
    $("lanes").replaceChildren(...lanes.map(([one, some]) => {
      const tracked = tracksOf(some), height = TRACK * (1 + Math.max(...tracked.map(([, track]) => track)));
      const inside = some.filter((f) => f.to > view[0] && f.from < view[1]).length;
      const label = `${plural(inside, "finding")} in view, worst ${told(some[0])}`;
      const svg = drawing("svg", { role: "img", "aria-label": label, height, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
      const name = make("span", { class: "name mono", title: who[one] }, short(who[one]));
      return make("li", { class: "lane" }, name, svg);
    }));
    [...$("lanes").children].forEach((lane, nth) => {
      const links = tracksOf(lanes[nth][1]).map(([f, track]) => drawn(f, track * TRACK + 4, x, width));
      lane.lastChild.append(...links.filter(Boolean));
    });
    axis(width);
    $("range").textContent = `${iso(view[0])} to ${iso(view[1])} UTC`;
    $("more").hidden = byWho.size <= lanes.length;
    $("more").textContent = `Show ${plural(byWho.size - lanes.length, "more principal")}`;
  };
  const look = (from, to) => {
    const span = Math.min(Math.max(to - from, SHORTEST), whole[1] - whole[0]);
    const begin = Math.min(Math.max((from + to - span) / 2, whole[0]), whole[1] - span);
    view = [begin, begin + span];
    draw();
  };
  const zoom = (factor, at = (view[0] + view[1]) / 2) => look(at - (at - view[0]) * factor, at + (view[1] - at) * factor);
  const pan = (share) => look(...view.map((edge) => edge + share * (view[1] - view[0])));
  const MOVES = {
    in: () => zoom(0.5), out: () => zoom(2), earlier: () => pan(-0.25), later: () => pan(0.25), whole: () => look(...whole),
  };
  const KEYS = { "+": "in", "=": "in", "-": "out", ArrowLeft: "earlier", ArrowRight: "later", 0: "whole", Home: "whole" };
  const timeAt = (event) => {
    const box = $("axis").getBoundingClientRect();
    return view[0] + (Math.min(Math.max(event.clientX - box.left, 0), box.width) / box.width) * (view[1] - view[0]);
  };

  const listen = () => {
    const chart = $("chart"), brush = $("brush");
    let begun = null, dragged = false;
    const drag = (event) => {
      const [left, right] = [begun.clientX, event.clientX].sort((a, b) => a - b);
      const box = chart.getBoundingClientRect();
      Object.assign(brush.style, { left: `${left - box.left}px`, width: `${right - left}px` });
      brush.hidden = right - left < 5;
    };
    chart.addEventListener("keydown", (event) => {
      const move = MOVES[KEYS[event.key]];
      if (!move || event.target !== chart || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move();
    });
    chart.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
    }, { passive: false });
    chart.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.pointerType !== "touch" && event.target.closest("svg")) begun = event;
      dragged = false;
    });
    chart.addEventListener("click", (event) => dragged && event.preventDefault(), true);
    chart.addEventListener("dragstart", (event) => event.preventDefault());
    addEventListener("pointermove", (event) => begun && drag(event));
    addEventListener("pointerup", (event) => {
      dragged = Boolean(begun) && !brush.hidden;
      if (dragged) look(...[timeAt(begun), timeAt(event)].sort((a, b) => a - b));
      begun = null;
      brush.hidden = true;
    });
    for (const button of document.querySelectorAll("[data-move]")) button.onclick = MOVES[button.dataset.move];
    $("more").onclick = () => { allLanes = true; draw(); };
    addEventListener("resize", draw);
  };

  // --- Filters and order: of the list, the timeline and the table alike.
  const ORDERS = {
    worst: () => 0, first: (a, b) => a.opened - b.opened, last: (a, b) => b.last - a.last,
    peak: (a, b) => b.peak / b.threshold - a.peak / a.threshold, who: (a, b) => a.who - b.who,
  };
  const boxes = [...document.querySelectorAll("[name=severity]")];
  const choose = () => {
    const levels = new Set(boxes.filter((box) => box.checked).map((box) => severities.indexOf(box.value)));
    const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean), [rule, name] = [$("rule").value, $("who").value];
    shown = findings.filter((f) => levels.has(f.severity) && (!rule || f.rule === Number(rule)) &&
      (!name || f.who === Number(name)) && words.every((word) => (f.text ??= f.article.textContent.toLowerCase()).includes(word)));
    shown.sort(ORDERS[$("order").value]);  // stable: the worst first among equals
    const kept = new Set(shown);
    for (const f of findings) f.article.hidden = !kept.has(f);
    $("list").append(...shown.map((f) => f.article));
    $("count").textContent = `${number(shown.length)} of ${plural(findings.length, "finding")} shown`;
    draw();
    if ($("table").open) fill();
  };
  const clear = () => {
    for (const box of boxes) box.checked = true;
    for (const id of ["text", "rule", "who"]) $(id).value = "";
    choose();
  };
  const fill = () => {
    const cell = (text, kind = "") => make("td", { class: kind }, text);
    $("rows").replaceChildren(...shown.map((f) => make("tr", {},
      make("th", { scope: "row" }, make("a", { href: `#f-${f.id}` }, rules[f.rule])), cell(severities[f.severity]),
      cell(who[f.who], "mono"), cell(iso(f.opened)), cell(iso(f.last)), cell(`${number(f.peak)} ${f.measure}`, "n"), cell(number(f.threshold), "n"))));
  };

  // --- A finding's own address: #f-<id>.
  const follow = () => {
    const f = findings.find((one) => `#f-${one.id}` === location.hash);
    if (!f) return;
    if (f.article.hidden) clear();
    f.article.querySelector("details").open = true;
    f.article.focus({ preventScroll: true });
    f.article.scrollIntoView();
  };
  const inTimeline = (f) => {
    const margin = f.to - f.from;
    look(f.from - margin, f.to + margin);
    $("chart").focus({ preventScroll: true });
    $("timeline").scrollIntoView();
  };

  for (const f of findings) {
    const button = make("button", { type: "button", class: "noprint" }, "Show in timeline");
    button.onclick = () => inTimeline(f);
    f.article.querySelector("h3").after(button);
  }
  const folded = [];
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("article:not([hidden]) details:not([open])")) folded.push(one), one.open = true;
  });
  addEventListener("afterprint", () => { while (folded.length) folded.pop().open = false; });
  for (const id of ["text", "rule", "who", "order"]) $(id).addEventListener("input", choose);
  for (const box of boxes) box.addEventListener("input", choose);
  $("clear").onclick = clear;
  $("table").addEventListener("toggle", () => $("table").open && fill());
  for (const one of document.querySelectorAll(".scripted")) one.hidden = false;
  for (const one of document.querySelectorAll(".unscripted")) one.remove();
  for (const [id, names] of [["rule", rules], ["who", who]]) {
    $(id).append(...names.map((name, n) => make("option", { value: n }, name)));
  }
  listen();
  clear();
  addEventListener("hashchange", follow);
  follow();
  document.documentElement.dataset.ready = "";
})();

"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const number = text => {
  const found = text.replaceAll("−", "-").replaceAll(",", "").match(/^<?(-?\d+(\.\d+)?)/);
  return found ? parseFloat(found[1]) : null;
};
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return x - y;
  return x === null && y === null ? a.localeCompare(b) : x === null ? 1 : -1;
};
for (const table of all("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0], cell = row => row.cells[column].textContent;
      body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * compare(cell(a), cell(b))));
    });
  });
}

// The task that is shown, and the arms: what is hidden leaves its legend, and the rows below close up.
const choice = document.getElementById("task");
if (choice) {
  const show = () => all("[data-task]").forEach(part => { part.hidden = part.dataset.task !== choice.value; });
  choice.addEventListener("change", show);
  show();
}
const hidden = new Set();
const names = new Map(all("[data-arm]").map(box => [box.dataset.arm, box.parentElement.textContent.trim()]));
const armOf = element => [...element.classList].find(name => /^arm-\d+$/.test(name))?.slice(4);
const closeUp = panel => {
  const heights = new Map();  // by arm, of the lines of its name
  for (const text of all("text", panel).filter(text => text.closest("[class*=arm-]"))) {
    const arm = armOf(text.closest("[class*=arm-]"));
    heights.set(arm, [...(heights.get(arm) ?? []), parseFloat(text.getAttribute("y"))]);
  }
  if (heights.size < 2) return;
  const rows = [...heights].map(([arm, own]) => [arm, own.reduce((a, b) => a + b) / own.length]).sort((a, b) => a[1] - b[1]);
  const shown = rows.filter(([arm]) => !hidden.has(arm));
  const shift = new Map(shown.map(([arm, y], place) => [arm, rows[place][1] - y]));
  for (const shape of all("[class*=arm-]", panel))
    shape.setAttribute("transform", `translate(0 ${shift.get(armOf(shape)) ?? 0})`);
};
for (const box of all("[data-arm]")) {
  box.addEventListener("change", () => {
    hidden[box.checked ? "delete" : "add"](box.dataset.arm);
    all(".arm-" + box.dataset.arm).forEach(shape => shape.classList.toggle("off", !box.checked));
    all(".figure .panel").forEach(closeUp);
  });
}
// On a phone, wide panels are scrolled sideways: with the keyboard, too.
const scrolled = new ResizeObserver(entries => entries.forEach(({ target }) => {
  if (target.scrollWidth > target.clientWidth + 1) target.setAttribute("tabindex", "0");
  else target.removeAttribute("tabindex");
}));
all(".panels").forEach(panels => scrolled.observe(panels));
all(".controls").forEach(controls => { controls.hidden = false; });

// What a link leads to, and what is printed, is open.
const unfold = () => { const part = document.getElementById(location.hash.slice(1)); if (part?.tagName === "DETAILS") part.open = true; };
addEventListener("hashchange", unfold);
all(".contents a").forEach(link => link.addEventListener("click", () => setTimeout(unfold)));
unfold();

// Pointing at a line, or the arrow keys, tell what it is: arm, step, mean, interval and number of seeds.
const hint = document.getElementById("hint");
const text = value => Math.abs(value) >= 1e5 ? value.toExponential(2) : String(+value.toPrecision(4)).replace("-", "−");
const tell = (svg, told, line, place, x, y) => {
  const [arm, n, steps, mean, low, high] = line;
  const interval = low.length && low[place] !== null ? ` [${text(low[place])}, ${text(high[place])}]` : "";
  hint.textContent = `${names.get(String(arm)) ?? ""}\n${told.name}: ${text(steps[place])}\n` +
    `mean ${text(mean[place])}${interval}, n = ${n}`;
  hint.hidden = false;
  const room = hint.getBoundingClientRect();
  hint.style.left = Math.max(4, Math.min(x + 14, innerWidth - room.width - 4)) + "px";
  hint.style.top = Math.max(4, y - room.height - 10) + "px";
};
for (const panel of all("[data-points]")) {
  const told = JSON.parse(panel.dataset.points), svg = panel.ownerSVGElement;
  const [left, top, right, bottom] = told.frame, [x0, x1] = told.x, [y0, y1] = told.y;
  const across = x => left + (x - x0) / (x1 - x0) * (right - left), up = y => bottom - (y - y0) / (y1 - y0) * (bottom - top);
  const lines = () => told.lines.filter(line => !hidden.has(String(line[0])));
  const at = { line: 0, place: 0 };
  const onScreen = (line, place) =>
    new DOMPoint(across(line[2][place]), up(line[3][place])).matrixTransform(svg.getScreenCTM());
  const show = (line, place) => { const point = onScreen(line, place); tell(svg, told, line, place, point.x, point.y); };
  svg.addEventListener("pointermove", event => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = [30, null, 0];
    for (const line of lines()) line[2].forEach((x, place) => {
      if (line[3][place] === null) return;
      const far = Math.hypot(across(x) - point.x, up(line[3][place]) - point.y);
      if (far < best[0]) best = [far, line, place];
    });
    if (best[1]) show(best[1], best[2]); else hint.hidden = true;
  });
  svg.addEventListener("pointerleave", () => { hint.hidden = true; });
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("blur", () => { hint.hidden = true; });
  svg.addEventListener("keydown", event => {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const shown = lines();
    if (event.key === "Escape") hint.hidden = true;
    if (!moves || !shown.length) return;
    event.preventDefault();
    at.line = (at.line + moves[0] + shown.length) % shown.length;
    at.place = Math.min(Math.max(at.place + moves[1], 0), shown[at.line][2].length - 1);
    show(shown[at.line], at.place);
  });
}

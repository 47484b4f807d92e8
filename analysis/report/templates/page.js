"use strict";
const number = text => {
  const found = text.replaceAll("−", "-").replaceAll(",", "").match(/^<?(-?\d+(\.\d+)?)/);
  return found ? parseFloat(found[1]) : null;
};
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return x - y;
  return x === null && y === null ? a.localeCompare(b) : x === null ? 1 : -1;
};
for (const table of document.querySelectorAll("table")) {
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
      const rows = [...body.rows].sort((a, b) => (up ? 1 : -1) * compare(cell(a), cell(b)));
      body.append(...rows);
    });
  });
}
const choice = document.getElementById("task");
if (choice) {
  const show = () => document.querySelectorAll("[data-task]").forEach(figure => {
    figure.hidden = figure.dataset.task !== choice.value;
  });
  choice.addEventListener("change", show);
  show();
}
for (const box of document.querySelectorAll("[data-arm]")) {
  box.addEventListener("change", () => {
    const shapes = document.querySelectorAll(".arm-" + box.dataset.arm);
    shapes.forEach(shape => shape.classList.toggle("off", !box.checked));
  });
}
for (const controls of document.querySelectorAll(".controls")) controls.hidden = false;

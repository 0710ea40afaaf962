"use strict";
// All of this is a convenience: the page says everything without it.

// Theme: the system's, until the reader chooses.
{
  const button = document.createElement("button");
  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.type = "button";
  button.title = "Switch between light and dark";
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    label();
  });
  label();
  document.querySelector(".bar").append(button);
}

// Sorting: a click on a column's head, within each group of rows.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.classList.add("sorts");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        const text = cell.dataset.sort ?? cell.textContent.trim();
        const number = Number(text);
        return text === "" || text === "–" ? null : Number.isNaN(number) ? text : number;
      };
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return down ? -order : order;
      };
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        body.append(...rows.sort(compare));
      }
    });
  });
}

// Tooltips: what stands behind a number; by mouse, touch and keyboard.
{
  let tip = null;
  const hide = () => {
    tip?.remove();
    tip = null;
    document.querySelector("[aria-describedby=tip]")?.removeAttribute("aria-describedby");
  };
  const show = (target) => {
    hide();
    if (target.title) { target.dataset.hint = target.title; target.removeAttribute("title"); }
    tip = document.createElement("div");
    tip.className = "tip";
    tip.textContent = target.dataset.hint;
    tip.id = "tip";
    tip.role = "tooltip";
    target.setAttribute("aria-describedby", tip.id);
    document.body.append(tip);
    const box = target.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 5;
    const bar = document.querySelector(".bar").getBoundingClientRect().bottom;
    tip.style.left = `${Math.max(8, left) + scrollX}px`;
    tip.style.top = `${(above > bar ? above : box.bottom + 5) + scrollY}px`;
  };
  const numberOf = (event) => {
    const target = event.target.closest?.("data.n");
    return target && (target.title || target.dataset.hint) ? target : null;
  };
  for (const name of ["pointerover", "focusin"]) {
    document.addEventListener(name, (event) => {
      const target = numberOf(event);
      if (target) show(target); else hide();
    });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

// Numbers by keyboard: each table, card or sentence is one stop of the Tab key, and arrows go on from there.
{
  const blockOf = (number) => number.closest("table, .card") ?? number.closest("p, li, dd") ?? number.parentElement;
  const shown = (block) => [...block.querySelectorAll("data.n")].filter((number) => number.checkVisibility());
  const below = (number, step) => {
    const cell = number.closest("td");
    let row = cell?.parentElement;
    const rows = row ? [...row.closest("table").rows] : [];
    for (let k = rows.indexOf(row) + step; rows[k]; k += step) {
      const found = rows[k].cells[cell.cellIndex]?.querySelector("data.n");
      if (found) return found;
    }
    return null;
  };
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 };
  const seen = new Set();
  for (const number of document.querySelectorAll("data.n")) {
    const block = blockOf(number);
    number.tabIndex = seen.has(block) ? -1 : 0;
    seen.add(block);
  }
  document.addEventListener("keydown", (event) => {
    const number = event.target.closest?.("data.n");
    const step = steps[event.key];
    if (!number || !step || event.ctrlKey || event.altKey || event.metaKey) return;
    const all = shown(blockOf(number));
    const aside = event.key === "ArrowLeft" || event.key === "ArrowRight";
    const next = aside || !number.closest("td") ? all[all.indexOf(number) + step] : below(number, step);
    event.preventDefault();
    if (!next) return;
    number.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

// Printing: everything folded is unfolded.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});

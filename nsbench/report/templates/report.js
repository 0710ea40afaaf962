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

// Tooltips: what stands behind a number, at once and on touch as well.
{
  let tip = null;
  const hide = () => { tip?.remove(); tip = null; };
  const show = (target) => {
    hide();
    if (target.title) { target.dataset.hint = target.title; target.removeAttribute("title"); }
    tip = document.createElement("div");
    tip.className = "tip";
    tip.textContent = target.dataset.hint;
    document.body.append(tip);
    const box = target.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left) + scrollX}px`;
    tip.style.top = `${box.top + scrollY - tip.offsetHeight - 5}px`;
  };
  document.addEventListener("pointerover", (event) => {
    const target = event.target.closest?.("data.n");
    if (target && (target.title || target.dataset.hint)) show(target); else hide();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

// Printing: everything folded is unfolded.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});

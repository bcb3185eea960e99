"use strict";
// Filters, groups and sorts the findings. Without this script the page shows all of them, the most severe first.
(() => {
  const form = document.querySelector("form");
  const fields = ["severity", "rule", "file", "module"];
  const severities = ["error", "warning", "info"];
  const boxes = [...document.querySelectorAll(".cards")].map((box) => ({ box, cards: [...box.children] }));
  const all = boxes.flatMap(({ cards }) => cards);
  const place = new Map(all.map((card, index) => [card, index]));
  const rank = (field, value) => (field === "severity" ? String(severities.indexOf(value)) : value);
  const compare = (one, other) => one.localeCompare(other, undefined, { numeric: true });

  for (const field of fields) {
    const values = [...new Set(all.map((card) => card.dataset[field]))];
    values.sort((one, other) => compare(rank(field, one), rank(field, other)));
    for (const value of values) form.elements[field].add(new Option(value || "(none)", `=${value}`));
  }

  const isShown = (card) =>
    fields.every((field) => ["", `=${card.dataset[field]}`].includes(form.elements[field].value));

  function inOrder(cards, field) {
    const key = (card) => rank(field, card.dataset[field]);
    return [...cards].sort((one, other) => (field && compare(key(one), key(other))) || place.get(one) - place.get(other));
  }

  function grouped(cards, field) {
    const groups = new Map();
    for (const card of inOrder(cards, field)) {
      const value = card.dataset[field];
      if (!groups.has(value)) groups.set(value, []);
      groups.get(value).push(card);
    }
    return [...groups].map(([value, members]) => {
      const group = document.createElement("details");
      const summary = document.createElement("summary");
      const shown = members.filter((card) => !card.hidden).length;
      summary.textContent = `${value || "(none)"} (${shown})`;
      group.className = "group";
      group.open = true;
      group.hidden = shown === 0;
      group.append(summary, ...inOrder(members, form.elements.sort.value));
      return group;
    });
  }

  function arrange() {
    for (const card of all) card.hidden = !isShown(card);
    for (const { box, cards } of boxes) {
      const field = form.elements.group.value;
      box.replaceChildren(...(field ? grouped(cards, field) : inOrder(cards, form.elements.sort.value)));
    }
    for (const link of document.querySelectorAll("nav li[data-to]")) {
      link.hidden = document.getElementById(link.dataset.to).hidden;
    }
    for (const rule of document.querySelectorAll("nav details")) {
      rule.hidden = !rule.querySelector("li[data-to]:not([hidden])");
    }
    form.elements.shown.value = `${all.filter((card) => !card.hidden).length} of ${all.length} shown`;
  }

  function setOpen(open) {
    for (const each of document.querySelectorAll(".cards details")) each.open = open;
  }

  function revealTarget() {
    const target = all.find((card) => card.id === location.hash.slice(1));
    if (!target) return;
    if (target.hidden) {
      form.reset();
      arrange();
    }
    for (let each = target.querySelector("details"); each; each = each.parentElement.closest("details")) each.open = true;
    target.scrollIntoView();
  }

  form.addEventListener("change", arrange);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(arrange));
  form.elements.collapse.addEventListener("click", () => setOpen(false));
  form.elements.expand.addEventListener("click", () => setOpen(true));
  addEventListener("hashchange", revealTarget);
  addEventListener("beforeprint", () => setOpen(true));
  form.hidden = false;
  arrange();
  revealTarget();
})();

// Searching, choosing and ordering the classes. Without this script all of them are shown.
(() => {
  const STEP = 24; // classes shown at first, and more at each press of the button
  const form = document.getElementById("filters");
  if (!form) return;
  const list = document.getElementById("cards");
  const cards = [...list.children];
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const number = (card, key) => (card.dataset[key] === undefined ? NaN : Number(card.dataset[key]));
  const names = new Map(cards.map((card) => [card, card.querySelector("h3").textContent.toLowerCase()]));
  const text = (a, b) => names.get(a).localeCompare(names.get(b), undefined, { numeric: true });
  // by a number, those that have none last, equal ones as in the dataset
  const by = (key, sign) => (a, b) => {
    const [x, y] = [number(a, key), number(b, key)];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (x - y) || number(a, "label") - number(b, "label");
  };
  const ORDERS = {
    class: by("label", 1),
    name: text,
    worst: by("accuracy", 1),
    best: by("accuracy", -1),
    lost: by("gain", 1),
    gained: by("gain", -1),
  };
  let limit = STEP;

  // the classes of one end, as many as the value says
  const inSubset = (subset) => {
    const [end, size] = subset.split("-");
    const known = cards.filter((card) => !Number.isNaN(number(card, "accuracy"))).sort(ORDERS[end] ?? ORDERS.class);
    return size === undefined ? new Set(cards) : new Set(known.slice(0, Number(size)));
  };

  const show = () => {
    const words = form.search.value.trim().toLowerCase();
    const subset = inSubset(form.subset?.value ?? "all");
    const found = cards.filter((card) => subset.has(card) && names.get(card).includes(words));
    found.sort(ORDERS[form.order.value]);
    const shown = found.slice(0, limit);
    list.replaceChildren(...shown); // the others wait outside the page, which 1000 of them would make slow
    const hidden = found.length - shown.length;
    more.hidden = hidden <= 0;
    more.textContent = `Show ${Math.min(STEP, hidden)} more`;
    count.textContent = found.length
      ? `${shown.length} of ${cards.length} classes shown` + (hidden > 0 ? `, ${hidden} more found` : "")
      : `No class of ${cards.length} is found`;
  };

  const selections = () => {
    const off = new Set([...form.querySelectorAll("[name=selection]")].filter((b) => !b.checked).map((b) => b.value));
    for (const card of cards) {
      for (const part of card.querySelectorAll("[data-selection]")) part.hidden = off.has(part.dataset.selection);
    }
  };

  // a link to a class finds it, whatever is shown
  const reveal = () => {
    const card = cards.find((each) => `#${each.id}` === location.hash);
    if (!card) return;
    if (!card.isConnected) {
      [form.search.value, form.order.value] = ["", "class"];
      if (form.subset) form.subset.value = "all";
      limit = Math.max(limit, number(card, "label") + 1);
      show();
    }
    card.scrollIntoView();
    card.focus({ preventScroll: true });
  };

  const restart = () => {
    limit = STEP;
    show();
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => (event.target.name === "selection" ? selections() : restart()));
  form.addEventListener("reset", () => setTimeout(() => { selections(); restart(); }));
  more.addEventListener("click", () => {
    const first = limit;
    limit += STEP;
    show();
    list.children[first]?.focus();
  });
  addEventListener("hashchange", reveal);
  show();
  reveal();
})();

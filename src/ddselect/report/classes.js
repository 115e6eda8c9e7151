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
  const rising = (key) => (a, b) => (number(a, key) - number(b, key)) || number(a, "label") - number(b, "label");
  const ORDERS = {
    class: rising("label"),
    name: text,
    worst: rising("accuracy"),
    best: (a, b) => rising("accuracy")(b, a),
    lost: rising("gain"),
    gained: (a, b) => rising("gain")(b, a),
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
    const shown = new Set(found.slice(0, limit));
    for (const card of cards) card.hidden = !shown.has(card);
    list.append(...found);
    const hidden = found.length - shown.size;
    more.hidden = hidden <= 0;
    more.textContent = `Show ${Math.min(STEP, hidden)} more`;
    count.textContent = found.length
      ? `${shown.size} of ${cards.length} classes shown` + (hidden > 0 ? `, ${hidden} more found` : "")
      : `No class of ${cards.length} is found`;
  };

  const selections = () => {
    const off = new Set([...form.querySelectorAll("[name=selection]")].filter((b) => !b.checked).map((b) => b.value));
    for (const part of list.querySelectorAll("[data-selection]")) part.hidden = off.has(part.dataset.selection);
  };

  // a link to a class finds it, whatever is hidden
  const reveal = () => {
    const card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!cards.includes(card)) return;
    if (card.hidden) {
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
    [...list.children].filter((card) => !card.hidden)[first]?.focus();
  });
  addEventListener("hashchange", reveal);
  show();
  reveal();
})();

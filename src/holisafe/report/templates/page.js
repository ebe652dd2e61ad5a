"use strict";
// Texts of models and data enter the page as text only: nothing here reads a string as markup.

const one = (query, root = document) => root.querySelector(query);
const all = (query, root = document) => [...root.querySelectorAll(query)];

/** An element with a class, and strings or elements in it. */
const make = (tag, name = "", ...parts) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...parts);
  return made;
};

/** A value from a block of gzip in base64; null where there is nothing. */
const unpack = async (id) => {
  const packed = document.getElementById(id).textContent.trim();
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
};

// Sections unfold where an address leads to them.
const unfold = (hash) => {
  const target = document.getElementById(decodeURIComponent(hash.slice(1)));
  if (!target) return;
  for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  const part = one(":scope > details.part", target);
  if (part) part.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", () => unfold(location.hash));
addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (link) unfold(link.hash);
});

// One judge, one data set: what is of others is hidden, in every section.
const chosen = { judge: "", set: "" };
const applyChoice = (root = document) => {
  for (const each of all("[data-judge], [data-set]", root)) {
    each.hidden = Object.entries(chosen).some(
      ([kind, value]) => value !== "" && kind in each.dataset && each.dataset[kind] !== value,
    );
  }
};
for (const kind of Object.keys(chosen)) {
  const picker = document.getElementById(`pick-${kind}`);
  if (!picker) continue;
  const choose = () => {
    chosen[kind] = picker.value;
    applyChoice();
  };
  picker.addEventListener("change", choose);
  choose();
}
for (const each of all(".filters")) each.hidden = false;
if (location.hash) unfold(location.hash);

// The leaderboard: rows sorted by a column, figures of the samples of one tag.

const board = one(".leaderboard");
const heads = all("thead th", board);
const rowsOf = (body) => all("tr[data-run]", body);
const order = new Map(all("tbody", board).map((body) => [body, rowsOf(body)]));
let sorted = { column: -1, sign: 1 };

const sortRows = () => {
  for (const [body, rows] of order) {
    const key = (row) => row.cells[sorted.column]?.dataset.sort || "";
    const found = [...rows];
    if (sorted.column >= 0) {
      found.sort((a, b) => (key(a) === "") - (key(b) === "") || sorted.sign * (Number(key(a)) - Number(key(b))));
    }
    body.append(...found);
  }
  heads.forEach((head, column) => {
    if (column !== sorted.column) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", sorted.sign > 0 ? "ascending" : "descending");
  });
};

heads.forEach((head, column) => {
  const button = make("button", "sort", head.textContent);
  button.type = "button";
  button.title = "Sort by this column";
  button.addEventListener("click", () => {
    if (sorted.column !== column) sorted = { column, sign: 1 };
    else if (sorted.sign > 0) sorted = { column, sign: -1 };
    else sorted = { column: -1, sign: 1 };
    sortRows();
  });
  head.replaceChildren(button);
});

/** What a cell shows of one figure: [value, low, high, n, few, words], or nothing. */
const fillFigure = (cell, figure, isBest) => {
  cell.dataset.sort = figure ? figure[0] : "";
  if (!figure) {
    const none = make("span", "none", "–", make("span", "sr", " no samples"));
    cell.replaceChildren(none);
    return;
  }
  const [value, low, high, , few, words] = figure;
  const parts = words ? [make("span", "what", words), " "] : [];
  parts.push(make(isBest ? "strong" : "span", few ? "few" : "", value.toFixed(1)));
  if (few) parts.push(make("span", "few", "°"));
  cell.replaceChildren(...parts, make("span", "interval", `[${low.toFixed(1)}, ${high.toFixed(1)}]`));
};

const bestOf = (found, column) => {
  const values = found.map((row) => row.cells[column]?.[0]).filter((value) => value !== undefined);
  if (values.length < 2) return undefined;
  return column === heads.length - 3 ? Math.max(...values) : Math.min(...values);
};

let whole;
const showTag = async (number) => {
  whole ??= new Map(all("td.figure, tr[data-run] > td:last-child", board).map((cell) =>
    [cell, [[...cell.childNodes], cell.dataset.sort]]));
  for (const [cell, [nodes, key]] of whole) {
    cell.replaceChildren(...nodes);
    cell.dataset.sort = key;
  }
  const { groups } = number === "" ? { groups: [] } : (await unpack("boards"))[Number(number)];
  groups.forEach((group, place) => {
    const found = Object.values(group);
    for (const row of rowsOf(one(`tbody[data-group="${place}"]`, board))) {
      const { cells, n } = group[row.dataset.run] ?? { cells: [], n: [0, 0] };
      all("td.figure", row).forEach((cell, column) => {
        const figure = cells[column];
        fillFigure(cell, figure, figure && figure[0] === bestOf(found, column));
      });
      const last = row.cells[row.cells.length - 1];
      last.dataset.sort = n[0] + n[1];
      last.replaceChildren(String(n[0] + n[1]), make("span", "n", `${n[0]} unsafe`));
    }
  });
  for (const each of all(".all-samples")) each.hidden = number === "";
  sortRows();
};

const tagPicker = document.getElementById("pick-tag");
tagPicker?.addEventListener("change", () => showTag(tagPicker.value));

// Tables: a click on a heading sorts the rows by its column, another one the other way round.

function makeSortable(table) {
  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button").addEventListener("click", () => sortBy(table, heading));
  }
}

function sortBy(table, heading) {
  const falls = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1, [body] = table.tBodies;
  const rows = [...body.rows].map((row) => ({row, key: keyOf(row.cells[heading.cellIndex])}));
  rows.sort((one, other) => compared(one.key, other.key, falls));
  body.append(...rows.map(({row}) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falls > 0 ? "ascending" : "descending");
}

/** A number, the text, or null for a number that is not known. */
function keyOf(cell) {
  if (!cell.classList.contains("number")) return cell.textContent;
  return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
}

/** Numbers that are not known stay last either way. */
function compared(one, other, falls) {
  if (one === null || other === null) return (one === null) - (other === null);
  const order = typeof one === "number" ? one - other : one.localeCompare(other, undefined, {numeric: true});
  return falls * order;
}

"use strict";
// What is shown stands in the address behind the `#`, as in `#1/A2?verdict=fail`, so that it can be passed on. Without
// this script the table, the failures and the links into them work as they are.
window.addEventListener("error", (event) => {
  const alert = document.createElement("p");
  alert.id = "script-error";
  alert.className = "alert";
  alert.setAttribute("role", "alert");
  alert.textContent = `The filter does not work here: ${event.message}`;
  document.querySelector("header").append(alert);
});

const filter = document.querySelector(".filter");
const rows = [...document.querySelectorAll("tr.clause")].map((row) => ({
  row,
  cases: row.nextElementSibling,
  text: `${row.textContent} ${row.nextElementSibling.textContent}`.toLowerCase(),
}));
const failures = [...document.querySelectorAll(".failure")];

function fromAddress() {
  const [anchor, query] = location.hash.slice(1).split("?");
  return { anchor, wanted: new URLSearchParams(query) };
}

function addressOf(anchor) {
  const wanted = new URLSearchParams([...new FormData(filter)].filter(([, value]) => value !== ""));
  return `#${anchor}${wanted.size > 0 ? `?${wanted}` : ""}`;
}

function show() {
  const { anchor, wanted } = fromAddress();
  for (const name of ["text", "verdict", "backend"]) filter.elements[name].value = wanted.get(name) ?? "";
  select();
  open(document.getElementById(anchor));
}

// Hides the clauses, columns and failures that the filter leaves out.
function select() {
  const words = filter.elements.text.value.toLowerCase().split(/\s+/);
  const verdict = filter.elements.verdict.value;
  const backend = filter.elements.backend.value;
  const here = (element) => backend === "" || element.dataset.backend === backend;
  for (const element of document.querySelectorAll("[data-backend]")) element.hidden = !here(element);
  // A cell across columns that are hidden would keep their place.
  const columns = document.querySelectorAll("thead th:not([hidden])").length;
  for (const cell of document.querySelectorAll("[colspan]")) cell.colSpan = columns;
  for (const { row, cases, text } of rows) {
    const ended = [...row.cells].slice(1).filter(here);
    const fits = ended.some((cell) => cell.textContent !== "" && (verdict === "" || cell.className === verdict));
    row.hidden = cases.hidden = !(fits && words.every((word) => text.includes(word)));
  }
  for (const body of document.querySelectorAll("tbody")) body.hidden = !body.querySelector("tr.clause:not([hidden])");
  const shown = rows.filter(({ row }) => !row.hidden);
  const clauses = new Set(shown.map(({ row }) => row.id));
  for (const failure of failures) {
    const fits = here(failure) && (verdict === "" || failure.classList.contains(verdict));
    failure.hidden = !(fits && clauses.has(failure.dataset.clause));
  }
  filter.elements.shown.value = `${shown.length} of ${rows.length} clauses`;
}

// Opens the cases or the failure that an anchor names, and closes the other cases.
function open(target) {
  for (const { row, cases } of rows) {
    cases.classList.toggle("open", target !== null && (row === target || cases.contains(target)));
  }
  for (const section of document.querySelectorAll(".cases section")) section.classList.toggle("chosen", section === target);
  if (target === null) return;
  if (target.matches(".failure")) target.open = true;
  target.scrollIntoView({ block: "nearest" });
}

filter.addEventListener("input", () => {
  history.replaceState(null, "", addressOf(fromAddress().anchor));
  select();
});
filter.addEventListener("submit", (event) => event.preventDefault());
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (link === null) return;
  event.preventDefault();
  const anchor = link.hash.slice(1);
  history.pushState(null, "", addressOf(anchor === fromAddress().anchor ? "" : anchor));
  show();
});
window.addEventListener("hashchange", show);
show();
document.documentElement.classList.add("scripted");

// The table of rows: sorted by its headings, filtered by its fields, a page of it at a time.
(() => {
  const { element, format, filters } = Report;
  const { length } = Report.data.rows;
  const columns = Report.data.shown;
  const table = document.getElementById("rows-table");
  const said = document.getElementById("rows-said");
  const search = document.getElementById("rows-search");
  const perPage = document.getElementById("rows-per-page");
  const state = { order: Uint32Array.from({ length }, (_, row) => row), sort: null, down: false, page: 0 };
  const fields = new Map();
  const tests = new Map();
  let wanted = state.order;

  function cellText(column, row) {
    if (column.form === "span") return format.span(...column.ends.map((end) => Report.value(end, row)));
    return format[column.form](Report.value(column.name, row));
  }

  function filterField(column) {
    const values = filters.distinct(column.name);
    const label = `Filter ${column.title}`;
    if (values) {
      const options = values.map((value) => element("option", { value: format.text(value) }, format.text(value)));
      return element("select", { "aria-label": label }, element("option", { value: "" }, "all"), ...options);
    }
    const hint = Report.column(column.name).text ? "contains" : "> 0.1, 1..5";
    return element("input", { type: "search", "aria-label": `${label}: ${hint}`, placeholder: hint, size: 8 });
  }

  function head() {
    const headings = element("tr", {});
    const below = element("tr", { class: "filters" });
    for (const column of columns) {
      const button = element("button", { type: "button", title: column.meaning }, column.title);
      const kind = column.form === "text" ? "words" : "figure";
      const heading = element("th", { scope: "col", "aria-sort": "none", class: kind }, button);
      button.addEventListener("click", () => sortBy(column, heading));
      headings.append(heading);
      const field = filterField(column);
      field.addEventListener("input", () => filterBy(column, field));
      fields.set(column, field);
      below.append(element("td", {}, field));
    }
    table.append(element("thead", {}, headings, below), element("tbody", {}));
  }

  function sortBy(column, heading) {
    state.down = state.sort === column && !state.down;
    state.sort = column;
    for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    const found = Report.column(column.name);
    const sign = state.down ? -1 : 1;
    if (found.text) {
      const ranks = rankOf(found.values);
      state.order.sort((a, b) => sign * (ranks[found.codes[a]] - ranks[found.codes[b]]) || a - b);
    } else {
      const { numbers } = found; // rows without a figure come last, whichever way
      state.order.sort((a, b) => {
        const [x, y] = [numbers[a], numbers[b]];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
        return x === y ? a - b : x < y ? -sign : sign;
      });
    }
    show(0);
  }

  function rankOf(values) {
    const ranks = new Uint32Array(values.length);
    [...values.keys()]
      .sort((a, b) => filters.compareTexts(values[a], values[b]))
      .forEach((code, rank) => (ranks[code] = rank));
    return ranks;
  }

  function filterBy(column, field) {
    const test = field.value === "" ? undefined : filters.rowTest(column.name, field.value, field.tagName === "SELECT");
    field.toggleAttribute("aria-invalid", test === null);
    if (test) tests.set(column, test);
    else tests.delete(column);
    show(0);
  }

  function show(page) {
    const words = search.value.trim() === "" ? null : filters.wordsTest(search.value);
    const all = [...tests.values(), ...(words ? [words] : [])];
    wanted = all.length ? state.order.filter((row) => all.every((test) => test(row))) : state.order;
    const size = Number(perPage.value);
    const last = Math.max(Math.ceil(wanted.length / size) - 1, 0);
    state.page = Math.min(Math.max(page, 0), last);
    const there = wanted.subarray(state.page * size, (state.page + 1) * size);
    table.tBodies[0].replaceChildren(...Array.from(there, lineOf));
    const first = wanted.length ? state.page * size + 1 : 0;
    const left = wanted.length < length ? ` that match, of ${length}` : "";
    said.textContent = `Rows ${first} to ${state.page * size + there.length} of ${wanted.length}${left}`;
    for (const button of document.querySelectorAll("[data-rows]")) {
      const back = button.dataset.rows === "first" || button.dataset.rows === "previous";
      // stays focusable: the keyboard's place is not lost at the last page
      button.setAttribute("aria-disabled", String(back ? state.page === 0 : state.page === last));
    }
  }

  function lineOf(row) {
    const line = element("tr", {});
    for (const column of columns) {
      const shown = cellText(column, row);
      const kind = column.form === "text" ? "words" : "figure";
      const verdict = column.name === "verdict" ? ` verdict ${shown}` : "";
      line.append(element("td", { class: kind + verdict }, shown));
    }
    return line;
  }

  const isOfRows = (name) => !Report.data.derived.includes(name) && (name !== "run" || Report.data.runs > 1);

  function saved() {
    const names = Report.data.rows.columns.map((column) => column.name).filter(isOfRows);
    const rows = Array.from(wanted, (row) => names.map((name) => Report.value(name, row)));
    Report.download.save("rows.csv", "text/csv", Report.download.csv(names, rows));
  }

  function cleared() {
    search.value = "";
    for (const field of fields.values()) {
      field.value = "";
      field.removeAttribute("aria-invalid");
    }
    tests.clear();
    show(0);
  }

  const moves = { first: () => 0, previous: () => state.page - 1, next: () => state.page + 1, last: () => Infinity };
  for (const button of document.querySelectorAll("[data-rows]")) {
    button.addEventListener("click", () => show(moves[button.dataset.rows]()));
  }
  search.addEventListener("input", () => show(0));
  perPage.addEventListener("change", () => show(0));
  document.getElementById("rows-save").addEventListener("click", saved);
  document.getElementById("rows-clear").addEventListener("click", cleared);
  head();
  show(0);
})();

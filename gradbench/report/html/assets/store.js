// The rows of the page: columns decoded from what is embedded, one value at a time.
const Report = { data: JSON.parse(document.getElementById("report-data").textContent) };

// A column by name, decoded when it is first asked for: ``values`` and ``codes`` of texts, ``numbers`` of figures.
Report.column = (() => {
  const { length } = Report.data.rows;
  const packed = new Map(Report.data.rows.columns.map((column) => [column.name, column]));
  const decoded = new Map();
  const integers = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array };

  function bytes(text) {
    const raw = atob(text);
    const found = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) found[at] = raw.charCodeAt(at);
    return found.buffer;
  }

  function codesOf(column, count) {
    if (column.codes === "") return new Uint8Array(length);
    return new integers[count <= 2 ** 8 ? 1 : count <= 2 ** 16 ? 2 : 4](bytes(column.codes));
  }

  function decode(column) {
    if (column.same_as) return Report.column(column.same_as);
    if (column.values) return { text: true, values: column.values, codes: codesOf(column, column.values.length) };
    const raw = bytes(column.data);
    const values = column.bits === 32 ? new Float32Array(raw) : new Float64Array(raw);
    if (column.codes === undefined) return { text: false, bits: column.bits, numbers: values };
    const codes = codesOf(column, values.length);
    const numbers = new values.constructor(length);
    for (let row = 0; row < length; row++) numbers[row] = values[codes[row]];
    return { text: false, bits: column.bits, numbers };
  }

  return (name) => {
    if (!decoded.has(name)) decoded.set(name, decode(packed.get(name)));
    return decoded.get(name);
  };
})();

// The value of a column in a row: a text, a number (NaN where there is none), or null.
Report.value = (name, row) => {
  const column = Report.column(name);
  if (column.text) return column.values[column.codes[row]];
  const value = column.numbers[row];
  return column.bits === 32 && Number.isFinite(value) ? Number(value.toPrecision(7)) : value; // the digits that it has
};

Report.element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
};

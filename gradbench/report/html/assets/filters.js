// Which rows of the table are wanted: words anywhere in a row, and a condition for each column.
Report.filters = (() => {
  const FEW = 40; // values of a column, up to which they are offered as a list

  const CONDITION = /^(<=|>=|<|>|=)?\s*(\S+)$/;
  const SIGN = { "<": (x, y) => x < y, ">": (x, y) => x > y, "<=": (x, y) => x <= y, ">=": (x, y) => x >= y };

  // A test of numbers from "4", "> 0.1" or "0.1..5"; null where the text is none of these.
  function numberTest(text) {
    const ends = text.split("..");
    if (ends.length === 2) {
      const [low, high] = ends.map((end, side) => (end.trim() === "" ? (side ? Infinity : -Infinity) : Number(end)));
      return Number.isNaN(low) || Number.isNaN(high) ? null : (value) => value >= low && value <= high;
    }
    const [, sign = "=", digits] = CONDITION.exec(text) ?? [];
    const limit = digits === undefined ? NaN : Number(digits.replace("∞", "Infinity"));
    if (Number.isNaN(limit)) return null;
    return SIGN[sign] ? (value) => SIGN[sign](value, limit) : (value) => value === limit;
  }

  const contains = (value, text) => value !== null && value.toLowerCase().includes(text.toLowerCase());

  // The values of a column of texts that pass, as flags by code.
  const passing = (column, test) => Uint8Array.from(column.values, (value) => (test(value) ? 1 : 0));

  // A test of rows for the column, from what its field holds; null where the text cannot be understood.
  function rowTest(name, text, exact) {
    const column = Report.column(name);
    if (column.text) {
      const flags = passing(column, (value) => (exact ? Report.format.text(value) === text : contains(value, text)));
      return (row) => flags[column.codes[row]] === 1;
    }
    const test = numberTest(text.trim());
    return test && ((row) => test(column.numbers[row]));
  }

  // A test of rows for words that must all be somewhere in the texts of a row.
  function wordsTest(text) {
    const columns = Report.data.rows.columns.filter((column) => column.values).map((column) => Report.column(column.name));
    const words = text.trim().split(/\s+/).filter(Boolean);
    const found = words.map((word) => columns.map((column) => passing(column, (value) => contains(value, word))));
    return (row) => found.every((flags) => columns.some((column, index) => flags[index][column.codes[row]] === 1));
  }

  function distinct(name) {
    const column = Report.column(name);
    if (column.text) return column.values.length <= FEW ? [...column.values].sort(compareTexts) : null;
    return null;
  }

  const collator = new Intl.Collator("en", { numeric: true });
  const compareTexts = (a, b) => (a === null) - (b === null) || collator.compare(a ?? "", b ?? "");

  return { rowTest, wordsTest, distinct, compareTexts };
})();

// Files made in the page and saved by the browser; nothing is sent anywhere.
Report.download = (() => {
  function save(name, type, content) {
    const blob = content instanceof Blob ? content : new Blob([content], { type });
    const link = Report.element("a", { href: URL.createObjectURL(blob), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // Characters that what reads the file would obey instead of showing, as escapes; a formula behind an apostrophe.
  const FORMULA = /(^|[;\t\r\n])(?= *[=+\-@＝＋－＠])/g;

  function cell(value) {
    if (value === null || Number.isNaN(value)) return "";
    if (typeof value === "number") return Number.isFinite(value) ? String(value) : value > 0 ? "inf" : "-inf";
    const begun = value.startsWith("\t") || value.startsWith("\r") ? "'" : "";
    const safe = begun + value.replace(FORMULA, "$1'");
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function csv(names, rows) {
    return [names, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
  }

  return { save, csv };
})();

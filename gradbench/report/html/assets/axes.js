// Axes for plotly from those of a figure: every value has a place, 0 and infinity at an edge of their own.
Report.axes = (() => {
  // Not a number for what is not known; infinities are texts in JSON.
  const known = (value) => (value === null || value === undefined ? NaN : value === "inf" ? Infinity : value === "-inf" ? -Infinity : value);

  function place(axis, given) {
    const value = known(given);
    if (Number.isNaN(value)) return null;
    if (axis.scale === "log" && value <= 0) return axis.zero ?? axis.low;
    if (!Number.isFinite(value)) return value > 0 ? (axis.infinity ?? axis.high) : (axis.zero ?? axis.low);
    return Math.min(Math.max(value, axis.low), axis.high);
  }

  const position = (axis, value) => (axis.scale === "log" ? Math.log10(value) : value); // as plotly counts it

  function tickName(value) {
    const exponent = Math.log10(Math.abs(value));
    const power = Math.round(exponent);
    if (Math.abs(exponent - power) < 1e-9 && Math.abs(power) > 3) return `10<sup>${String(power).replace("-", "−")}</sup>`;
    return Report.format.number(value, 3).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
  }

  function logTicks(low, high, most) {
    const powers = [];
    for (let power = Math.ceil(Math.log10(low)); power <= Math.floor(Math.log10(high)); power++) powers.push(power);
    if (powers.length >= 3) return powers.filter((_, index) => index % Math.ceil(powers.length / most) === 0).map((power) => 10 ** power);
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const digit of [1, 2, 5]) found.push(Number(`${digit}e${power}`));
    }
    return found.filter((value) => value >= low && value <= high);
  }

  function linearTicks(low, high, most) {
    const rough = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= rough);
    const found = [];
    for (let index = Math.ceil(low / step); index * step <= high; index++) found.push(index * step);
    return found;
  }

  // A name in lines of so many characters, broken behind spaces and dots; the last of three may be cut.
  function wrapped(name, width) {
    const lines = [""];
    for (const part of name.match(/[^ .]*[ .]?/g)) {
      if (lines.at(-1).length + part.trimEnd().length > width && lines.at(-1) !== "") lines.push("");
      lines[lines.length - 1] += part;
    }
    const shown = lines.length > 3 ? [...lines.slice(0, 2), `${lines[2].trimEnd()} …`] : lines;
    return shown.map((line) => Report.plotText(line.trimEnd())).join("<br>");
  }

  function ticks(axis, most) {
    if (axis.scale === "names") return axis.names.map((name, index) => [index, wrapped(name, most < 7 ? 18 : 34)]);
    const low = axis.zero === undefined ? axis.low : axis.zero * (axis.scale === "log" ? 1.0001 : 1);
    const free = axis.scale === "log" ? logTicks(low, axis.infinity ?? axis.high, most) : linearTicks(low, axis.infinity ?? axis.high, most);
    const found = (axis.ticks ?? free).map((value) => [value, tickName(value)]);
    if (axis.zero !== undefined) found.unshift([axis.zero, axis.scale === "log" ? "0" : "−∞"]);
    if (axis.infinity !== undefined) found.push([axis.infinity, "∞"]);
    return found;
  }

  function drawn(axis, most, colours) {
    const shown = ticks(axis, most);
    return {
      type: axis.scale === "log" ? "log" : "linear",
      range: [position(axis, axis.low), position(axis, axis.high)],
      title: { text: Report.plotText(axis.label), standoff: 8 },
      tickvals: shown.map(([value]) => value),
      ticktext: shown.map(([, name]) => name),
      gridcolor: colours.grid, linecolor: colours.muted, zeroline: false, showline: true, ticks: "outside",
      tickcolor: colours.muted, tickangle: 0, automargin: true,
    };
  }

  return { known, place, position, drawn };
})();

// Text as plotly must be given it to show it as it is: it reads a little HTML.
Report.plotText = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

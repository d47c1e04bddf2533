// From a figure to what plotly draws.
Report.plotting = (() => {
  const { axes, marks, format } = Report;
  const ARROW = 26; // pixels from an upper limit downwards
  const APART = new Set(["tensors", "claims"]); // kinds whose marks no line joins

  const verdictOf = (series, index) => (typeof series.verdict === "string" ? series.verdict : series.verdict[index]);

  function ends(label, series, axis, index) {
    const [low, high] = ["low", "high"].map((end) => axes.known(series[`${axis}_${end}`]?.[index]));
    const value = format.number(axes.known(series[axis][index]));
    return `${label}: ${value}${Number.isNaN(low) ? "" : ` ${format.interval(low, high)}`}`;
  }

  function hoverText(figure, series, index) {
    const limit = series.limits?.includes(index) ? "at most " : "";
    const lines = [series.name, series.words[index], verdictOf(series, index)];
    if (figure.x.scale !== "names") lines.push(ends(figure.x.label, series, "x", index));
    if (figure.y.scale !== "names") lines.push(limit + ends(figure.y.label, series, "y", index));
    return lines.filter(Boolean).map(Report.plotText).join("<br>");
  }

  function bars(axis, series, name) {
    const placed = (key) => (series[key] ?? []).map((value) => axes.place(axis, value));
    const [middle, low, high] = [placed(name), placed(`${name}_low`), placed(`${name}_high`)];
    if (!low.length) return undefined;
    const arm = (from, to) => (from === null || to === null ? 0 : Math.max(to - from, 0));
    return {
      type: "data", symmetric: false, thickness: 1.5, width: 4,
      array: middle.map((value, index) => arm(value, high[index])),
      arrayminus: middle.map((value, index) => arm(low[index], value)),
    };
  }

  function traceOf(figure, series, colours) {
    const indices = series.words.map((_, index) => index);
    const colour = marks.colour(series.colour, colours.dark);
    return {
      type: "scatter",
      mode: APART.has(figure.kind) ? "markers" : "lines+markers",
      name: Report.plotText(series.name),
      x: series.x.map((value) => axes.place(figure.x, value)),
      y: series.y.map((value) => axes.place(figure.y, value)),
      error_x: bars(figure.x, series, "x"),
      error_y: bars(figure.y, series, "y"),
      line: { color: colour, width: 1.5, dash: series.biased ? "dash" : "solid" },
      marker: { color: colour, size: 9, line: { width: 1.5, color: colour }, symbol: indices.map((index) => marks.symbol(series.shape, verdictOf(series, index))) },
      text: indices.map((index) => hoverText(figure, series, index)),
      hoverinfo: "text",
    };
  }

  function line(x, y, style) {
    return { type: "scatter", mode: "lines", x, y, hoverinfo: "skip", showlegend: false, line: style };
  }

  function note(figure, x, y, text, colours, more) {
    return {
      x: axes.position(figure.x, x), y: axes.position(figure.y, y), text: Report.plotText(text), showarrow: false,
      font: { color: colours.muted, size: 11 }, ...more,
    };
  }

  function limitsOf(figure, series, colours) {
    const colour = marks.colour(series.colour, colours.dark);
    return (series.limits ?? []).map((index) => ({
      x: axes.position(figure.x, axes.place(figure.x, series.x[index])),
      y: axes.position(figure.y, axes.place(figure.y, series.y[index])),
      text: "", showarrow: true, arrowhead: 2, arrowsize: 1, arrowwidth: 1.5, arrowcolor: colour,
      ax: 0, ay: -ARROW, yshift: -ARROW,
    }));
  }

  // Steps through the frontier, from the top of the figure to its right-hand side.
  function frontier(figure, colours) {
    const [x, y] = [figure.x, figure.y].map((axis, side) => figure.frontier[side].map((value) => axes.place(axis, value)));
    return line([x[0], ...x, figure.x.high], [figure.y.high, ...y, y.at(-1)], { color: colours.text, width: 1.5, shape: "hv" });
  }

  // What is drawn of a figure, without the series that are hidden.
  function content(figure, hidden, colours) {
    const shown = figure.series.filter((series) => !hidden.has(series.name));
    const grey = { color: colours.muted, width: 1 };
    const placed = (axis, values) => values.map((value) => axes.place(axis, value));
    const behind = [
      ...figure.bands.map(([at, low, high]) => line(placed(figure.x, [low, high]), [at, at], { color: colours.band, width: 12 })),
      ...figure.arcs.map((arc) => line(arc.x, arc.y, grey)),
      ...figure.guides.map((guide) => line(guide.x, guide.y, { ...grey, dash: "dot", width: 1.5 })),
    ];
    const steps = figure.frontier.length ? [frontier(figure, colours)] : [];
    const notes = [
      ...figure.arcs.map((arc) => note(figure, axes.place(figure.x, arc.x.at(-1)), axes.place(figure.y, arc.y.at(-1)), arc.label, colours, { yanchor: "bottom", xanchor: "left" })),
      ...figure.guides.filter((guide) => guide.label).map((guide) => note(figure, guide.x[1], guide.y[1], guide.label, colours, { xanchor: "right", yanchor: "bottom" })),
      ...shown.flatMap((series) => limitsOf(figure, series, colours)),
    ];
    return { data: [...behind, ...shown.map((series) => traceOf(figure, series, colours)), ...steps], notes };
  }

  function layout(figure, notes, colours, size = {}) {
    const few = (size.width ?? 1000) < 500;
    return {
      ...size,
      font: { family: "system-ui, sans-serif", size: 13, color: colours.text },
      paper_bgcolor: colours.page, plot_bgcolor: colours.page,
      margin: { l: 20, r: 20, t: 14, b: 20 },
      showlegend: false, hovermode: "closest", dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      hoverlabel: { align: "left" },
      xaxis: axes.drawn(figure.x, few ? 4 : 8, colours),
      yaxis: axes.drawn(figure.y, few ? 6 : 8, colours),
      annotations: notes,
    };
  }

  // Pixels that a figure needs: those of names grow with them.
  const height = (figure, least) => Math.max(least, figure.y.scale === "names" ? 90 + (figure.kind === "claims" ? 60 : 42) * figure.y.names.length : 0);

  return { content, layout, height, verdictOf };
})();

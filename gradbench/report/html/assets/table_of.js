// The data of a figure: as a table for those who do not see it, as rows of a CSV file, in a few sentences.
Report.tableOf = (() => {
  const { axes, format } = Report;
  const { verdictOf } = Report.plotting;
  const NAMES = ["run", "kind", "panel", "group", "series", "mark", "x", "x_low", "x_high", "y", "y_low", "y_high", "upper_limit", "verdict"];
  const COORDINATES = NAMES.slice(6, 12);

  function records(figure) {
    return figure.series.flatMap((series) =>
      series.words.map((words, index) => {
        const places = COORDINATES.map((name) => axes.known(series[name]?.[index]));
        const limit = series.limits?.includes(index) ? "True" : "False";
        return [figure.run, figure.kind, figure.panel, figure.group, series.name, words, ...places, limit, verdictOf(series, index)];
      })
    );
  }

  const csv = (figure) => Report.download.csv([...NAMES, "x_title", "y_title"], records(figure).map((record) => [...record, figure.x.label, figure.y.label]));

  function html(figure) {
    const { element } = Report;
    const named = (axis) => axis.scale === "names";
    const titles = ["series", "mark", ...(named(figure.x) ? [] : [figure.x.label]), ...(named(figure.y) ? [] : [figure.y.label]), "verdict"];
    const head = element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)));
    const lines = records(figure).map((record) => {
      const [series, words, x, xLow, xHigh, y, yLow, yHigh, limit, verdict] = record.slice(4);
      const told = (value, low, high, atMost) => (atMost ? "at most " : "") + format.number(value) + (Number.isNaN(low) ? "" : ` ${format.interval(low, high)}`);
      const cells = [words, ...(named(figure.x) ? [] : [told(x, xLow, xHigh)]), ...(named(figure.y) ? [] : [told(y, yLow, yHigh, limit === "True")]), verdict];
      return element("tr", {}, element("th", { scope: "row" }, series), ...cells.map((cell) => element("td", {}, cell || "–")));
    });
    const caption = element("caption", {}, `${figure.title}${figure.panel ? `, ${figure.panel}` : ""}`);
    return element("table", {}, caption, element("thead", {}, head), element("tbody", {}, ...lines));
  }

  // How each series goes, from its first mark to its last.
  function sentences(figure) {
    return figure.series.map((series) => {
      const y = series.y.map(axes.known);
      const x = series.x.map(axes.known);
      const known = y.map((_, index) => index).filter((index) => !Number.isNaN(y[index]) && !Number.isNaN(x[index]));
      if (!known.length) return `${series.name}: nothing is known.`;
      const of = (index) => (series.limits?.includes(index) ? "at most " : "") + format.number(y[index]);
      const verdicts = [...new Set(known.map((index) => verdictOf(series, index)).filter(Boolean))].join(", ");
      if (figure.y.scale === "names") {
        const values = known.map((index) => x[index]);
        return `${series.name}: from ${format.number(Math.min(...values))} to ${format.number(Math.max(...values))}; ${verdicts}.`;
      }
      const [first, last] = [known[0], known.at(-1)];
      const slope = series.slope ? `, slope ${series.slope[0].toFixed(2)} ${`[${series.slope[1].toFixed(2)}, ${series.slope[2].toFixed(2)}]`}` : "";
      const path = first === last ? `${of(first)} at ${format.number(x[first])}` : `${of(first)} at ${format.number(x[first])}, ${of(last)} at ${format.number(x[last])}`;
      return `${series.name}: ${path}${slope}${verdicts ? `; ${verdicts}` : ""}.`;
    });
  }

  return { csv, html, sentences };
})();

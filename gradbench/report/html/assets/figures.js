// The figures: which panel of each is shown, its legend, its caption, and what can be saved of it.
(() => {
  const { element, plotting, marks } = Report;
  const CHOICES = [
    ["run", "Run"],
    ["groupTitle", "Gradient of"],
    ["against", "Against"],
    ["panel", "Panel"],
  ];
  const SAVED = { width: 1000, height: 640 };

  function coloursOf() {
    const style = getComputedStyle(document.documentElement);
    const found = Object.fromEntries(["page", "text", "muted", "grid"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    return { ...found, band: style.getPropertyValue("--line").trim(), dark: style.colorScheme === "dark" };
  }

  // Plotly takes a second to start: it runs when a figure is about to be seen, so that the page is there before.
  function loadPlotly() {
    if (window.Plotly) return;
    document.head.append(element("script", {}, document.getElementById("plotly").textContent));
  }

  class Drawn {
    constructor(root, section) {
      this.root = root;
      this.section = section;
      this.hidden = new Set();
      this.chosen = { over: false, ...Object.fromEntries(CHOICES.map(([key]) => [key, section.figures[0][key]])) };
      this.visible = false;
      for (const kind of ["csv", "svg", "png"]) this.part(kind).addEventListener("click", () => this.save(kind));
      this.part("details").addEventListener("toggle", () => this.tell());
      this.choose();
    }

    part(name) {
      return this.root.querySelector(`[data-part="${name}"]`);
    }

    // The figures that agree with what is chosen, up to the choice ``until``.
    left(until) {
      let some = this.section.figures.filter((figure) => figure.over === this.chosen.over);
      for (const [key] of CHOICES) {
        if (key === until) break;
        const agreeing = some.filter((figure) => figure[key] === this.chosen[key]);
        if (!agreeing.length) this.chosen[key] = some[0][key]; // another choice has ruled it out
        some = some.filter((figure) => figure[key] === this.chosen[key]);
      }
      return some;
    }

    get figure() {
      return this.left()[0];
    }

    choose() {
      this.left();
      this.offer();
      this.describe();
      if (this.visible) this.draw();
      this.tell();
    }

    offer() {
      const fields = [];
      for (const [key, title] of CHOICES) {
        const values = [...new Set(this.left(key).map((figure) => figure[key]))];
        if (values.length < 2) continue;
        const options = values.map((value) => element("option", { value, selected: value === this.chosen[key] }, value || "all"));
        const select = element("select", { "data-choice": key }, ...options);
        select.addEventListener("change", () => this.set(key, select.value));
        fields.push(element("label", {}, title, select));
      }
      if (new Set(this.section.figures.map((figure) => figure.over)).size > 1) {
        const box = element("input", { type: "checkbox", checked: this.chosen.over, "data-choice": "over" });
        box.addEventListener("change", () => this.set("over", box.checked));
        fields.push(element("label", { class: "beside" }, box, `as a ratio over ${this.figure.baseline}`));
      }
      this.part("choices").replaceChildren(...fields);
    }

    set(key, value) {
      this.chosen[key] = value;
      this.choose();
      this.part("choices").querySelector(`[data-choice="${key}"]`)?.focus();
    }

    // All that stands around the picture; the picture itself is drawn when it is about to be seen.
    describe() {
      const { figure } = this;
      const colours = coloursOf();
      const plot = this.part("plot");
      plot.style.height = "";
      plot.style.height = `${plotting.height(figure, plot.clientHeight)}px`;
      const over = figure.over ? `over ${figure.baseline}` : "";
      const where = [figure.title, figure.panel, over].filter(Boolean).join(", ");
      plot.setAttribute("aria-label", `${where}: a plot of ${figure.series.length} series, told in words and numbers below it`);
      this.part("legend").replaceChildren(...figure.series.map((series) => this.legendOf(series, colours)));
      this.part("caption").replaceChildren(...this.captionOf(figure));
    }

    draw() {
      loadPlotly();
      this.visible = true;
      const { figure } = this;
      const colours = coloursOf();
      const plot = this.part("plot");
      const { data, notes } = plotting.content(figure, this.hidden, colours);
      const size = { width: plot.clientWidth, height: plot.clientHeight };
      Plotly.react(plot, data, plotting.layout(figure, notes, colours, size), { displayModeBar: false });
    }

    captionOf(figure) {
      const run = Report.data.runs > 1 ? `${figure.run}; ` : "";
      const parts = [element("p", {}, element("strong", {}, `${figure.title}.`), ` ${run}${figure.cell}`)];
      for (const sentences of [figure.reading, figure.notes]) {
        if (sentences.length) parts.push(element("p", {}, sentences.join(" ")));
      }
      return parts;
    }

    legendOf(series, colours) {
      const shown = !this.hidden.has(series.name);
      const button = element("button", { type: "button", "aria-pressed": String(shown) }, marks.drawn(series.shape, marks.colour(series.colour, colours.dark)), series.name);
      button.addEventListener("click", () => {
        if (shown) this.hidden.add(series.name);
        else this.hidden.delete(series.name);
        const place = this.figure.series.indexOf(series);
        this.describe();
        this.draw();
        this.part("legend").querySelectorAll("button")[place].focus();
      });
      return element("li", {}, button);
    }

    tell() {
      if (!this.part("details").open) return;
      this.part("words").replaceChildren(...Report.tableOf.sentences(this.figure).map((sentence) => element("li", {}, sentence)));
      this.part("table").replaceChildren(Report.tableOf.html(this.figure));
    }

    async save(kind) {
      const { figure } = this;
      const name = [this.section.key, figure.group, figure.x.label.split(/[ ,]/)[0]].filter(Boolean).join("-").replace(/[^\w.-]/g, "");
      if (kind === "csv") {
        Report.download.save(`${name}.csv`, "text/csv", Report.tableOf.csv(figure));
        return;
      }
      const colours = { ...coloursOf(), page: "#ffffff", text: "#1b1f24", muted: "#4f5965", grid: "#dfe4ea", band: "#c9d1d9", dark: false };
      const { data, notes } = plotting.content(figure, this.hidden, colours);
      const title = { text: Report.plotText([figure.title, figure.panel].filter(Boolean).join("\n")).replace("\n", "<br>"), font: { size: 14 }, x: 0.02, xanchor: "left" };
      const size = { ...SAVED, height: plotting.height(figure, SAVED.height) };
      const layout = { ...plotting.layout(figure, notes, colours, size), title, showlegend: true, margin: { l: 20, r: 20, t: 60, b: 20 } };
      const url = await Plotly.toImage({ data, layout }, { format: kind, ...size, scale: kind === "png" ? 2 : 1 });
      const text = url.slice(url.indexOf(",") + 1);
      const bytes = kind === "svg" ? decodeURIComponent(text) : Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
      Report.download.save(`${name}.${kind}`, "", new Blob([bytes], { type: kind === "svg" ? "image/svg+xml" : "image/png" }));
    }
  }

  const figures = Report.data.figures
    .map((section, index) => [document.querySelector(`[data-figure="${index}"]`), section])
    .filter(([, section]) => section.figures.length)
    .map(([root, section]) => new Drawn(root, section));

  // Figures that are near what is seen are drawn one after the other, so that the page answers in between.
  const near = new Set();
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const one = figures.find((figure) => figure.root === entry.target);
        if (entry.isIntersecting && !one.visible) near.add(one);
        else near.delete(one);
      }
      setTimeout(drawNext);
    },
    { rootMargin: "300px" }
  );
  function drawNext() {
    const [one] = near;
    if (!one) return;
    near.delete(one);
    one.draw();
    setTimeout(drawNext);
  }
  for (const one of figures) watcher.observe(one.root);
  if (figures.length) addEventListener("load", () => setTimeout(loadPlotly, 1500));

  function again() {
    for (const one of figures) {
      one.describe();
      if (one.visible) one.draw();
    }
  }
  document.addEventListener("report:theme", again);
  document.addEventListener("report:print", () => figures.forEach((one) => one.draw()));
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(again, 150);
  });

  for (const button of document.querySelectorAll("[data-save]")) {
    const suite = button.closest("details").querySelector("code");
    button.addEventListener("click", () => Report.download.save(button.dataset.save, "text/plain", suite.textContent));
  }
})();

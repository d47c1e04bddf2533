// How marks look: colours for either theme, shapes by name for plotly and for the legend.
Report.marks = (() => {
  const PLOTLY = {
    circle: "circle", square: "square", "triangle-up": "triangle-up", diamond: "diamond",
    "triangle-down": "triangle-down", plus: "cross", cross: "x", star: "star", pentagon: "pentagon",
    hexagon: "hexagon", "triangle-left": "triangle-left",
  };
  const FILL = { unbiased: "", biased: "-open-dot", unresolved: "-open", reproduced: "", contradicted: "-open-dot" };
  const SIDES = { "triangle-up": 3, "triangle-down": 3, "triangle-left": 3, diamond: 4, square: 4, pentagon: 5, hexagon: 6 };
  const TURN = { "triangle-down": 180, "triangle-left": -90, square: 45 };

  // A colour of the palette, lightened where the page is dark.
  function colour(hex, dark) {
    if (!dark) return hex;
    const parts = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgb(${parts.map((part) => Math.round(part + (255 - part) * 0.35)).join(",")})`;
  }

  const symbol = (shape, verdict) => (PLOTLY[shape] ?? "circle") + (FILL[verdict] ?? "");

  const around = (count, radius, turn = 0) =>
    Array.from({ length: count }, (_, index) => {
      const angle = ((index * 360) / count + turn - 90) * (Math.PI / 180);
      return `${(8 + radius(index) * Math.cos(angle)).toFixed(2)},${(8 + radius(index) * Math.sin(angle)).toFixed(2)}`;
    }).join(" ");

  // A mark for the legend, as SVG.
  function drawn(shape, colour) {
    const make = (tag, attributes) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      return made;
    };
    const picture = make("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true", fill: colour });
    if (shape === "plus" || shape === "cross") {
      const path = shape === "plus" ? "M8 2V14M2 8H14" : "M3.5 3.5L12.5 12.5M12.5 3.5L3.5 12.5";
      picture.append(make("path", { d: path, stroke: colour, "stroke-width": 4 }));
    } else if (shape === "star") {
      picture.append(make("polygon", { points: around(10, (index) => (index % 2 ? 3 : 7)) }));
    } else if (SIDES[shape]) {
      picture.append(make("polygon", { points: around(SIDES[shape], () => 6.5, TURN[shape]) }));
    } else {
      picture.append(make("circle", { cx: 8, cy: 8, r: 5.5 }));
    }
    return picture;
  }

  return { colour, symbol, drawn };
})();

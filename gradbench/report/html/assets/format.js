// Figures as short text, as the command line has them.
Report.format = (() => {
  function number(value, digits = 3) {
    if (value === null || Number.isNaN(value)) return "–";
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
    if (value === 0) return "0";
    if (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5) {
      const rounded = Number(value.toPrecision(digits));
      const decimals = digits - 1 - Math.floor(Math.log10(Math.abs(rounded)));
      return rounded.toFixed(Math.max(decimals, 0));
    }
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const short = mantissa.includes(".") ? mantissa.replace(/0+$/, "").replace(/\.$/, "") : mantissa;
    return `${short}e${Number(exponent)}`;
  }

  function percent(value) {
    if (value === null || Number.isNaN(value)) return "–";
    const share = 100 * value;
    if (share !== 0 && Math.abs(share) < 0.05) return "<0.1 %";
    if (Math.abs(share) > 0 && Math.abs(share) < 9.95) return `${share.toFixed(1)} %`;
    return Math.abs(share) < 1e5 ? `${share.toFixed(0)} %` : `${number(share)} %`;
  }

  function duration(seconds) {
    if (seconds === null || Number.isNaN(seconds)) return "–";
    if (seconds < 1e-3) return `${number(seconds * 1e6)} µs`;
    if (seconds < 1) return `${number(seconds * 1e3)} ms`;
    return `${number(seconds)} s`;
  }

  const span = (low, high) => (low === high ? number(low) : `${number(low)}–${number(high)}`);
  const interval = (low, high) => `[${number(low)}, ${number(high)}]`;
  const count = (value) => (value === null || Number.isNaN(value) ? "–" : String(value));
  const text = (value) => (value === null ? "–" : String(value));

  return { number, percent, duration, span, interval, count, text };
})();

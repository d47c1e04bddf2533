// Light or dark: as the system has it, until the reader chooses. Print is always light.
(() => {
  const root = document.documentElement;
  const choices = document.querySelectorAll("input[name=theme]");
  const announce = () => document.dispatchEvent(new Event("report:theme"));

  for (const choice of choices) {
    choice.addEventListener("change", () => {
      root.dataset.theme = choice.value;
      announce();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);

  let before = "auto";
  const folded = [];
  addEventListener("beforeprint", () => {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    folded.push(...document.querySelectorAll("details.printed:not([open])"));
    for (const one of folded) one.open = true;
    document.dispatchEvent(new Event("report:print"));
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = before;
    for (const one of folded.splice(0)) one.open = false;
    announce();
  });
})();

// The button that chooses the theme, in turn: system, light, dark. theme.js applies the choice
// before the page is drawn.

import { h, redraw, s, setAttribute } from "./dom.js";

const order = ["system", "light", "dark"];
const pictures = {
  system: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 1 1 0 12",
  light: "M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6zM8 1v1M8 14v1M1 8h1M14 8h1M3 3l.7.7M12.300 12.300l.7.7M3 13l.7-.7M12.300 3.700l.7-.7",
  dark: "M13 9.500A5.500 5.500 0 1 1 6.500 3a4.500 4.500 0 0 0 6.500 6.500z",
};

export function themeButton(button) {
  const root = document.documentElement;
  const show = () => {
    const theme = root.dataset.theme ?? "system";
    redraw(button, theme, () => [s("svg", { class: `picture ${theme}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: pictures[theme] })), h("span", {}, `Theme: ${theme}`)]);
    setAttribute(button, "aria-label", `Theme: ${theme}`);
    setAttribute(button, "title", `Change to ${order[(order.indexOf(theme) + 1) % order.length]}`);
  };
  button.addEventListener("click", () => {
    const theme = order[(order.indexOf(root.dataset.theme ?? "system") + 1) % order.length];
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (theme === "system") localStorage.removeItem("tempestd.theme");
      else localStorage.setItem("tempestd.theme", theme);
    } catch { /* storage is switched off: the choice lasts as long as the page */ }
    show();
  });
  show();
}

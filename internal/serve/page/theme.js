// Applies the chosen theme before the page is first drawn. Without a choice, the theme of the
// system is used.
{
  let chosen = null;
  try { chosen = localStorage.getItem("tempestd.theme"); } catch { /* storage is switched off: the choice lasts as long as the page */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}

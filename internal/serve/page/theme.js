// The theme that was chosen, put on before the page is first drawn. Without a choice the system's holds.
{
  let chosen = null;
  try { chosen = localStorage.getItem("tempestd.theme"); } catch { /* storage is switched off: the choice lasts as long as the page */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}

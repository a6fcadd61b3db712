// Colours every assistant turn by its credit under the chosen method. All data comes from data-credit attributes.
(() => {
  const picked = name => document.getElementById(name)?.value ?? "";
  const turns = [...document.querySelectorAll(".line.assistant[data-credit]")].map(node => [node, JSON.parse(node.dataset.credit)]);
  const valueOf = credit => credit[picked("quantity") || "advantage"]?.[picked("method")];
  const signed = value => (value < 0 ? "-" : "+") + Math.abs(value).toFixed(3);

  function colour() {
    const sizes = turns.map(([, credit]) => valueOf(credit)).filter(value => value !== undefined).map(Math.abs).sort((a, b) => a - b);
    const scale = sizes[Math.floor(sizes.length * 0.95)] || 1;
    for (const [node, credit] of turns) {
      const value = valueOf(credit), share = value === undefined ? 0 : Math.max(-1, Math.min(1, value / scale));
      const [r, g, b] = share >= 0 ? [67, 147, 195] : [214, 96, 77];
      node.style.background = `rgba(${r}, ${g}, ${b}, ${(Math.abs(share) * 0.7).toFixed(3)})`;
      node.querySelector(".value").textContent = value === undefined ? "no credit" : signed(value);
    }
    const end = document.getElementById("scale");
    if (end) end.textContent = `±${scale.toPrecision(2)}`;
  }

  function filter() {
    for (const talk of document.querySelectorAll(".talk")) talk.hidden = picked("shown") !== "" && talk.dataset.verdict !== picked("shown");
  }

  for (const name of ["method", "quantity"]) document.getElementById(name)?.addEventListener("change", colour);
  document.getElementById("shown")?.addEventListener("change", filter);
  if (document.getElementById("method")) colour();
  filter();
})();

// Filters the table of claims. Without it the table is whole and the form stays hidden.
(() => {
  const form = document.querySelector("form.filter");
  if (!form) return;
  const bodies = [...document.querySelectorAll("table.claims tbody")];
  const rows = bodies.flatMap((body) => [...body.querySelectorAll("tr[id]")]);
  const text = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const keys = ["verdict", "evidence", "section"];

  const apply = () => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = keys.every((key) => !form[key].value || row.dataset[key] === form[key].value)
        && words.every((word) => text.get(row).includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    for (const body of bodies) body.hidden = !body.querySelector("tr[id]:not([hidden])");
    form.querySelector("output").textContent = `${shown} of ${rows.length} claims`;
  };

  // A link shows its target even if the filter hid it or it is folded away, and opens a claim.
  const follow = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let around = target; around; around = around.parentElement) {
      if (around.localName === "details") around.open = true;
    }
    if (target.matches("table.claims tr")) {
      if (target.hidden) { form.reset(); apply(); }
      target.querySelector("details").open = true;
    }
    target.scrollIntoView();
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href="#claims"]');
    if (!link) return;
    form.reset();
    for (const key of keys) form[key].value = link.dataset[key] || "";
    apply();
  });
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", follow);
  form.hidden = false;
  apply();
  follow();
})();

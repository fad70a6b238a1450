// Filters the cards of claims and copies commands. The address keeps what is filtered and which cards are open:
// #claims?verdict=pending&words=lrn&open=lrn-delta-top1. Without scripts all cards are there and the form stays hidden.
(() => {
  const form = document.querySelector("form.filter");
  if (!form) return;
  const cards = [...document.querySelectorAll("article.claim")];
  const groups = [...document.querySelectorAll("div.claims")];
  const rest = document.getElementById("claims-rest");
  const text = new Map(cards.map((card) => [card, card.textContent.toLowerCase()]));
  const keys = ["verdict", "evidence", "section"];
  const details = (card) => card.querySelector("details");

  const apply = () => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const fits = keys.every((key) => !form[key].value || card.dataset[key] === form[key].value)
        && words.every((word) => text.get(card).includes(word));
      card.hidden = !fits;
      shown += fits;
    }
    for (const group of groups) group.hidden = !group.querySelector("article:not([hidden])");
    const filtered = words.length > 0 || keys.some((key) => form[key].value);
    if (rest) {
      rest.hidden = filtered && !rest.querySelector("article:not([hidden])");
      if (filtered) rest.open = true;
    }
    form.querySelector("output").textContent = `${shown} of ${cards.length} claims`;
  };

  // The state of the page as an address, and back
  const address = () => {
    const state = new URLSearchParams();
    for (const key of ["words", ...keys]) if (form[key].value) state.set(key, form[key].value);
    const open = cards.filter((card) => details(card).open).map((card) => card.id.slice(6));
    if (open.length) state.set("open", open.join(" "));
    return state.size ? `#claims?${state}` : "#claims";
  };
  const keep = (step) => {
    if (address() !== location.hash) history[step ? "pushState" : "replaceState"](null, "", address());
  };
  const restore = (state) => {
    for (const key of ["words", ...keys]) form[key].value = state.get(key) || "";
    const open = new Set((state.get("open") || "").split(" "));
    for (const card of cards) details(card).open = open.has(card.id.slice(6));
    apply();
  };

  // A link shows its target even if the filter hid it or it is folded away, and opens a claim.
  const follow = () => {
    const [name, state] = decodeURIComponent(location.hash.slice(1).replaceAll("+", " ")).split("?");
    if (name === "claims" || name === "") restore(new URLSearchParams(location.hash.split("?")[1] || ""));
    const target = document.getElementById(name);
    if (!target) return;
    if (target.matches("article.claim")) {
      if (target.hidden) restore(new URLSearchParams());
      details(target).open = true;
    }
    for (let around = target; around; around = around.parentElement) {
      if (around.localName === "details") around.open = true;
    }
    if (name !== "claims" || state) target.scrollIntoView();
  };

  document.addEventListener("click", async (event) => {
    const link = event.target.closest('a[href="#claims"]');
    if (link && Object.keys(link.dataset).length) {
      event.preventDefault();
      history.pushState(null, "", `#claims?${new URLSearchParams({ ...link.dataset })}`);
      follow();
      document.getElementById("claims").scrollIntoView();
    }
    const button = event.target.closest("button.copy");
    if (button) {
      const code = button.parentElement.querySelector("code");
      getSelection().selectAllChildren(code);
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Selected";
      }
    }
  });
  form.addEventListener("input", (event) => { apply(); keep(event.target.localName === "select"); });
  form.addEventListener("reset", () => setTimeout(() => { if (rest) rest.open = false; apply(); keep(true); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const card of cards) details(card).querySelector("summary").addEventListener("click", () => setTimeout(() => keep(true)));
  for (const event of ["hashchange", "popstate"]) addEventListener(event, follow);
  for (const button of document.querySelectorAll("button.copy")) button.hidden = false;
  form.hidden = false;
  apply();
  follow();
})();

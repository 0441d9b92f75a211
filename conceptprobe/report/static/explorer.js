"use strict";
// The explorer: the state in the address decides what is shown; every control writes a new state.
(function () {
  const app = window.conceptprobe;
  const { element, byId, format } = app;
  const LEAST_WIDTH = app.report.has.visualizations ? 290 : 256;
  const GAP = 14;
  const SETTLE = 250; // ms without a scroll before the address takes the position

  app.loadCatalogue().then(start).catch(app.fail);

  /** @param {Catalogue} catalogue */
  function start(catalogue) {
    const search = new app.Search(catalogue);
    const selection = new app.Selection(catalogue);
    const box = byId("q");
    let state = app.readState();
    /** @type {View} */
    let view = {
      order: new Uint32Array(0),
      facets: { model: new Map(), layer: new Map(), verdict: new Map() },
      sort: "",
    };
    let active = -1; // position of the card that the keyboard is at
    let settled = 0;
    let typing = false; // a search being typed is one step back, not one a letter

    const grid = new app.Grid({
      container: byId("grid"),
      least: LEAST_WIDTH,
      gap: GAP,
      top: () => byId("toolbar").getBoundingClientRect().bottom,
      make: () =>
        app.makeCard({
          heading: "h2",
          tabindex: "-1",
          onSelect: (g, on) => selection.set(catalogue.key(g), on),
        }),
      fill: fillCard,
      onFirst: rememberPosition,
    });

    function fillCard(card, position) {
      const g = view.order[position];
      const selected = selection.has(catalogue.key(g));
      app.fillCard(card, catalogue, g, { sort: view.sort, selected });
      card.classList.toggle("selected", selected);
      card.classList.toggle("active", position === active);
      card.tabIndex = position === Math.max(0, active) ? 0 : -1;
      card.position = position;
      card.setAttribute("aria-posinset", String(position + 1));
      card.setAttribute("aria-setsize", String(view.order.length));
    }

    // A new state: into the address, and onto the page. What is typed replaces the entry after its first letter.
    function change(part, push = true) {
      state = { ...state, ...part, at: 0, card: "" };
      active = -1;
      app.goTo(app.stateHash(state), push);
      window.scrollTo(0, 0);
      show();
    }

    function show() {
      view = app.arrange(catalogue, search, state, selection);
      updatePanel(state, view.facets);
      showControls();
      active = state.card ? view.order.indexOf(catalogue.find(state.card)) : -1;
      byId("none").hidden = view.order.length > 0;
      grid.show(view.order.length);
      byId("rest").hidden = grid.reachable === view.order.length || !view.order.length;
      byId("rest").textContent = `The first ${format.count(grid.reachable)} are shown here: filter to see the others.`;
    }

    function restore() {
      state = app.readState();
      box.value = state.q;
      typing = false;
      show();
      if (active >= 0) grid.scrollTo(active, true);
      else grid.scrollTo(Math.min(state.at, Math.max(0, view.order.length - 1)));
      if (!state.at && active < 0) window.scrollTo(0, 0);
    }

    function rememberPosition(first) {
      clearTimeout(settled);
      settled = setTimeout(() => {
        state.at = window.scrollY > 0 && first < view.order.length ? first : 0;
        app.goTo(app.stateHash(state), false);
      }, SETTLE);
    }

    function showControls() {
      if (box !== document.activeElement) box.value = state.q;
      const total = app.report.counts.features;
      const some =
        view.order.length < total
          ? `${format.count(view.order.length)} of ${format.plural(total, "feature")}`
          : format.plural(total, "feature");
      byId("shown").textContent = some;
      byId("none").textContent = state.q
        ? `No feature fits “${state.q}” and the filters.`
        : "No feature passes the filters.";
      showSort();
      byId("applied").replaceChildren(...applied().map(makeChip));
    }

    function showSort() {
      const names = ["llr", ...Object.keys(app.NUMBERS).filter((name) => name !== "llr")].filter((name) =>
        catalogue.has(name),
      );
      const options = [
        ...(state.q ? [["fit", "best match"]] : []),
        ...names.map((name) => [name, app.NUMBERS[name].long]),
        ["number", "layer and number"],
      ];
      if (byId("sort").length !== options.length)
        byId("sort").replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
      byId("sort").value = view.sort;
      const up = Boolean(app.NUMBERS[view.sort] && app.NUMBERS[view.sort].up) || view.sort === "number";
      byId("turn").firstElementChild.textContent = up !== state.turned ? "↑" : "↓";
      byId("turn").title = `${up !== state.turned ? "Smallest" : "Largest"} first: reverse the order`;
      byId("turn").setAttribute("aria-pressed", String(state.turned));
    }

    // What narrows the list, as chips that take it away again: [words, state without it].
    function applied() {
      const chips = [];
      const models = new Map(app.report.models.map((model) => [model.key, model.label]));
      for (const name of ["verdict", "model", "layer"]) {
        for (const value of state[name])
          chips.push([models.get(value) || value, { [name]: state[name].filter((other) => other !== value) }]);
      }
      if (state.qmax !== null) chips.push([`q ≤ ${format.number(state.qmax)}`, { qmax: null }]);
      if (state.firemin !== null) chips.push([`fires ≥ ${format.share(state.firemin)}`, { firemin: null }]);
      if (state.firemax !== null) chips.push([`fires ≤ ${format.share(state.firemax)}`, { firemax: null }]);
      for (const name of ["concept", "tag"]) if (state[name]) chips.push([`${name} ${state[name]}`, { [name]: "" }]);
      for (const [name, words] of [
        ["vis", "has a visualization"],
        ["named", "has a name"],
        ["selected", "selected"],
      ]) {
        if (state[name]) chips.push([words, { [name]: false }]);
      }
      if (chips.length > 1) {
        const none = {
          verdict: [],
          model: [],
          layer: [],
          qmax: null,
          firemin: null,
          firemax: null,
          concept: "",
          tag: "",
          vis: false,
          named: false,
          selected: false,
        };
        chips.push(["Clear all", none]);
      }
      return chips;
    }

    function makeChip([words, part]) {
      const all = words === "Clear all";
      const chip = element(
        "button",
        { type: "button", class: all ? "plain small" : "chip" },
        app.isolate(words, "clip"),
      );
      if (!all)
        chip.append(
          element("span", { "aria-hidden": "true", text: "×" }),
          element("span", { class: "sr", text: ", remove" }),
        );
      chip.addEventListener("click", () => change(part));
      return chip;
    }

    // Keyboard: one card is active; it has the focus, so that screen readers say it.
    function activate(position) {
      if (!view.order.length) return;
      const before = active;
      active = Math.max(0, Math.min(position, grid.reachable - 1));
      state.card = catalogue.key(view.order[active]);
      grid.scrollTo(active, true);
      for (const at of [before, active]) if (grid.node(at)) fillCard(grid.node(at), at);
      const card = grid.node(active);
      if (card) card.focus({ preventScroll: true });
      app.goTo(app.stateHash(state), false);
    }

    const move = (step) => () => activate(active < 0 ? grid.first() : active + step());
    const onCard = (run) => () => (active >= 0 ? run(view.order[active]) : false);
    app.onKeys(
      ["j", "ArrowRight"],
      "next feature",
      move(() => 1),
    );
    app.onKeys(
      ["k", "ArrowLeft"],
      "previous feature",
      move(() => -1),
    );
    app.onKeys(
      ["ArrowDown"],
      "a row down",
      move(() => grid.columns),
    );
    app.onKeys(
      ["ArrowUp"],
      "a row up",
      move(() => -grid.columns),
    );
    app.onKeys(["Enter"], "open the feature", ({ target }) =>
      target instanceof Element && target.closest("a, button, summary, label") ? false : onCard(open)(),
    );
    app.onKeys(
      ["x"],
      "select or deselect the feature",
      onCard((g) => selection.set(catalogue.key(g), !selection.has(catalogue.key(g)))),
    );
    app.onKeys(["/"], "search", () => {
      box.focus();
      box.select();
    });
    app.onKeys(["Escape"], "leave the search; then clear it", (event) => {
      if (event.target === box) box.blur();
      else if (state.q) change({ q: "" });
    });

    function open(g) {
      location.href = app.featureHref(catalogue.key(g));
    }

    // The feature page goes to the next and the previous one of this list.
    function keepList(at) {
      const [from, to] = [Math.max(0, at - 500), at + 500];
      try {
        sessionStorage.setItem(
          "conceptprobe list",
          JSON.stringify({
            hash: location.hash,
            keys: Array.from(view.order.subarray(from, to), (g) => catalogue.key(g)),
          }),
        );
      } catch {
        // Without storage the feature page goes by the layer.
      }
    }
    window.addEventListener("pagehide", () => {
      if (settled) app.goTo(app.stateHash(state), false);
      keepList(Math.max(0, active, state.at));
    });

    byId("grid").addEventListener("click", (event) => {
      const card = event.target.closest(".card");
      if (!card || !event.target.closest(".feature-id")) return;
      active = card.position;
      state.card = catalogue.key(card.feature);
      app.goTo(app.stateHash(state), false);
    });
    byId("grid").addEventListener("focusin", (event) => {
      const card = event.target.closest(".card");
      if (!card || card.position === active) return;
      const before = active;
      active = card.position;
      for (const at of [before, active]) if (grid.node(at)) fillCard(grid.node(at), at);
    });

    box.addEventListener("input", () => {
      change({ q: box.value }, !typing);
      typing = true;
      search.loadIds().then((fresh) => fresh && state.q && show(), app.fail);
    });
    box.addEventListener("change", () => (typing = false));
    box.addEventListener("blur", () => (typing = false));
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "ArrowDown") return;
      event.preventDefault();
      activate(0);
    });
    byId("sort").addEventListener("change", () => change({ sort: byId("sort").value, turned: false }));
    byId("turn").addEventListener("click", () => change({ turned: !state.turned }));
    byId("filters-button").addEventListener("click", () => {
      const open = document.body.classList.toggle("filters-open");
      byId("filters-button").setAttribute("aria-expanded", String(open));
    });

    const updatePanel = app.makePanel(byId("filters"), catalogue, change);
    app.showSelection(selection);
    selection.listeners.push(() => (state.selected ? show() : grid.refill()));
    app.onHash(restore);
    history.scrollRestoration = "manual";
    restore();
    if (state.q) search.loadIds().then((fresh) => fresh && show(), app.fail);
  }
})();

"use strict";
// A layer's page: one column a model, cards made in chunks as they come near, and the state in the hash.
(function () {
  const app = window.conceptprobe;
  const CHUNK = 16;
  const SETTLING_FRAMES = 20;
  // How near the end of the cards has to come; an end above the window is always near.
  const NEAR = "1000000px 0px 900px";
  const controls = { filter: byId("filter"), sort: byId("sort"), model: byId("model") };
  const state = { sort: "number", filter: "", model: app.layer.columns[0].key, feature: null };

  function byId(id) {
    return document.getElementById(id);
  }

  const labels = (feature) => feature.stacks.length;
  const bits = (feature) => (feature.tags.length ? feature.tags[0][4] : 0);
  const byMax = (a, b) => b.max - a.max || a.feature - b.feature;
  const ORDERS = {
    number: () => (a, b) => a.feature - b.feature,
    max: () => byMax,
    few: () => (a, b) => labels(a) - labels(b) || byMax(a, b),
    many: () => (a, b) => labels(b) - labels(a) || byMax(a, b),
    tag: () => (a, b) => bits(b) - bits(a) || byMax(a, b),
    matches: (counts) => (a, b) => (counts.get(b) || 0) - (counts.get(a) || 0) || byMax(a, b),
  };

  // Cards take their true heights only when they come into view, which moves those after them.
  function centre(card, frames) {
    card.scrollIntoView({ block: "center" });
    if (frames) requestAnimationFrame(() => centre(card, frames - 1));
  }

  class Column {
    constructor(data, section) {
      this.data = data;
      this.section = section;
      this.cards = section.querySelector(".cards");
      this.end = section.querySelector(".more-cards");
      this.observer = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && this.grow(CHUNK), {
        rootMargin: NEAR,
      });
      this.fillDead();
    }

    fillDead() {
      this.dead = this.section.querySelector(".dead");
      if (!this.dead) return;
      this.dead.querySelector(".numbers").textContent = this.data.dead.map((feature) => `:${feature}`).join("  ");
      this.section.querySelector(".to-dead").addEventListener("click", (event) => {
        event.preventDefault();
        if (state.filter) change({ filter: "", feature: null });
        this.grow(Infinity);
        this.showDead();
      });
    }

    showDead() {
      this.dead.open = true;
      this.dead.scrollIntoView({ block: "center" });
      this.dead.querySelector("summary").focus();
    }

    arrange(sort, filter) {
      const counts = new Map();
      if (filter) for (const feature of this.data.features) counts.set(feature, app.countMatches(feature, filter));
      const kept = filter ? this.data.features.filter((feature) => counts.get(feature)) : this.data.features;
      this.shown = [...kept].sort(ORDERS[sort](counts));
      this.matches = filter && filter.matches;
      this.made = 0;
      this.cards.replaceChildren();
      const dead = filter && filter.number !== null && this.data.dead.includes(filter.number);
      const empty = this.section.querySelector(".empty");
      empty.hidden = this.shown.length > 0 || (!filter && this.data.dead.length > 0);
      empty.textContent = dead ? `Feature ${filter.number} is dead.` : "No feature has this among its top images.";
      const total = this.data.features.length;
      this.section.querySelector(".shown").textContent = filter
        ? `${this.shown.length} of ${total} features`
        : `${total} features`;
      if (this.dead) this.dead.hidden = Boolean(filter);
      this.grow(CHUNK);
    }

    grow(count) {
      const next = this.shown.slice(this.made, this.made + count);
      this.cards.append(...next.map((feature) => this.makeCard(feature)));
      this.made += next.length;
      // Observing anew asks again whether the end is near, which one chunk may not have changed.
      this.observer.disconnect();
      if (this.made < this.shown.length) this.observer.observe(this.end);
    }

    makeCard(feature) {
      const card = app.makeCard(feature, {
        layer: app.layer.layer,
        href: hashOf({ model: this.data.key, feature: feature.feature }),
        onTag: (tag) => change({ filter: tag, feature: null }),
        matches: this.matches,
      });
      card.dataset.feature = feature.feature;
      return card;
    }

    // Bring a feature's card into view, making all cards before it; true where this layer has the feature.
    reveal(number) {
      const position = this.shown.findIndex((feature) => feature.feature === number);
      if (position < 0) {
        if (this.dead && this.data.dead.includes(number)) this.showDead();
        return;
      }
      if (position >= this.made) this.grow(position + 1 - this.made);
      const card = this.cards.children[position];
      card.classList.add("linked");
      card.querySelector(".feature-id").focus({ preventScroll: true });
      centre(card, SETTLING_FRAMES);
    }
  }

  const sections = [...document.querySelectorAll(".column")];
  const columns = app.layer.columns.map((data, i) => new Column(data, sections[i]));

  function hashOf(values) {
    const parts = new URLSearchParams();
    if (values.sort && values.sort !== "number") parts.set("sort", values.sort);
    if (values.filter) parts.set("filter", values.filter);
    if (values.model && columns.length > 1) parts.set("model", values.model);
    if (values.feature !== null && values.feature !== undefined) parts.set("feature", values.feature);
    return `#${parts}`;
  }

  function readHash() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const has = (select, value) => select && [...select.options].some((option) => option.value === value);
    state.sort = has(controls.sort, parts.get("sort")) ? parts.get("sort") : "number";
    state.filter = parts.get("filter") || "";
    state.model = has(controls.model, parts.get("model")) ? parts.get("model") : app.layer.columns[0].key;
    state.feature = /^\d+$/.test(parts.get("feature") || "") ? Number(parts.get("feature")) : null;
  }

  function render() {
    controls.sort.value = state.sort;
    if (controls.filter.value !== state.filter) controls.filter.value = state.filter;
    const filter = app.parseFilter(state.filter);
    for (const column of columns) {
      column.section.classList.toggle("active", column.data.key === state.model);
      column.arrange(state.sort, filter);
    }
    byId("status").textContent = filter ? columns.map((c) => `${c.data.key}: ${c.shown.length} found`).join(", ") : "";
    showModel();
    updateLinks();
    const linked = columns.find((column) => column.data.key === state.model);
    if (state.feature !== null) linked.reveal(state.feature);
  }

  function showModel() {
    if (controls.model) controls.model.value = state.model;
    for (const column of columns) column.section.classList.toggle("active", column.data.key === state.model);
  }

  // Another layer is opened with the same sort and filter.
  function updateLinks() {
    const hash = hashOf({ ...state, feature: null });
    for (const link of document.querySelectorAll(".layers a")) link.hash = hash === "#" ? "" : hash;
  }

  function change(values) {
    Object.assign(state, values);
    const hash = hashOf(state);
    history.replaceState(null, "", hash === "#" ? location.pathname + location.search : hash);
    render();
  }

  controls.filter.addEventListener("input", () => change({ filter: controls.filter.value, feature: null }));
  controls.sort.addEventListener("change", () => change({ sort: controls.sort.value, feature: null }));
  if (controls.model) {
    controls.model.addEventListener("change", () => {
      change({ model: controls.model.value, feature: null });
      window.scrollTo(0, 0);
    });
  }
  document.querySelector(".toolbar").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => {
    readHash();
    render();
  });
  document.querySelector(".layers [aria-current]").scrollIntoView({ block: "nearest", inline: "center" });
  readHash();
  render();
})();

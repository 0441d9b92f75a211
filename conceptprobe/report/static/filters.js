"use strict";
// Which features the explorer shows, and in which order: a function of the state in the address.
(function () {
  const app = window.conceptprobe;
  const TAGGED = 2; // of a card's images: one alone is often chance
  const LISTS = ["model", "layer", "verdict"];

  // The state of a hash. Every value has one form in the address, and what is not set is not in it.
  app.readState = function () {
    const { values } = app.readHash();
    const get = (name) => values.get(name) || "";
    const state = { q: get("q"), concept: get("concept"), tag: get("tag"), sort: get("sort"), card: get("card") };
    for (const name of LISTS) state[name] = get(name).split(",").filter(Boolean).map(unescapeComma);
    for (const name of ["qmax", "firemin", "firemax"]) state[name] = readNumber(get(name));
    for (const name of ["vis", "named", "selected", "turned"]) state[name] = get(name) === "1";
    state.at = Math.max(0, Math.floor(readNumber(get("at")) || 0));
    return state;
  };

  app.stateHash = function (state) {
    const values = new Map();
    for (const name of ["q", "concept", "tag", "sort"]) values.set(name, state[name]);
    for (const name of LISTS) values.set(name, state[name].map(escapeComma).join(","));
    for (const name of ["qmax", "firemin", "firemax"])
      values.set(name, state[name] === null ? "" : String(state[name]));
    for (const name of ["vis", "named", "selected", "turned"]) values.set(name, state[name] ? "1" : "");
    values.set("at", state.at ? String(state.at) : "");
    values.set("card", state.card);
    return app.writeHash("", values);
  };

  // A layer's name may hold a comma.
  const escapeComma = (text) => text.replaceAll("%", "%25").replaceAll(",", "%2C");
  const unescapeComma = (text) => text.replaceAll("%2C", ",").replaceAll("%25", "%");
  const readNumber = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : null);

  // { order: numbers of features, facets: { model, layer, verdict } -> Map(value -> count), sort }
  // Counts of a facet are over the features that pass all other filters.
  app.arrange = function (catalogue, search, state, selection) {
    const found = search.find(state.q);
    const sort = usedSort(catalogue, state, found);
    const passes = makeTest(catalogue, state, found, selection);
    const wanted = (name, value) => !state[name].length || state[name].includes(value);
    const verdicts = codeVerdicts(catalogue);
    const fits = Uint8Array.from(verdicts.names, (name) => wanted("verdict", name));
    const kept = new Uint8Array(catalogue.count);
    const facets = { model: new Map(), layer: new Map(), verdict: new Map() };
    const add = (facet, value, count) => facets[facet].set(value, (facets[facet].get(value) || 0) + count);
    for (const layer of app.layers) {
      const model = app.report.models[layer.model].key;
      const inModel = wanted("model", model);
      const inLayer = wanted("layer", layer.name);
      if (!inModel && !inLayer) continue;
      const counts = new Uint32Array(verdicts.names.length);
      for (let g = layer.start; g < layer.start + layer.count; g++) {
        if (!passes(g)) continue;
        const verdict = verdicts.codes[g];
        counts[verdict]++;
        kept[g] = inModel && inLayer && fits[verdict];
      }
      const fitting = counts.reduce((sum, count, verdict) => sum + count * fits[verdict], 0);
      if (inLayer) add("model", model, fitting);
      if (inModel) add("layer", layer.name, fitting);
      if (inModel && inLayer) counts.forEach((count, verdict) => add("verdict", verdicts.names[verdict], count));
    }
    return { order: sortKept(kept, catalogue, found, sort, state.turned), facets, sort };
  };

  // Verdicts as numbers, once for all features.
  let coded = null;
  function codeVerdicts(catalogue) {
    if (coded) return coded;
    const names = Object.keys(app.VERDICTS);
    const codes = new Uint8Array(catalogue.count);
    for (let g = 0; g < codes.length; g++) codes[g] = names.indexOf(catalogue.verdict(g));
    return (coded = { names, codes });
  }

  // The sort that a state asks for, where the report has it; else by fit for a search, else by evidence.
  function usedSort(catalogue, state, found) {
    if (state.sort === "number" || (state.sort && catalogue.has(state.sort))) return state.sort;
    if (found) return "fit";
    return catalogue.has("llr") ? "llr" : "max";
  }

  function makeTest(catalogue, state, found, selection) {
    const tests = [];
    const { columns } = catalogue;
    if (found) tests.push((g) => found.scores[g] > 0);
    if (state.qmax !== null) tests.push((g) => catalogue.number("q", g) <= state.qmax);
    if (state.firemin !== null) tests.push((g) => columns.firing_rate[g] >= state.firemin);
    if (state.firemax !== null) tests.push((g) => columns.firing_rate[g] <= state.firemax);
    if (state.vis) tests.push((g) => catalogue.flag(2, g));
    if (state.named) tests.push((g) => catalogue.flag(3, g));
    if (state.selected) tests.push((g) => selection.has(catalogue.key(g)));
    if (state.concept) {
      const number = catalogue.concepts.indexOf(state.concept);
      const { concept } = columns;
      tests.push(
        (g) => number >= 0 && concept !== undefined && [0, 1, 2].some((place) => concept[3 * g + place] === number),
      );
    }
    if (state.tag) tests.push(makeTagTest(catalogue, state.tag));
    if (!tests.length) return () => true;
    return (g) => {
      for (const test of tests) if (!test(g)) return false;
      return true;
    };
  }

  function makeTagTest(catalogue, tag) {
    const { table, tagss } = catalogue.images;
    const number = (table.tag_names || []).indexOf(tag);
    const lists = (table.tag_lists || []).map((list) => list.includes(number));
    const { top } = catalogue.columns;
    const across = top.shape[1];
    return (g) => {
      let count = 0;
      for (let i = across * g; i < across * (g + 1); i++) count += top[i] !== top.none && lists[tagss[top[i]]] ? 1 : 0;
      return count >= TAGGED;
    };
  }

  // All features by one number, the best first; what has no number last, whichever way; equal ones by their own number.
  // Sorted once for each: what passes the filters is then taken from it in order.
  const orders = new Map();
  function orderBy(catalogue, sort, turned) {
    const name = `${sort} ${turned}`;
    if (orders.has(name)) return orders.get(name);
    const order = Uint32Array.from({ length: catalogue.count }, (_, g) => g);
    if (sort === "number") {
      if (turned) order.reverse();
    } else {
      const values = Float64Array.from(order, (g) => catalogue.number(sort, g));
      const up = Boolean(app.NUMBERS[sort].up) !== turned ? 1 : -1;
      order.sort((a, b) => {
        const [x, y] = [values[a], values[b]];
        if (x === y) return a - b;
        if (x !== x) return y !== y ? a - b : 1;
        if (y !== y) return -1;
        return x < y ? -up : up;
      });
    }
    orders.set(name, order);
    return order;
  }

  // By fit: equal ones by evidence. A fit and a rank make one number, as numbers sort faster than by a comparison.
  const RANKS = 2 ** 26;
  function sortKept(kept, catalogue, found, sort, turned) {
    const order = orderBy(
      catalogue,
      sort === "fit" ? usedSort(catalogue, { sort: "" }, null) : sort,
      sort !== "fit" && turned,
    );
    if (sort !== "fit") return order.filter((g) => kept[g]);
    const best = found.scores.reduce((most, score) => Math.max(most, score), 0);
    const keys = [];
    for (let rank = 0; rank < order.length; rank++) {
      const g = order[rank];
      if (kept[g]) keys.push((turned ? found.scores[g] : best - found.scores[g]) * RANKS + rank);
    }
    return Uint32Array.from(Float64Array.from(keys).sort(), (key) => order[key % RANKS]);
  }
})();

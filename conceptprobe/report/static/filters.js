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
    const list = (name) => get(name).split(",").filter(Boolean).map(unescapeComma);
    const number = (name) => readNumber(get(name));
    const flag = (name) => get(name) === "1";
    return {
      q: get("q"),
      concept: get("concept"),
      tag: get("tag"),
      sort: get("sort"),
      card: get("card"),
      model: list("model"),
      layer: list("layer"),
      verdict: list("verdict"),
      qmax: number("qmax"),
      firemin: number("firemin"),
      firemax: number("firemax"),
      vis: flag("vis"),
      named: flag("named"),
      selected: flag("selected"),
      turned: flag("turned"),
      at: Math.max(0, Math.floor(number("at") || 0)),
    };
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
      if (inModel && inLayer) for (const [v, count] of counts.entries()) add("verdict", verdicts.names[v], count);
    }
    return { order: sortKept(kept, catalogue, found, sort, state.turned), facets, sort };
  };

  // Verdicts as numbers, once for all features.
  /** @type {{ names: string[], codes: Uint8Array } | null} */
  let coded = null;
  /** @param {Catalogue} catalogue */
  function codeVerdicts(catalogue) {
    if (coded) return coded;
    const names = Object.keys(app.VERDICTS);
    const codes = new Uint8Array(catalogue.count);
    for (let g = 0; g < codes.length; g++) codes[g] = names.indexOf(catalogue.verdict(g));
    coded = { names, codes };
    return coded;
  }

  /**
   * The sort that a state asks for, where the report has it; else by fit for a search, else by evidence.
   * @param {Catalogue} catalogue
   * @param {Pick<ExplorerState, "sort">} state
   * @param {Found | null} found
   */
  function usedSort(catalogue, state, found) {
    if (state.sort === "number" || (state.sort && catalogue.has(state.sort))) return state.sort;
    if (found) return "fit";
    return catalogue.has("llr") ? "llr" : "max";
  }

  /**
   * @param {Catalogue} catalogue
   * @param {ExplorerState} state
   * @param {Found | null} found
   * @param {FeatureSelection} selection
   */
  function makeTest(catalogue, state, found, selection) {
    const tests = [];
    const { columns } = catalogue;
    if (found) tests.push((g) => found.scores[g] > 0);
    const { qmax, firemin, firemax } = state;
    if (qmax !== null) tests.push((g) => catalogue.number("q", g) <= qmax);
    if (firemin !== null) tests.push((g) => columns.firing_rate[g] >= firemin);
    if (firemax !== null) tests.push((g) => columns.firing_rate[g] <= firemax);
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

  /** @param {Catalogue} catalogue */
  function makeTagTest(catalogue, tag) {
    const { table, tagLists } = catalogue.images;
    const number = table.tag_names.indexOf(tag);
    const lists = table.tag_lists.map((list) => list.includes(number));
    const { top } = catalogue.columns;
    const across = top.shape[1];
    return (g) => {
      let count = 0;
      for (let i = across * g; i < across * (g + 1); i++)
        count += top[i] !== top.none && lists[tagLists[top[i]]] ? 1 : 0;
      return count >= TAGGED;
    };
  }

  // All features by one number, the best first; what has no number last, whichever way; equal ones by their own number.
  // Sorted once for each: what passes the filters is then taken from it in order.
  const orders = new Map();
  /** @param {Catalogue} catalogue */
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
        if (Number.isNaN(x)) return Number.isNaN(y) ? a - b : 1;
        if (Number.isNaN(y)) return -1;
        return x < y ? -up : up;
      });
    }
    orders.set(name, order);
    return order;
  }

  // By fit: equal ones by evidence. A fit and a rank make one number, as numbers sort faster than by a comparison.
  const RANKS = 2 ** 26;
  /**
   * @param {Uint8Array} kept
   * @param {Catalogue} catalogue
   * @param {Found | null} found
   * @param {string} sort
   * @param {boolean} turned
   */
  function sortKept(kept, catalogue, found, sort, turned) {
    if (sort !== "fit" || !found) return orderBy(catalogue, sort, turned).filter((g) => kept[g]);
    const order = orderBy(catalogue, usedSort(catalogue, { sort: "" }, null), false);
    const best = found.scores.reduce((most, score) => Math.max(most, score), 0);
    const keys = [];
    for (let rank = 0; rank < order.length; rank++) {
      const g = order[rank];
      if (kept[g]) keys.push((turned ? found.scores[g] : best - found.scores[g]) * RANKS + rank);
    }
    return Uint32Array.from(Float64Array.from(keys).sort(), (key) => order[key % RANKS]);
  }
})();

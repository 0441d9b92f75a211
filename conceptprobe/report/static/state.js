"use strict";
// The state of a page is its address: "#<path>?a=1&b=2", or "#a=1&b=2" where there is no path.
(function () {
  const app = window.conceptprobe;

  // { path, values }: the hash as text before "?", and a Map of what follows.
  app.readHash = function () {
    const hash = location.hash.slice(1);
    const mark = hash.indexOf("?");
    const pathless = mark < 0 && /^[a-z]+=/.test(hash);
    const path = pathless ? "" : mark < 0 ? hash : hash.slice(0, mark);
    const query = pathless ? hash : mark < 0 ? "" : hash.slice(mark + 1);
    return { path: decode(path), values: new Map(new URLSearchParams(query)) };
  };

  function decode(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // a lone % that someone typed
    }
  }

  // The hash of a path and values; what is empty is left out.
  app.writeHash = function (path, values) {
    const query = new URLSearchParams(
      [...values].flatMap(([name, value]) => (value ? [[name, value]] : [])),
    ).toString();
    const start = path ? encodeURI(path).replace(/[#?&]/g, encodeURIComponent) : "";
    return `#${start}${start && query ? "?" : ""}${query}`;
  };

  // Go to a hash. push: the back button returns to what was before; otherwise the entry is replaced.
  app.goTo = function (hash, push) {
    if (hash === (location.hash || "#")) return;
    history[push ? "pushState" : "replaceState"](null, "", hash);
  };

  // Called when the reader goes back or forward, or follows a link to the same page.
  app.onHash = function (handler) {
    window.addEventListener("popstate", handler);
  };

  // What stays in this browser, by report; without storage it lasts as long as the page.
  const memory = new Map();
  // Reports of the same models share it, so that a report written again keeps what was noted.
  const models = app.report.models.map((model) => `${model.key} ${model.fingerprint.slice(0, 16)}`).join(" ");
  const name = (key) => `conceptprobe ${models} ${key}`;
  app.remember = function (key, value) {
    memory.set(key, value);
    try {
      localStorage.setItem(name(key), JSON.stringify(value));
    } catch {
      // Storage is full or switched off: `memory` has it.
    }
  };
  app.recall = function (key, fallback) {
    try {
      const text = localStorage.getItem(name(key));
      if (text !== null) return JSON.parse(text);
    } catch {
      // As above.
    }
    return memory.has(key) ? memory.get(key) : fallback;
  };
})();

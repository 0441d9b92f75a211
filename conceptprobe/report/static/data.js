"use strict";
// Data as script files: a page opened from file:// may load scripts, but may not fetch.
(function () {
  const app = window.conceptprobe;
  const CHUNKS = 24; // chunks ("features/0-3-11") that are kept; the least recently used goes first
  const loading = new Map();
  const decoded = new WeakMap();
  const TYPES = { f4: Float32Array, i4: Int32Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };
  app.data = app.data || {};
  app.report = app.data.report;

  // The value of data/KEY.js, as a promise. Equal keys give equal promises while they are kept.
  app.load = function (key) {
    const known = loading.get(key);
    const promise = known || request(key);
    loading.delete(key);
    loading.set(key, promise);
    if (!known) forget();
    return promise;
  };

  function request(key) {
    if (key in app.data) return Promise.resolve(app.data[key]);
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `data/${key}.js`;
      script.addEventListener("load", () => {
        script.remove();
        const value = app.data[key];
        delete app.data[key];
        if (value === undefined) reject(new Error(`data/${key}.js holds no data: is the report complete?`));
        else resolve(value);
      });
      script.addEventListener("error", () => {
        script.remove();
        loading.delete(key);
        reject(new Error(`data/${key}.js could not be read: is the report complete?`));
      });
      document.head.append(script);
    });
  }

  function forget() {
    const chunks = [...loading.keys()].filter((key) => key.includes("/"));
    for (const key of chunks.slice(0, Math.max(0, chunks.length - CHUNKS))) loading.delete(key);
  }

  // {t, s, d} as a typed array with its `shape` and, where there is one, the value `none` for what is missing.
  app.decode = function (packed) {
    let array = decoded.get(packed);
    if (!array) {
      array = Object.assign(new TYPES[packed.t](bytes(packed.d).buffer), { shape: packed.s, none: packed.none });
      decoded.set(packed, array);
      packed.d = ""; // the text is four thirds of the array's size
    }
    return array;
  };

  function bytes(text) {
    const raw = atob(text);
    const out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }

  // Row i of a decoded array: a view of its own shape.
  app.row = function (array, i) {
    const shape = array.shape.slice(1);
    const size = shape.reduce((product, n) => product * n, 1);
    return Object.assign(array.subarray(i * size, (i + 1) * size), { shape, none: array.none });
  };
})();

"use strict";
// The catalogue: the table of all features. The number of a feature is its row.
(function () {
  const app = window.conceptprobe;
  const models = app.report.models;
  const layers = models.flatMap((model, m) => model.layers.map((layer) => ({ ...layer, model: m })));
  /** @type {Promise<Catalogue> | null} */
  let loading = null;

  app.layers = layers; // of all models, in the order of the catalogue

  // The catalogue, its concepts and the images, once; a promise.
  app.loadCatalogue = () => (loading = loading || load());

  async function load() {
    const [table, images, concepts] = await Promise.all([
      app.load("catalogue"),
      app.loadImages(),
      app.report.has.concepts ? app.load("concepts") : null,
    ]);
    return new Catalogue(table, images, concepts ? concepts.name : []);
  }

  class Catalogue {
    /**
     * @param {CatalogueTable} table
     * @param {Images} images
     * @param {string[]} concepts
     */
    constructor(table, images, concepts) {
      this.count = app.report.counts.features;
      this.images = images;
      this.concepts = concepts;
      this.words = table.words;
      /** @type {Record<string, Decoded>} */
      this.columns = {};
      for (const [name, packed] of Object.entries(table.columns)) this.columns[name] = app.decode(packed);
    }

    has(column) {
      return this.columns[column] !== undefined;
    }

    // A number of a feature; NaN where it is missing.
    number(column, g) {
      const values = this.columns[column];
      if (!values) return NaN;
      return values.none !== undefined && values[g] === values.none ? NaN : values[g];
    }

    flag(bit, g) {
      return Boolean(this.columns.flags && (this.columns.flags[g] >> bit) & 1);
    }

    layer(g) {
      let low = 0;
      let high = layers.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (layers[middle].start <= g) low = middle;
        else high = middle - 1;
      }
      return layers[low];
    }

    index(g) {
      return g - this.layer(g).start;
    }

    // "blocks.5.mlp.hidden:12", and with its model "clip/blocks.5.mlp.hidden:12": that is what links hold.
    id(g) {
      return `${this.layer(g).name}:${this.index(g)}`;
    }

    key(g) {
      return `${models[this.layer(g).model].key}/${this.id(g)}`;
    }

    // The feature of a key, or -1.
    find(key) {
      const slash = key.indexOf("/");
      const colon = key.lastIndexOf(":");
      const index = colon > slash && /^\d+$/.test(key.slice(colon + 1)) ? Number(key.slice(colon + 1)) : -1;
      const layer = layers.find(
        (l) => models[l.model].key === key.slice(0, slash) && l.name === key.slice(slash + 1, colon),
      );
      return layer && index >= 0 && index < layer.count ? layer.start + index : -1;
    }

    verdict(g) {
      return app.report.verdicts[this.columns.verdict[g]].name;
    }

    concept(g, place = 0) {
      const values = this.columns.concept;
      if (!values) return null;
      const number = values[3 * g + place];
      return number === values.none || number === -1 ? null : this.concepts[number];
    }

    word(column, g) {
      const number = this.number(column, g);
      return Number.isNaN(number) ? null : this.words[number];
    }

    // Whether its verdict names a concept.
    found(g) {
      return app.POSITIVE.includes(this.verdict(g));
    }

    /**
     * What to call it. A concept that a verdict stands for comes first: it was held against chance, hubs and looks,
     * while a name was held against chance alone.
     * @returns {FeatureName | null}
     */
    name(g) {
      const concept = this.concept(g);
      if (this.found(g) && concept !== null) return { text: concept, from: "concept" };
      const word = this.word("word", g);
      if (word !== null) return { text: word, from: "words" };
      const named = this.word("named", g);
      if (named !== null) return { text: named, from: "concepts" };
      return concept === null ? null : { text: concept, from: "concept" };
    }

    // Numbers of its first top images.
    top(g) {
      const { top } = this.columns;
      const size = top.shape[1];
      return Array.from(top.subarray(g * size, (g + 1) * size)).filter((n) => n !== top.none);
    }
  }

  // "feature.html#clip/blocks.5.mlp.hidden:12"
  app.featureHref = (key) => `feature.html#${encodeURI(key).replace(/[#?&]/g, encodeURIComponent)}`;
  app.conceptHref = (name) => `concept.html#${encodeURIComponent(name)}`;

  // A concept's name, as a link where the report has concept pages.
  app.conceptLink = (name, className) =>
    app.report.has.concepts
      ? app.element("a", { class: className, href: app.conceptHref(name) }, app.isolate(name))
      : app.isolate(name, className);
})();

"use strict";
// The concepts of a report and their order: broader ones above, narrower ones below.
(function () {
  const app = window.conceptprobe;

  app.loadTaxonomy = async () => new Taxonomy(await app.load("concepts"));

  class Taxonomy {
    /** @param {ConceptData} table */
    constructor(table) {
      this.names = table.name;
      this.images = table.images;
      this.parents = table.parents;
      this.alias = table.alias;
      this.kinds = table.kinds;
      this.kind = app.decode(table.kind);
      this.size = app.decode(table.size);
      this.leaf = app.decode(table.leaf);
      this.at_leaf_level = app.decode(table.at_leaf_level);
      this.information = app.decode(table.information);
      this.held = app.decode(table.held);
      this.listed = app.decode(table.listed);
      this.count = table.name.length;
      /** @type {Map<string, number>} */
      this.numbers = new Map();
      for (const [c, name] of table.name.entries()) if (!this.numbers.has(name)) this.numbers.set(name, c);
      /** @type {number[][]} */
      this.children = Array.from({ length: this.count }, () => []);
      for (const [c, parents] of table.parents.entries()) for (const parent of parents) this.children[parent].push(c);
    }

    // The number of a name; an alias will do. -1 where there is none.
    find(name) {
      const found = Object.entries(this.alias).find(([, names]) => names.includes(name));
      return this.numbers.get(name) ?? (found ? Number(found[0]) : -1);
    }

    kindOf(c) {
      return this.kinds[this.kind[c]];
    }

    // From the broadest concept down to c, always by the first parent.
    path(c) {
      const path = [c];
      for (let up = this.parents[c][0]; up !== undefined && !path.includes(up); up = this.parents[up][0])
        path.unshift(up);
      return path;
    }

    // Features of a model that have it as their scored concept, with a verdict; and that have it among their first three.
    heldBy(c, model) {
      return this.held[c * this.held.shape[1] + model];
    }

    listedBy(c, model) {
      return this.listed[c * this.listed.shape[1] + model];
    }

    total(c) {
      return [...app.row(this.held, c)].reduce((sum, count) => sum + count, 0);
    }
  }
})();

"use strict";
// The concepts of a report and their order: broader ones above, narrower ones below.
(function () {
  const app = window.conceptprobe;

  app.loadTaxonomy = async () => new Taxonomy(await app.load("concepts"));

  class Taxonomy {
    constructor(table) {
      Object.assign(this, { names: table.name, images: table.images, parents: table.parents, alias: table.alias || {}, kinds: table.kinds });
      for (const name of ["kind", "size", "leaf", "at_leaf_level", "information", "held", "listed"]) this[name] = app.decode(table[name]);
      this.count = table.name.length;
      this.numbers = new Map();
      table.name.forEach((name, c) => this.numbers.has(name) || this.numbers.set(name, c));
      this.children = Array.from({ length: this.count }, () => []);
      table.parents.forEach((parents, c) => parents.forEach((parent) => this.children[parent].push(c)));
    }

    // The number of a name; an alias will do. -1 where there is none.
    find(name) {
      if (this.numbers.has(name)) return this.numbers.get(name);
      const found = Object.entries(this.alias).find(([, names]) => names.includes(name));
      return found ? Number(found[0]) : -1;
    }

    kindOf(c) {
      return this.kinds[this.kind[c]];
    }

    // From the broadest concept down to c, always by the first parent.
    path(c) {
      const path = [c];
      for (let up = this.parents[c][0]; up !== undefined && !path.includes(up); up = this.parents[up][0]) path.unshift(up);
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

"use strict";
// A grid of any length: only the cards near the window exist, and those that leave it are filled anew.
(function () {
  const app = window.conceptprobe;
  const SPARE_ROWS = 2;
  const PAUSE = 150; // ms; letters of a search come faster than that
  const TALLEST = 12e6; // pixels; browsers do not lay out much more than this

  class Grid {
    /** @param {GridOptions} options */
    constructor({ container, least, gap, top, make, fill, onFirst }) {
      this.container = container;
      this.least = least;
      this.gap = gap;
      this.top = top;
      this.make = make;
      this.fill = fill;
      this.onFirst = onFirst;
      /** @type {Map<number, Card>} */
      this.shown = new Map(); // by position
      /** @type {Card[]} */
      this.spare = [];
      this.rows = 0;
      this.cell = 0;
      this.count = 0;
      this.columns = 1;
      this.height = 0;
      this.waiting = false;
      window.addEventListener("scroll", () => this.schedule(), { passive: true });
      new ResizeObserver(() => this.layout()).observe(this.container);
    }

    // How many there are now; everything is filled again: at once what is in view, the rest when nothing new has come for
    // a while. Until then the container is busy.
    show(count) {
      clearTimeout(this.rest);
      this.count = count;
      this.busy = Boolean(this.height);
      if (!this.height) return this.layout();
      this.stretch();
      const above = this.above(); // once, before anything is filled: each look at a changed page is a layout
      const [from, to] = this.near(above, 0);
      for (const [position, node] of this.shown) {
        const kept = (position >= from && position < to) || node.contains(document.activeElement);
        if (kept && position < this.reachable) this.fill(node, position);
        else this.drop(position, node);
      }
      this.draw(above, 0);
      this.rest = setTimeout(() => {
        this.draw();
        this.busy = false;
      }, PAUSE);
    }

    set busy(on) {
      this.container.setAttribute("aria-busy", String(on));
    }

    // Columns and heights for the width that there is; the first card in view stays in view.
    layout() {
      const width = this.container.clientWidth;
      if (!width || !this.count || width === this.width) return;
      const first = this.height ? this.first() : 0;
      this.width = width;
      this.columns = Math.max(1, Math.floor((width + this.gap) / (this.least + this.gap)));
      this.cell = (width - this.gap * (this.columns - 1)) / this.columns;
      for (const [position, node] of this.shown) this.drop(position, node);
      this.height = this.measure();
      this.stretch();
      if (first > 0) this.scrollTo(first);
      this.draw();
    }

    stretch() {
      const step = this.height + this.gap;
      this.rows = Math.min(Math.ceil(this.count / this.columns), Math.floor(TALLEST / step));
      this.container.style.height = `${Math.max(0, this.rows * step - this.gap)}px`;
    }

    drop(position, node) {
      this.shown.delete(position);
      this.spare.push(node);
    }

    // What a page can hold; the rest is reached by filtering.
    get reachable() {
      return Math.min(this.count, this.rows * this.columns);
    }

    measure() {
      const node = this.spare.pop() || this.make();
      node.style.width = `${this.cell}px`;
      this.container.append(node);
      this.fill(node, 0);
      const height = node.offsetHeight;
      node.remove();
      this.spare.push(node);
      return height;
    }

    schedule() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.draw();
      });
    }

    // Pixels of the container above the part of the window that is not covered by the toolbar.
    above() {
      return this.top() - this.container.getBoundingClientRect().top;
    }

    first(above = this.above()) {
      return Math.max(0, Math.floor((above + this.gap) / (this.height + this.gap))) * this.columns;
    }

    // Positions in view, with so many rows more on either side: [from, to).
    near(above, rows) {
      const step = this.height + this.gap;
      const from = Math.max(0, Math.floor(above / step) - rows) * this.columns;
      const to = Math.min(this.reachable, (Math.ceil((above + window.innerHeight) / step) + rows) * this.columns);
      return [from, to];
    }

    // Cards farther than SPARE_ROWS from the view go, those within `rows` of it are there and filled.
    draw(above = this.above(), rows = SPARE_ROWS) {
      if (!this.height) return;
      const [first, last] = this.near(above, SPARE_ROWS);
      for (const [position, node] of this.shown) {
        if ((position < first || position >= last) && !node.contains(document.activeElement)) this.drop(position, node);
      }
      const [from, to] = this.near(above, rows);
      for (let position = from; position < to; position++) {
        if (!this.shown.has(position)) this.place(position);
      }
      for (const node of this.spare) node.remove();
      this.order();
      this.onFirst(this.first(above));
    }

    place(position) {
      const node = this.spare.pop() || this.make();
      const column = position % this.columns;
      const row = Math.floor(position / this.columns);
      node.style.width = `${this.cell}px`;
      node.style.transform = `translate(${column * (this.cell + this.gap)}px, ${row * (this.height + this.gap)}px)`;
      this.shown.set(position, node);
      this.fill(node, position);
      if (!node.isConnected) this.container.append(node);
      return node;
    }

    // Screen readers and Tab go by the document's order, so it follows the positions.
    order() {
      /** @type {Card | null} */
      let next = null;
      for (const [, node] of [...this.shown].sort(([a], [b]) => b - a)) {
        if (node.nextSibling !== next && !node.contains(document.activeElement))
          this.container.insertBefore(node, next);
        next = node;
      }
    }

    // Bring a position into view: to the top, or just inside the window.
    scrollTo(position, near = false) {
      if (!this.height) return;
      const step = this.height + this.gap;
      const top = Math.floor(position / this.columns) * step;
      const above = this.above();
      const room = window.innerHeight - this.top();
      if (!near) window.scrollBy(0, top - above - this.gap);
      else if (top < above) window.scrollBy(0, top - above - this.gap);
      else if (top + this.height > above + room) window.scrollBy(0, top + this.height - above - room + this.gap);
      this.draw();
    }

    node(position) {
      return this.shown.get(position) || null;
    }

    refill() {
      for (const [position, node] of this.shown) this.fill(node, position);
    }
  }

  app.Grid = Grid;
})();

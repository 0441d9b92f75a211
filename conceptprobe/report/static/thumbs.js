"use strict";
// Images: what is known of them, and their tiles. A sheet holds grid x grid tiles; a tile is a part of it as a background.
(function () {
  const app = window.conceptprobe;
  const { grid } = app.report.tiles;
  const WHOLE = 255; // a width or height of the tile's whole side
  /** @type {Promise<Images> | null} */
  let images = null;

  // The images of the report, once; a promise.
  app.loadImages = () => (images = images || app.load("images").then((table) => new Images(table)));

  const known = (values, n) => values[n] >= 0 && values[n] !== values.none;

  class Images {
    /** @param {ImageTable} table */
    constructor(table) {
      this.table = table;
      this.count = table.count;
      this.labels = app.decode(table.label);
      this.styles = app.decode(table.style);
      this.tagLists = app.decode(table.tags);
      this.same = app.decode(table.same);
      this.widths = app.decode(table.width);
      this.heights = app.decode(table.height);
      this.chunk = app.report.image_chunk;
    }

    label(n) {
      return known(this.labels, n) ? this.table.labels[this.labels[n]] : null;
    }

    style(n) {
      return known(this.styles, n) ? this.table.styles[this.styles[n]] : null;
    }

    tags(n) {
      const list = known(this.tagLists, n) ? this.table.tag_lists[this.tagLists[n]] : [];
      return list.map((tag) => this.table.tag_names[tag]);
    }

    // Images of one group have equal labels; without a label an image is alone.
    group(n) {
      const label = this.label(n);
      return label === null ? `image ${n}` : `label ${label}`;
    }

    // The first image of equal content, or the image itself.
    original(n) {
      return known(this.same, n) ? this.same[n] : n;
    }

    missing(n) {
      return this.widths[n] === 0;
    }

    // The part of its tile that an image takes, in shares of the tile's side: { left, top, width, height }.
    box(n) {
      const width = !this.missing(n) ? this.widths[n] / WHOLE : 1;
      const height = !this.missing(n) ? this.heights[n] / WHOLE : 1;
      return { left: (1 - width) / 2, top: (1 - height) / 2, width, height };
    }

    // { id, caption, file } of an image; a promise, for these are in chunks.
    async details(n) {
      const part = await app.load(`images/${Math.floor(n / this.chunk)}`);
      const at = n - part.first;
      return { id: part.id[at], caption: part.caption?.[at], file: part.file?.[at] };
    }

    // Label, else caption, else id; a promise.
    async words(n) {
      const label = this.label(n);
      if (label !== null) return label;
      const { caption, id } = await this.details(n);
      return caption || id;
    }
  }

  // Shows an image in a .tile; null empties it. `images` is what loadImages gave.
  app.fillTile = function (tile, images, n) {
    if (tile.image === n) return tile;
    tile.image = n;
    tile.classList.toggle("empty", n === null);
    tile.classList.toggle("missing", n !== null && images.missing(n));
    if (n === null || images.missing(n)) tile.style.backgroundImage = "";
    else showPart(tile, `thumbs/${Math.floor(n / grid ** 2)}.webp`, n % grid ** 2, grid);
    return tile;
  };

  function showPart(tile, sheet, place, across) {
    const at = (step) => `${(100 * step) / (across - 1)}%`;
    tile.style.backgroundImage = `url("${sheet}")`;
    tile.style.backgroundSize = `${across * 100}%`;
    tile.style.backgroundPosition = `${at(place % across)} ${at(Math.floor(place / across))}`;
  }

  // A new tile of an image. With words it is an image to screen readers, else decoration.
  app.makeTile = function (images, n, words) {
    const tile = app.element("span", { class: "tile", role: words ? "img" : null, "aria-label": words || null });
    return app.fillTile(tile, images, n);
  };

  // Shows visualization n, small, in a .tile.
  app.fillVisualization = function (tile, n) {
    tile.image = undefined;
    tile.classList.remove("empty", "missing");
    showPart(tile, `vis/sheet-${Math.floor(n / grid ** 2)}.webp`, n % grid ** 2, grid);
    return tile;
  };
})();

"use strict";
// Where a layer's patches lie on an image's tile: the outline of one, and a map of all.
(function () {
  const app = window.conceptprobe;
  // Magma by five colours (matplotlib), dark for the lowest value.
  const COLOURS = [
    [0, 0, 4],
    [81, 18, 124],
    [183, 55, 121],
    [252, 137, 97],
    [252, 253, 191],
  ];

  // The part of the tile, in shares of its side, that the model sees.
  app.seenArea = function (images, n, model) {
    const box = images.box(n);
    const { mode, size, resize } = model.preprocessing || {};
    let { width, height } = box;
    if (mode === "shortest") {
      const short = Math.min(width, height);
      width = Math.min(width, (short * size[1]) / resize[1]);
      height = Math.min(height, (short * size[0]) / resize[0]);
    } else if (mode === "longest") {
      width = height = Math.max(width, height);
    }
    return { left: (1 - width) / 2, top: (1 - height) / 2, width, height };
  };

  function cover(node, area) {
    for (const side of ["left", "top", "width", "height"]) node.style[side] = `${100 * area[side]}%`;
    return node;
  }

  // The outline of a patch, by its number in reading order of grid [rows, columns].
  app.makeOutline = function (images, n, model, grid, position) {
    const area = app.seenArea(images, n, model);
    const [rows, columns] = grid;
    const at = {
      left: area.left + (area.width * (position % columns)) / columns,
      top: area.top + (area.height * Math.floor(position / columns)) / rows,
    };
    return cover(app.element("span", { class: "patch" }), {
      ...at,
      width: area.width / columns,
      height: area.height / rows,
    });
  };

  // A map of values 0 to 255 over the tile.
  app.makeHeat = function (images, n, model, grid, values) {
    const [height, width] = grid;
    const canvas = app.element("canvas", { class: "heat", width, height, "aria-hidden": "true" });
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const picture = context.createImageData(width, height);
    for (let i = 0; i < values.length; i++) picture.data.set([...colour(values[i] / 255), 255], 4 * i);
    context.putImageData(picture, 0, 0);
    return cover(canvas, app.seenArea(images, n, model));
  };

  function colour(share) {
    const at = Math.min(share * (COLOURS.length - 1), COLOURS.length - 1.0001);
    const [low, high] = [COLOURS[Math.floor(at)], COLOURS[Math.floor(at) + 1]];
    return low.map((part, i) => Math.round(part + (high[i] - part) * (at % 1)));
  }
})();

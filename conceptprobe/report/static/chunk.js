"use strict";
// All data of one feature: its row of a chunk, unpacked.
(function () {
  const app = window.conceptprobe;

  // A list of images, best first: [{ n, value, position }]; position is null where the list is not of single patches.
  function entries(list, row) {
    const images = app.row(app.decode(list.images), row);
    const values = app.row(app.decode(list.values), row);
    const positions = list.positions ? app.row(app.decode(list.positions), row) : null;
    return pair(images, values, positions);
  }

  /**
   * @param {Decoded} images
   * @param {Decoded} values
   * @param {Decoded | null} positions
   */
  function pair(images, values, positions) {
    const found = [];
    for (let i = 0; i < images.length; i++) {
      if (images[i] === images.none || images[i] === -1) continue;
      const position = positions && positions[i] >= 0 && positions[i] !== positions.none ? positions[i] : null;
      found.push({ n: images[i], value: values[i], position });
    }
    return found;
  }

  // Top images know their place in the list, for the maps go by it.
  const number = (list) => list.map((entry, place) => ({ ...entry, place }));

  function tenths(strip, row) {
    const [images, values, positions] = ["images", "values", "positions"].map(
      (name) => strip[name] && app.row(app.decode(strip[name]), row),
    );
    return Array.from({ length: images.shape[0] }, (_, i) =>
      pair(app.row(images, i), app.row(values, i), positions && app.row(positions, i)),
    );
  }

  // The feature of a number; a promise.
  app.loadFeature = async function (catalogue, g) {
    const layer = catalogue.layer(g);
    const index = g - layer.start;
    const name = `${layer.model}-${layer.number}-${Math.floor(index / app.report.chunk)}`;
    const part = await app.load(`features/${name}`);
    const row = index - part.first;
    const of = (rows) => (rows ? rows[row] : null);
    const model = app.report.models[layer.model];
    const random = part.random ? app.row(app.decode(part.random), row) : null;
    const stats = {
      count: part.stats.count,
      levels: part.stats.levels,
      quantiles: Array.from(app.row(app.decode(part.stats.quantiles), row)),
    };
    for (const column of ["nonfinite", "mean", "std", "min", "max", "firing_rate", "high_rate"]) {
      if (part.stats[column]) stats[column] = app.decode(part.stats[column])[row];
    }
    return {
      g,
      row,
      layer,
      model,
      index,
      chunk: name,
      key: catalogue.key(g),
      id: catalogue.id(g),
      lists: part.lists.map((list) => ({ pooling: list.pooling, entries: number(entries(list, row)) })),
      bottom: part.bottom.map((list) => ({ pooling: list.pooling, entries: entries(list, row) })),
      strip: part.strip.map((strip) => ({ pooling: strip.pooling, tenths: tenths(strip, row) })),
      random: (model.random || []).map((n, i) => ({ n, value: random ? random[i] : NaN, position: null })),
      stats,
      histogram: part.histogram
        ? { images: part.histogram.images, counts: Array.from(app.row(app.decode(part.histogram.counts), row)) }
        : null,
      scores: of(part.scores),
      curve: of(part.curve),
      table: of(part.table),
      tableK: part.table_k,
      names: of(part.names),
      neighbours: of(part.neighbours),
      matches: of(part.matches),
      visualizations: of(part.visualizations) || [],
    };
  };

  // Activation maps of a feature's first top images: { pooling, grid, count, low, high, of(place) } or null; a promise.
  app.loadMaps = async function (feature) {
    if (!app.report.has.maps || feature.layer.maps !== true) return null;
    const part = await app.load(`maps/${feature.chunk}`);
    const maps = app.row(app.decode(part.maps), feature.row);
    return {
      pooling: part.of,
      grid: part.grid,
      count: maps.shape[0],
      low: app.decode(part.low)[feature.row],
      high: app.decode(part.high)[feature.row],
      of: (place) => (place < maps.shape[0] ? app.row(maps, place) : null),
    };
  };
})();

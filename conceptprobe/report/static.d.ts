// What the scripts in static/ share: the data that Python writes, and the functions that each script adds to
// `window.conceptprobe`. `make lint` checks the scripts against it; browsers never load it.

/** An array as `packed` of scripts.py writes it: type code, shape, base64, and the value that stands for "missing". */
interface Packed {
  t: "f4" | "i4" | "u4" | "u2" | "u1";
  s: number[];
  d: string;
  none?: number;
}
type Decoded = (Float32Array | Int32Array | Uint32Array | Uint16Array | Uint8Array) & {
  shape: number[];
  none?: number;
};
type Maybe<T> = T | null;
type Verdict = string;

// ---- data/report.js

interface LayerData {
  name: string;
  number: number;
  depth: number;
  width: number;
  kind: string;
  grid: Maybe<[number, number]>;
  start: number;
  count: number;
  high: Record<string, Maybe<number>>;
  dead: number;
  tested: Maybe<number>;
  verdicts: Maybe<Record<Verdict, number>>;
  median_firing: Maybe<number>;
  maps: boolean;
}
interface ModelData {
  key: string;
  label: string;
  spec: string;
  fingerprint: string;
  source: number;
  colour: number;
  folder: string;
  pooling: string;
  poolings: string[];
  k: number;
  bottom: number;
  batch_size: number;
  counts: Record<string, number>;
  versions: Record<string, string>;
  written: string;
  build: string;
  preprocessing: { mode?: string; size: [number, number]; resize: [number, number] };
  scores: Maybe<{
    k: number;
    q: number;
    draws: number;
    seed: number;
    pooling: string;
    looks: string;
    scorer: Maybe<string>;
    concepts: { count: number; leaves: number; kinds: Record<string, number> };
  }>;
  names: Maybe<{ scorer: Maybe<string>; k: number; q: number; test_images: number; choosing_images: number }>;
  table_k: number;
  random: number[];
  python: string[];
  cli: string[];
  layers: LayerData[];
}
/** A verdict, with the groups that it is in. */
interface VerdictData {
  name: Verdict;
  glyph: string;
  marker: string;
  explanation: string;
  positive: boolean;
  one_concept: boolean;
  tested: boolean;
}
/** Model, value, low, high. */
type Interval = [number, Maybe<number>, Maybe<number>, Maybe<number>];
interface ProbeSummary {
  key: string;
  label: string;
  question: string;
  images: number;
  source: string;
  models: { label: string; colour: number }[];
  headline: Maybe<Headline>;
}
interface Headline {
  metric: string;
  series: string;
  axis: string;
  points: number;
  x: Maybe<number>;
  values: Interval[];
  clean: Interval[];
  differences: [number, number, Maybe<number>, Maybe<number>, Maybe<number>][];
  line: [number, Maybe<number>, Maybe<number>][];
}
interface ReportData {
  schema: number;
  title: string;
  date: Maybe<string>;
  conceptprobe: string;
  commands: string[];
  has: {
    scores: boolean;
    names: boolean;
    concepts: boolean;
    contrast: number;
    visualizations: number;
    other_visualizations: number;
    maps: boolean;
    labels: boolean;
    tags: boolean;
    full_images: Maybe<"copy" | "link">;
    probes: number;
  };
  counts: { features: number; images: number; concepts: number };
  chunk: number;
  image_chunk: number;
  concept_chunk: number;
  tiles: { grid: number };
  sources: { spec: string; fingerprint: string; background: string }[];
  models: ModelData[];
  probes: ProbeSummary[];
  verdicts: VerdictData[];
  concepts_note: Maybe<string>;
  missing: { reasons: string[] };
  caveats: string[];
  examples: Record<string, number[]>;
}

// ---- data/images.js, data/catalogue.js, data/concepts.js

interface ImageTable {
  count: number;
  label: Packed;
  style: Packed;
  tags: Packed;
  source: Packed;
  same: Packed;
  width: Packed;
  height: Packed;
  file: Maybe<true>;
  labels: string[];
  styles: string[];
  tag_lists: number[][];
  tag_names: string[];
}
interface CatalogueTable {
  words: string[];
  columns: Record<string, Packed>;
}
interface ConceptData {
  name: string[];
  kind: Packed;
  kinds: string[];
  size: Packed;
  images: number;
  leaf: Packed;
  at_leaf_level: Packed;
  information: Packed;
  parents: number[][];
  alias: Record<string, string[]>;
  held: Packed;
  listed: Packed;
}

// ---- data/features/*.js, data/maps/*.js: unpacked by chunk.js into what a feature's page shows

/** An image of a list. `place` is its rank in a list of top images, which the activation maps go by. */
interface Entry {
  n: number;
  value: number;
  position: Maybe<number>;
  place?: number;
}
interface FeatureStats {
  count: Packed;
  levels: number[];
  quantiles: number[];
  [column: string]: any;
}
interface Visualization {
  n: number;
  target: string;
  pooling: string;
  seed: number;
  preset: Maybe<string>;
  steps: number;
  size: [number, number];
  activation: Maybe<number>;
  natural: Maybe<Record<"maximum" | "images" | "quantile" | "z" | "rank" | "of", Maybe<number>>>;
  exceeds: Maybe<boolean>;
  curve: Maybe<number>[];
  stopped: Maybe<number>;
  animation: boolean;
}
/** SCORE_COLUMNS of features.py. */
type FeatureScore = Record<string, any>;
interface Feature {
  g: number;
  row: number;
  layer: Layer;
  model: ModelData;
  index: number;
  chunk: string;
  key: string;
  id: string;
  lists: { pooling: string; entries: Entry[] }[];
  bottom: { pooling: string; entries: Entry[] }[];
  strip: { pooling: string; tenths: Entry[][] }[];
  random: Entry[];
  stats: FeatureStats;
  histogram: Maybe<{ images: number; counts: number[] }>;
  scores: Maybe<FeatureScore>;
  curve: Maybe<any[][]>;
  table: Maybe<number[][]>;
  tableK: number;
  names: Maybe<any[][]>;
  neighbours: Maybe<[number, number][]>;
  matches: Maybe<[number, number, number, boolean, boolean, number][]>;
  visualizations: Visualization[];
}
interface Maps {
  pooling: string;
  grid: [number, number];
  count: number;
  low: number;
  high: number;
  of(place: number): Maybe<Decoded>;
}

// ---- data/contrast.js, data/matches/*.js

interface DifferenceRow {
  model_a: number;
  model_b: number;
  place: string;
  measure: string;
  a: Maybe<number>;
  b: Maybe<number>;
  difference: Maybe<number>;
  low: Maybe<number>;
  high: Maybe<number>;
  p: Maybe<number>;
  q: Maybe<number>;
}
interface ContrastSide {
  model: number;
  k: number;
  [column: string]: Packed | number;
}
interface ContrastData {
  models: number[];
  names: string[];
  words: string[];
  caveats: string[];
  places: unknown[];
  place_names: string[];
  settings: Record<string, any>;
  differences: DifferenceRow[];
  models_table: {
    model: number;
    place: string;
    measure: string;
    value: Maybe<number>;
    low: Maybe<number>;
    high: Maybe<number>;
    counted: number;
  }[];
  states: string[];
  concepts: { name: string[]; kind: string[]; models: ContrastSide[] };
  matches: { model_a: number; model_b: number; file: string }[];
}
type MatchTable = Record<"feature" | "other" | "r" | "p" | "q" | "mutual" | "matched" | "side", Packed>;
interface Pair {
  a: number;
  b: number;
  r: number;
  q: number;
}

// ---- data/probes/*.js

interface ProbedModel {
  label: string;
  colour: number;
  spec: string;
  fingerprint: string;
  head: Maybe<string>;
  classes: Maybe<number>;
  numbers: number[];
}
interface ArtifactOfModel {
  model: number;
  shape: number[];
  type: string;
  files: string[][];
  pictures: number;
  size: number[];
}
interface Artifact {
  name: string;
  scale: Maybe<{ kind: "linear" | "log" | "diverging"; low: number; high: number; file: string }>;
  models: ArtifactOfModel[];
}
interface Extremes {
  model: number;
  layer: number;
  series: number;
  x: number;
  measure: number;
  features: number;
  most: [number, number, number][];
  least: [number, number, number][];
}
interface ProbeFile {
  name: string;
  rows: number;
  bytes: number;
  file: Maybe<string>;
}
interface ProbeData {
  key: string;
  label: string;
  probe: string;
  question: string;
  protocol: string;
  models: ProbedModel[];
  source: { spec: string; fingerprint: string };
  images: number;
  seed: number;
  pooling: Maybe<string>;
  settings: [string, string][];
  versions: Record<string, string>;
  texts: Record<"metric" | "series" | "layer" | "verdict" | "measure", string[]>;
  axes: { metric: string[]; series: string[]; other: string };
  unchanged: number;
  curves: Maybe<number>[][];
  differences: Maybe<number>[][];
  survival: Maybe<number>[][];
  extremes: Extremes[];
  artifacts: Artifact[];
  files: ProbeFile[];
  caveats: string[];
  context: [string, string, string, string][];
  command: Maybe<string>;
  python: string[];
}
/** A row of a probe's tables; a missing number is NaN. */
interface ProbeRow {
  model: number;
  first: number;
  second: number;
  metric: number;
  series: number;
  layer: number;
  verdict: number;
  measure: number;
  x: number;
  value: number;
  low: number;
  high: number;
  n: number;
  features: number;
}
/** A probe as probe_data.js reads it: rows as objects, and functions that put a row in words. */
interface Probe extends Omit<ProbeData, "curves" | "differences" | "survival"> {
  curves: ProbeRow[];
  differences: ProbeRow[];
  survival: ProbeRow[];
  metrics: number[];
  series: number[];
  pairs: [number, number][];
  layers: number[];
  measures: number[];
  hue(model: number): string;
  name(model: number): string;
  axis(metric: number, series: number): string;
  seriesName(series: number): string;
  place(row: { metric: number; series: number; x: number }): string;
  say(row: { value: number; low: number; high: number }, what: string, of: string): string;
}
interface ProbeChoice {
  series: number[];
  pair: Maybe<[number, number]>;
  layer: number;
  measure: number;
  at: string;
  together: boolean;
}

// ---- what scripts add to window.conceptprobe

type Child = Node | string | number | null | undefined | false | Child[];
type Attributes = Record<string, any>;
type Layer = LayerData & { model: number };
type Draw = (width: number) => Element;

interface Tile extends HTMLElement {
  image?: Maybe<number>;
}
interface Picture extends HTMLElement {
  tile: Tile;
  entries: Entry[];
  context: PictureContext;
}
interface PictureContext {
  images: Images;
  feature: Feature;
  maps: Maybe<Maps>;
  pooling?: string;
  redraw?(): void;
}
interface Card extends HTMLElement {
  feature: number;
  position: number;
  parts: {
    link: HTMLAnchorElement;
    dot: HTMLElement;
    layer: HTMLElement;
    index: HTMLElement;
    images: HTMLElement;
    title: HTMLElement;
    line: HTMLElement;
    numbers: HTMLElement;
    tiles: Tile[];
    check: Maybe<HTMLInputElement>;
  };
}
interface Figure extends HTMLElement {
  redraw(): void;
}
interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}
interface Images {
  table: ImageTable;
  count: number;
  chunk: number;
  labels: Decoded;
  tagLists: Decoded;
  label(n: number): Maybe<string>;
  style(n: number): Maybe<string>;
  tags(n: number): string[];
  group(n: number): string;
  original(n: number): number;
  missing(n: number): boolean;
  box(n: number): Area;
  details(n: number): Promise<{ id: string; caption: Maybe<string>; file: Maybe<string> }>;
  words(n: number): Promise<string>;
}
/** What to call a feature, and where that comes from. */
interface FeatureName {
  text: string;
  from: "words" | "concepts" | "concept";
}
interface Catalogue {
  count: number;
  images: Images;
  concepts: string[];
  words: string[];
  columns: Record<string, Decoded>;
  has(column: string): boolean;
  number(column: string, g: number): number;
  flag(bit: number, g: number): boolean;
  layer(g: number): Layer;
  index(g: number): number;
  id(g: number): string;
  key(g: number): string;
  find(key: string): number;
  verdict(g: number): Verdict;
  concept(g: number, place?: number): Maybe<string>;
  word(column: string, g: number): Maybe<string>;
  found(g: number): boolean;
  name(g: number): Maybe<FeatureName>;
  top(g: number): number[];
}
interface Taxonomy {
  names: string[];
  images: number;
  parents: number[][];
  children: number[][];
  alias: Record<string, string[]>;
  count: number;
  size: Decoded;
  leaf: Decoded;
  at_leaf_level: Decoded;
  information: Decoded;
  find(name: string): number;
  kindOf(c: number): string;
  path(c: number): number[];
  heldBy(c: number, model: number): number;
  listedBy(c: number, model: number): number;
  total(c: number): number;
}
/** Which features fit a search, and how well: 0 for not at all. */
interface Found {
  scores: Float32Array;
}
interface Search {
  loadIds(): Promise<boolean>;
  find(text: string): Maybe<Found>;
}
interface FeatureSelection {
  catalogue: Catalogue;
  notes: Map<string, string>;
  listeners: (() => void)[];
  size: number;
  has(key: string): boolean;
  set(key: string, on: boolean): void;
  note(key: string, text: string): void;
  clear(): void;
  csv(): string;
  json(): string;
}
interface GridOptions {
  container: HTMLElement;
  least: number;
  gap: number;
  top(): number;
  make(): Card;
  fill(node: Card, position: number): void;
  onFirst(position: number): void;
}
interface Grid {
  columns: number;
  reachable: number;
  show(count: number): void;
  first(): number;
  scrollTo(position: number, near?: boolean): void;
  node(position: number): Maybe<Card>;
  refill(): void;
}
/** What the address of the explorer says. */
interface ExplorerState {
  q: string;
  concept: string;
  tag: string;
  sort: string;
  card: string;
  model: string[];
  layer: string[];
  verdict: string[];
  qmax: Maybe<number>;
  firemin: Maybe<number>;
  firemax: Maybe<number>;
  vis: boolean;
  named: boolean;
  selected: boolean;
  turned: boolean;
  at: number;
}
/** The features that pass the filters, in order, and how many each filter would leave. */
interface View {
  order: Uint32Array;
  facets: Facets;
  sort: string;
}
type Facets = Record<"model" | "layer" | "verdict", Map<string, number>>;
type Change = (part: Partial<ExplorerState>) => void;
interface NumberColumn {
  words: string;
  long: string;
  show(value: Maybe<number>): string;
  up?: boolean;
}
interface ChartTable {
  columns: string[];
  rows: Maybe<string | number>[][];
}
/** What a chart by layer shows: a value with its interval. */
interface ChartRow extends DifferenceBar {
  model: number;
  counted: number;
}
interface DifferenceBar {
  place: string;
  facet: string;
  value: number;
  low: number;
  high: number;
  title: string;
  clear?: boolean;
}
interface ScatterPoint {
  x: number;
  y: number;
  colour: string;
  title: string;
}
interface Point {
  x: number;
  value: number;
  low: number;
  high: number;
  colour: string;
  fill: string;
  symbol: string;
  slot: number;
  title: string;
}
interface Line {
  points: Point[];
  colour: string;
  dash: string;
  symbol: string;
  wide?: boolean;
}
interface CurvePanel {
  title: string;
  x: string;
  lines: Line[];
  rules: { value: number; colour: string }[];
}
interface Charts {
  colour(model: number): string;
  percent(value: number): string;
  cut(text: string, length?: number): string;
  make(options: {
    title: string;
    note?: string;
    label: string;
    legend?: Child;
    draw: Draw;
    table?: ChartTable;
    least?: number;
  }): Figure;
  csv(rows: Maybe<string | number>[][]): string;
  legend(models: number[]): HTMLElement;
  shorten(names: string[]): { names: string[]; of: string };
  byLayer(
    rows: ChartRow[],
    options: {
      places: string[];
      models: number[];
      facets: string[];
      bars: boolean;
      tickFormat(value: number): string;
      words?(facet: string): string;
    },
  ): Draw;
  differences(
    rows: DifferenceBar[],
    options: {
      places: string[];
      models: [number, number];
      facets: string[];
      tickFormat(value: number): string;
      words?(facet: string): string;
    },
  ): Draw;
  scatter<T extends ScatterPoint>(
    rows: T[],
    options: {
      x: string;
      y: string;
      diagonal?: [number, number][];
      chosen(): T | undefined | null;
      choose(row: NoInfer<T>): void;
      marks?: unknown[];
      height?: number;
      xs?: object;
      ys?: object;
      gridX?: boolean;
    },
  ): Draw;
  hue(colour: number): string;
  dash(i: number): string;
  symbol(i: number): string;
  sample(dash: string, symbol: string): SVGElement;
  panels(panels: CurvePanel[], options: { zero?: boolean; band?: boolean; least?: number }): Draw;
  rows(rows: { name: string; points: Point[] }[], options: { zero?: boolean; x?: string }): Draw;
  stack(draws: Draw[]): Draw;
}
interface Measures {
  wilson(count: number, of: number): [number, number];
  counts(layer: LayerData): Record<Verdict, number>;
  layerNames(): string[];
  scored(): number[];
  contrastOfAll(contrasts: ContrastData[]): Maybe<ContrastData>;
  verdicts(contrast: Maybe<ContrastData>): { rows: ChartRow[]; places: string[] };
  abstraction(contrast: Maybe<ContrastData>, catalogue: Maybe<Catalogue>): { rows: ChartRow[]; places: string[] };
  silent(): { rows: ChartRow[]; places: string[] };
  differences(contrast: ContrastData, other: number, wanted: string[]): (DifferenceRow & DifferenceBar)[];
  table(rows: ChartRow[], what: string): ChartTable;
}
interface PairState {
  layer: string;
  sort: string;
  score: string;
  verdicts: string;
  concepts: string;
  numbers: string;
}
interface Pairs {
  SCORES: string[];
  COLOURS: Record<string, string>;
  read(table: MatchTable): Pair[];
  counts(catalogue: Catalogue, table: MatchTable): { model: number; place: string; of: number; count: number }[];
  sameNumber(catalogue: Catalogue, pair: Pair): boolean;
  choose(catalogue: Catalogue, all: Pair[], state: PairState): Pair[];
  agreement(catalogue: Catalogue, pair: Pair): string;
  legend(): HTMLElement;
  link(catalogue: Catalogue, pair: Pair): HTMLElement;
  makeRow(catalogue: Catalogue, pair: Pair, show: (pair: Pair) => void): HTMLElement;
}
/** A concept of a contrast; `of` has state, held, feature, hits, k, llr, power and sure of each of the two models. */
interface HeldConcept {
  name: string;
  kind: string;
  llr: number;
  of: Record<string, number>[];
}

interface App {
  data: Record<string, any>;
  report: ReportData;
  // dom.js
  element<K extends keyof HTMLElementTagNameMap>(
    tag: K,
    attributes?: Attributes,
    ...children: Child[]
  ): HTMLElementTagNameMap[K];
  element(tag: string, attributes?: Attributes, ...children: Child[]): HTMLElement;
  isolate(text: string, className?: string): HTMLElement;
  /** An element of the page's template, of whatever kind it has there. */
  byId(id: string): any;
  say(text: string): void;
  copyButton(text: string | (() => string), words?: string): HTMLButtonElement;
  download(name: string, type: string, text: string): void;
  fail(error: unknown): void;
  // data.js
  load(key: string): Promise<any>;
  decode(packed: Packed): Decoded;
  row(array: Decoded, i: number): Decoded;
  // format.js
  format: {
    number(value: Maybe<number> | undefined, digits?: number): string;
    share(value: Maybe<number> | undefined): string;
    p(value: Maybe<number> | undefined): string;
    count(value: Maybe<number> | undefined): string;
    plural(count: number, word: string, many?: string): string;
  };
  // badges.js
  VERDICTS: Record<Verdict, VerdictData>;
  POSITIVE: Verdict[];
  ONE_CONCEPT: Verdict[];
  TESTED: Verdict[];
  verdictBadge(verdict: Verdict): HTMLElement;
  paintModel<T extends HTMLElement>(node: T, model: number): T;
  modelLabel(model: number, className?: string): HTMLElement;
  // features.js
  layers: Layer[];
  loadCatalogue(): Promise<Catalogue>;
  featureHref(key: string): string;
  conceptHref(name: string): string;
  conceptLink(name: string, className?: string): HTMLElement;
  // thumbs.js
  loadImages(): Promise<Images>;
  fillTile(tile: Tile, images: Images, n: Maybe<number>): Tile;
  makeTile(images: Images, n: number, words?: string): Tile;
  fillVisualization(tile: Tile, n: number): Tile;
  // state.js
  readHash(): { path: string; values: Map<string, string> };
  writeHash(path: string, values: Iterable<[string, Maybe<string>]>): string;
  goTo(hash: string, push: boolean): void;
  onHash(handler: () => void): void;
  remember(key: string, value: unknown): void;
  recall(key: string, fallback: any): any;
  // keys.js
  onKeys(names: string[], words: string, run: (event: KeyboardEvent) => unknown): void;
  // cards.js
  NUMBERS: Record<string, NumberColumn>;
  makeCard(options?: { heading?: string; tabindex?: string; onSelect?(g: number, on: boolean): void }): Card;
  fillCard(card: Card, catalogue: Catalogue, g: number, options?: { sort?: string; selected?: boolean }): Card;
  // grid.js, search.js, filters.js, panel.js, selection.js
  Grid: new (
    options: GridOptions,
  ) => Grid;
  Search: new (catalogue: Catalogue) => Search;
  fold(text: string): string;
  readState(): ExplorerState;
  stateHash(state: ExplorerState): string;
  arrange(catalogue: Catalogue, search: Search, state: ExplorerState, selection: FeatureSelection): View;
  makePanel(root: HTMLElement, catalogue: Catalogue, change: Change): (state: ExplorerState, facets: Facets) => void;
  Selection: new (catalogue: Catalogue) => FeatureSelection;
  showSelection(selection: FeatureSelection): void;
  // chunk.js, patches.js, preview.js, gallery.js, strip.js
  loadFeature(catalogue: Catalogue, g: number): Promise<Feature>;
  loadMaps(feature: Feature): Promise<Maybe<Maps>>;
  seenArea(images: Images, n: number, model: ModelData): Area;
  makeOutline(images: Images, n: number, model: ModelData, grid: [number, number], position: number): HTMLElement;
  makeHeat(images: Images, n: number, model: ModelData, grid: [number, number], values: Decoded): HTMLElement;
  hidePreview(): boolean;
  makePicture(
    context: PictureContext,
    entry: Entry,
    options?: { pooling?: string; fixed?: boolean; caption?: boolean },
  ): Picture;
  mapOf(context: PictureContext, entry: Entry, pooling?: string): Maybe<Decoded>;
  collapse(images: Images, entries: Entry[]): { entries: Entry[]; dropped: number };
  makePictures(context: PictureContext, entries: Entry[], options: { grouped: boolean; pooling?: string }): HTMLElement;
  makeTopImages(context: PictureContext): HTMLElement;
  makeStrip(context: PictureContext): Maybe<HTMLElement>;
  makeControls(context: PictureContext): HTMLElement[];
  // evidence.js, histogram.js, concept_table.js, relatives.js, visualizations.js, reproduce.js
  makeEvidence(feature: Feature): HTMLElement;
  makeTable(label: string, columns: string[], rows: HTMLElement[], numeric?: number[]): HTMLElement;
  makeHistogram(feature: Feature): Maybe<HTMLElement>;
  makeConceptTable(feature: Feature, concepts: Maybe<ConceptData>): Maybe<HTMLElement>;
  makeNames(feature: Feature): Maybe<HTMLElement>;
  makeNeighbours(feature: Feature, catalogue: Catalogue): Maybe<HTMLElement>;
  makeMatches(feature: Feature, catalogue: Catalogue): Maybe<HTMLElement>;
  makeVisualizations(feature: Feature): Maybe<HTMLElement>;
  makeReproduce(feature: Feature): HTMLElement;
  // charts.js, curves.js, measures.js, runs.js
  charts: Charts;
  measures: Measures;
  fillRuns(): void;
  // lines.js, taxonomy.js, pairs.js, held_concepts.js
  featureLink(catalogue: Catalogue, g: number, short?: boolean): HTMLElement;
  imageStrip(catalogue: Catalogue, g: number, count?: number): HTMLElement;
  imageRow(images: Images, numbers: number[], what: string): HTMLElement;
  featureLine(
    catalogue: Catalogue,
    g: number,
    options?: { count?: number; extra?: Child; verdict?: Verdict },
  ): HTMLElement;
  loadTaxonomy(): Promise<Taxonomy>;
  pairs: Pairs;
  heldConcepts(contrast: ContrastData, a: number, b: number): HeldConcept[][];
  makeHeldConcepts(
    catalogue: Catalogue,
    contrast: ContrastData,
    models: [number, number],
    at: number,
    rows: HeldConcept[],
  ): HTMLElement;
  // probe_list.js, probe_data.js, probe_curves.js, survival.js, artifacts.js
  probeHref(key: string): string;
  probedLabel(model: { label: string; colour: number }, className?: string): HTMLElement;
  pointWords(point: Headline): string;
  makeHeadline(headline: Headline, models: ProbeSummary["models"]): HTMLElement;
  makeProbeCards(heading: string): HTMLElement;
  readProbe(data: ProbeData): Probe;
  splitSeries(rows: ProbeRow[], wanted: number[]): { curves: number[]; points: number[] };
  mostCurves(probe: Probe, chosen: number[]): number;
  canBeTogether(count: number): boolean;
  makeMetric(probe: Probe, metric: number, choice: ProbeChoice): Figure[];
  makeSurvival(probe: Probe, choice: ProbeChoice): Figure[];
  makeExtremes(probe: Probe, choice: ProbeChoice, catalogue: Maybe<Catalogue>): HTMLElement[];
  makeArtifacts(probe: Probe): HTMLElement[];
  makeContext(context: [string, string, string, string][]): HTMLElement;
  makeFiles(files: ProbeFile[]): HTMLElement;
}

interface Window {
  conceptprobe: App;
  uFuzzy: new (options: object) => { filter(haystack: string[], needle: string): number[] | null };
}
declare const d3: any;
declare const Plot: any;

// How a number reads: the same as posttrain_diag/wording/numbers.py, which a test holds these lines to.
const UNDEFINED = "—";
const digits = (size) => (size >= 1e15 ? scientific(size) : size >= 1 ? grouped(size.toFixed(1)) : size.toPrecision(2));
const grouped = (text) => { const [whole, part] = text.split("."); return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part ? `.${part}` : ""); };
const signed = (x, text, plus = "") => (x < 0 ? "−" : plus) + text;
const percent = (x, sign = "%") => {
  if (x === null) return UNDEFINED;
  const size = Math.abs(x);
  if (size === 0 || size === 1) return signed(size ? x : 0, `${100 * size}${sign}`);
  if (size < 1e-5) return `${x > 0 ? "<" : ">−"}0.001${sign}`;
  const text = digits(100 * size);
  return size < 1 && text === "100.0" ? `${x > 0 ? ">" : "<−"}99.9${sign}` : signed(x, text + sign);
};
const percentWith = (x, low, high) => {
  if (x === null || low === null || high === null) return percent(x);
  const [own, from, to] = [x, low, high].map((end) => percent(end, ""));
  return from === own && to === own ? percent(x) : `${percent(x)} [${from}, ${to}]`;
};
const signedPoints = (x) => (x === null ? UNDEFINED : Math.abs(x) < 1e-5 ? "0" : signed(x, digits(100 * Math.abs(x)), "+"));
const count = (x) => (x === null ? UNDEFINED : Math.abs(x) < 1e15 ? grouped(x.toFixed(0)) : scientific(x));
const scientific = (x) => signed(x, Math.abs(x).toExponential(1).replace(".0e", "e").replace("e+", "e"));
const plain = (x) => {
  if (x === null) return UNDEFINED;
  const size = Math.abs(x);
  if (size && (size >= 1e7 || size < 1e-4)) return scientific(x);
  return signed(x, grouped(size >= 1000 || Number.isInteger(x) ? size.toFixed(0) : String(Number(size.toPrecision(3)))));
};
const nats = (x) => (x === null ? UNDEFINED : Math.abs(x) < 1e-3 ? "0 nats" : `${signed(x, digits(Math.abs(x)))} nats`);

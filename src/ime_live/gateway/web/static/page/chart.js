/** Draw the candles of the day so far. Time runs to the right in every language. */

import {svg} from "./dom.js";
import {wallOf} from "./format.js";

const LEAST = 30; // candles for which there is room, also early in the day
const HEIGHT = 150;
const LEFT = 4;
const DIGIT = 7.2; // for the labels of prices
const TOP = 10;
const BOTTOM = 18;

/** Return candles with the newest price: the last one is still open. */
export function withLast(candles, price) {
  if (!candles.length || price === null) return candles;
  const last = candles.at(-1);
  return [...candles.slice(0, -1), {...last, close: price,
    high: Math.max(last.high, price), low: Math.min(last.low, price)}];
}

/** Return a picture of candles. */
export function chart(candles, {width, minutes, previous, format, label}) {
  const length = minutes * 60_000;
  const start = wallOf(candles[0].time);
  const end = Math.max(wallOf(candles.at(-1).time) + length, start + LEAST * length);
  const prices = candles.flatMap(each => [each.low, each.high]);
  let low = Math.min(...prices);
  let high = Math.max(...prices);
  // The previous close is a landmark as long as it does not flatten the day.
  const near = previous && previous > low - (high - low) && previous < high + (high - low);
  if (near) {
    low = Math.min(low, previous);
    high = Math.max(high, previous);
  }
  if (low === high) {
    low *= 0.999;
    high *= 1.001;
  }
  const right = 14 + DIGIT * format.number(high).length;
  const inner = width - LEFT - right;
  const x = time => LEFT + (time - start) / (end - start) * inner;
  const y = price => TOP + (high - price) / (high - low) * (HEIGHT - TOP - BOTTOM);
  const step = inner / ((end - start) / length);
  const bar = Math.max(1, Math.min(9, step * 0.7));
  const text = (content, at, height, anchor = "start") =>
    svg("text", {x: at, y: height, "text-anchor": anchor}, content);
  const last = candles.at(-1).close;
  const marks = [high, low].filter(each => Math.abs(y(each) - y(last)) > 13);
  return svg("svg", {class: "chart", role: "img", "aria-label": label, width, height: HEIGHT,
    viewBox: `0 0 ${width} ${HEIGHT}`, direction: "ltr"},
  ...marks.map(each => svg("line", {class: "rule", x1: LEFT, x2: width - right, y1: y(each),
    y2: y(each)})),
  near ? svg("line", {class: "previous", x1: LEFT, x2: width - right, y1: y(previous),
    y2: y(previous)}) : null,
  ...candles.map(each => {
    const middle = x(wallOf(each.time)) + step / 2;
    const top = y(Math.max(each.open, each.close));
    const height = Math.max(1, y(Math.min(each.open, each.close)) - top);
    return svg("g", {class: each.close >= each.open ? "up" : "down"},
      svg("line", {x1: middle, x2: middle, y1: y(each.high), y2: y(each.low)}),
      svg("rect", {x: middle - bar / 2, y: top, width: bar, height}));
  }),
  ...marks.map(each => text(format.number(each), width - right + 6, y(each) + 4)),
  svg("g", {class: "last"}, text(format.number(last), width - right + 6, y(last) + 4)),
  text(format.minute(start), LEFT, HEIGHT - 3),
  text(format.minute(end), width - right, HEIGHT - 3, "end"));
}

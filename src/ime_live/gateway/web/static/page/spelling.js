/**
 * Fold spellings for search: the same rule as src/ime_live/spelling.py, so that the page finds what
 * the service finds. A test compares both.
 */

const range = (from, to) => Array.from({length: to - from}, (_, n) => String.fromCharCode(from + n));
const MADDAH = "\u0653";
const inClass = characters => `[${characters.map(each => `\\u${each.charCodeAt(0).toString(16)
  .padStart(4, "0")}`).join("")}]`;

// Joiners, direction marks, variation selectors, the byte order mark.
const UNSEEN = new RegExp(inClass(["\u00ad", "\u034f", "\u061c", "\u180e", "\ufeff",
  ...range(0x200b, 0x2010), ...range(0x202a, 0x202f), ...range(0x2060, 0x2070),
  ...range(0xfe00, 0xfe10)]), "g");
// Tatweel, vowels and hamza do not belong to a name; the maddah makes a letter of its own.
const ORNAMENTS = new RegExp(inClass(["\u0640", "\u0670", ...range(0x0610, 0x061b),
  ...range(0x064b, 0x0660).filter(each => each !== MADDAH),
  ...range(0x06d6, 0x06ee).filter(each => !"\u06dd\u06de\u06e9".includes(each)),
  ...range(0x08d3, 0x0900)]), "g");
const SAME = new Map([
  ...[..."يى"].map(each => [each, "ی"]),
  ...[..."كڪ"].map(each => [each, "ک"]),
  ...[..."ہھە"].map(each => [each, "ه"]),
  ...range(0x06f0, 0x06fa).map((each, n) => [each, String(n)]),
  ...range(0x0660, 0x066a).map((each, n) => [each, String(n)]),
  [MADDAH, ""],
]);
const SAME_PATTERN = new RegExp(inClass([...SAME.keys()]), "g");
// A blank inside a Persian word may stand for a joiner.
const JOINT =
  /(?<=[\p{L}\p{N}_])\s+(?=[\u0620-\u08ff])|(?<=[\u0620-\u08ff])\s+(?=[\p{L}\p{N}_])/gu;

/** Normalize a text: two spellings of it give the same result. Case stays. */
export function fold(text) {
  const seen = text.replace(UNSEEN, "").normalize("NFKD").replace(ORNAMENTS, "").normalize("NFC");
  return seen.replace(SAME_PATTERN, each => SAME.get(each)).trim();
}

/** Normalize a name: as `fold`, without the blanks inside Persian words. */
export const foldName = text => fold(text).replace(JOINT, "");

/** Normalize a text to search in; unlike names, without regard to case. */
export const searchable = text => foldName(text).toLowerCase();

/** Split a query into terms, each of which must be found. */
export const termsOf = query =>
  query.split(/\s+/).map(each => fold(each).toLowerCase()).filter(each => each !== "");

/** Write numbers, ages, times and dates in Persian or English. */

const DAY = 86_400_000;

/** Milliseconds of a timestamp's wall clock, as if it were UTC. */
export const wallOf = timestamp => Date.parse(`${timestamp.slice(0, 23)}Z`);

export class Format {
  #whole;
  #fraction;
  #tenth;
  #percent;
  #signed;
  #compact;
  #time;
  #minute;
  #jalali;
  #gregorian;
  #weekday;

  constructor(language) {
    const locale = language === "fa" ? "fa-IR" : "en-GB";
    const number = options => new Intl.NumberFormat(locale, options);
    const date = (options, calendar = "gregory") => new Intl.DateTimeFormat(
      `${locale}-u-ca-${calendar}`, {timeZone: "UTC", ...options});
    this.language = language;
    this.#whole = number({maximumFractionDigits: 0});
    this.#fraction = number({maximumFractionDigits: 2});
    this.#tenth = number({minimumFractionDigits: 1, maximumFractionDigits: 1});
    this.#percent = number({minimumFractionDigits: 2, maximumFractionDigits: 2,
      signDisplay: "exceptZero"});
    this.#signed = number({maximumFractionDigits: 2, signDisplay: "exceptZero"});
    this.#compact = number({notation: "compact", maximumSignificantDigits: 3});
    this.#time = date({hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});
    this.#minute = date({hour: "2-digit", minute: "2-digit", hourCycle: "h23"});
    this.#jalali = date({day: "numeric", month: "long", year: "numeric"}, "persian");
    this.#gregorian = date({day: "numeric", month: "short", year: "numeric"});
    this.#weekday = date({weekday: language === "fa" ? "long" : "short"});
  }

  /** A price or a quantity; a dash for none. */
  number(value) {
    if (value === null || value === undefined) return "–";
    return minus((Number.isInteger(value) ? this.#whole : this.#fraction).format(value));
  }

  signed(value) { return value === null ? "–" : minus(this.#signed.format(value)); }

  percent(value) { return value === null ? "–" : minus(this.#percent.format(value)); }

  /** A large number, short enough for a column of seven digits. */
  quantity(value) {
    return value !== null && value >= 10_000_000 ? this.#compact.format(value) : this.number(value);
  }

  /** Seconds as an age: "2 s", "5 min". */
  age(seconds) {
    if (seconds === null) return "–";
    const units = this.language === "fa" ? ["ث", "د", "س", "روز"] : ["s", "m", "h", "d"];
    const [size, unit] = seconds < 100 ? [1, 0] : seconds < 6000 ? [60, 1]
      : seconds < 172_800 ? [3600, 2] : [86_400, 3];
    const gap = this.language === "fa" ? "\u00a0" : "";
    return `${this.#whole.format(Math.floor(seconds / size))}${gap}${units[unit]}`;
  }

  seconds(value) {
    const text = (value < 10 ? this.#tenth : this.#whole).format(value);
    return this.language === "fa" ? `${text} ثانیه` : `${text} s`;
  }

  time(wall) { return this.#time.format(wall); }

  minute(wall) { return this.#minute.format(wall); }

  /** A day in the Jalali calendar, as "5 Azar 1405". */
  jalali(wall) {
    const part = Object.fromEntries(
      this.#jalali.formatToParts(wall).map(each => [each.type, each.value]));
    return `${part.day} ${part.month} ${part.year}`;
  }

  gregorian(wall) { return this.#gregorian.format(wall); }

  weekday(wall) { return this.#weekday.format(wall); }

  /** When a session begins: "11:45", with the weekday unless it is today. */
  moment(wall, now) {
    const same = Math.floor(wall / DAY) === Math.floor(now / DAY);
    return same ? this.minute(wall) : `${this.weekday(wall)} ${this.minute(wall)}`;
  }

  /** A day of static data, "2027-01-05", in both calendars. */
  day(text) {
    const wall = Date.parse(`${text}T00:00:00Z`);
    if (Number.isNaN(wall)) return text;
    return `${this.jalali(wall)} (${this.gregorian(wall)})`;
  }
}

// Intl puts a direction mark before a sign; cells have a direction of their own.
function minus(text) { return text.replace(/\u200e/g, "").replace(/^-/, "−"); }

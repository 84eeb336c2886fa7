/** Say in one word and one phrase how far the numbers can be trusted. Pure; see `describe`. */

/** Seconds without a change after which a live feed is called quiet. */
const QUIET = 15;
/** Seconds by which boards may be late before it is said. */
const LATE = 10;

/** Kinds in which prices are those of the market now; in all others they are shown in grey. */
export const CURRENT = new Set(["live", "quiet"]);

/**
 * Return {kind, detail, seconds}: `detail` names the phrase, `seconds` is its number.
 *
 * @param connection the stream's state.
 * @param current whether the gateway has compared its states with the store.
 * @param feed the feed's state; of one market, or of all.
 * @param changeAge seconds since the newest change; null before any.
 * @param boardAge seconds since the feed's newest board; null if unknown.
 * @param lag seconds by which boards are behind their own time; null if unknown.
 */
export function describe({connection, current, feed, changeAge, boardAge, lag}) {
  const say = (kind, detail = null, seconds = null) => ({kind, detail, seconds});
  if (connection === "closed") return say("ended");
  if (connection === "reconnecting" || connection === "paused") {
    return say("reconnecting", changeAge === null ? null : "old", changeAge);
  }
  if (connection !== "open" || feed === undefined) return say("connecting");
  if (feed === "closed") return say("closed", "opens");
  if (feed === "down") return say("down", "downWhy", changeAge);
  if (feed === "stale") return say("stale", "staleSince", boardAge ?? changeAge);
  if (!current) return say("checking", "old");
  if (feed === null) return say("down", "noStatus");
  if (lag !== null && lag > LATE) return say("late", "lateBy", lag);
  if (changeAge !== null && changeAge > QUIET) return say("quiet", "quietFor", changeAge);
  return say("live", null, changeAge ?? boardAge);
}

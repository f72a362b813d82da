// The page after the call: how long, how it went, in words and in figures.
import { $, put } from "./view.js";
import { milliseconds, pathWords, percent } from "./words.js";

const JUDGED_FROM = 5; // seconds

/** `page`: what the page lends: copy(text), show(title), band(svg, parts), facts(list, rows). */
export function after(strings, call, page) {
  const { record } = call;
  const met = record.started > 0;
  put("afterHead", met ? strings.afterHead : strings.afterNobodyHead);
  put("afterText", met ? strings.afterText(call.name, lasted(strings, record.ended - record.started), time(strings, record.ended)) : strings.afterNobodyText);
  $("#report").hidden = !met;
  if (met) {
    judge(strings, record, page);
    const rows = figures(strings, record);
    page.facts($("#figures"), rows);
    $("#copy-figures").onclick = async () => {
      const text = [lasted(strings, record.ended - record.started), ...rows.map((row) => row.join(": "))].join("\n");
      if (await page.copy(text)) $("#said").textContent = strings.figuresCopied;
    };
  }
  page.show(strings.afterTitle);
}

function judge(strings, record, page) {
  const { good, fair, poor } = record.totals;
  const whole = good + fair + poor;
  const parts = (seconds) => Math.round((100 * seconds) / Math.max(1, whole));
  put("verdict", verdict(strings, good, whole));
  page.band($("#band"), record.runs.map(({ kind, seconds }) => [{ good: "g", fair: "f", poor: "b" }[kind], (1000 * seconds) / whole]));
  $("#band").setAttribute("aria-label", strings.bandLabel(parts(good), parts(fair), parts(poor)));
  $("#band").toggleAttribute("hidden", whole === 0);
  put("bandFrom", time(strings, record.started));
  put("bandTo", time(strings, record.ended));
  $("#events").replaceChildren(...record.events.map((event) => {
    const item = document.createElement("li"), at = document.createElement("span"), words = document.createElement("span");
    at.className = "num";
    at.textContent = time(strings, event.at);
    words.textContent = eventWords(strings, event);
    item.append(at, words);
    return item;
  }));
}

function verdict(strings, good, whole) {
  if (whole < JUDGED_FROM) return strings.verdictShort;
  if (good >= whole * 0.98) return strings.verdictGood;
  return good < whole / 4 ? strings.verdictPoor : strings.verdictMixed(lasted(strings, good * 1000), lasted(strings, whole * 1000));
}

function eventWords(strings, { kind, sample, seconds, name }) {
  switch (kind) {
    case "path": return strings.eventPath(pathWords(strings, sample));
    case "lost": return strings.eventLost;
    case "back": return strings.eventBack(seconds, pathWords(strings, sample));
    case "serverLost": return strings.eventServerLost;
    case "serverBack": return strings.eventServerBack;
    default: return strings.eventLeft(name);
  }
}

function figures(strings, record) {
  const mean = ([total, count]) => percent(strings, count ? total / count : null);
  const { last } = record;
  const picture = last?.pictureIn;
  return [
    [strings.factPath, pathWords(strings, last)],
    [strings.figureRoundTrip, milliseconds(strings, record.medianRoundTrip)],
    [strings.figureLossOut, mean(record.lossOut)],
    [strings.figureLossIn, mean(record.lossIn)],
    [strings.figurePicture, picture ? strings.picture(picture.width, picture.height, picture.rate) : strings.unknown],
    [strings.factCodecs, last?.codecs || strings.unknown],
  ];
}

function lasted(strings, milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 60 ? strings.duration(0, seconds) : strings.duration(Math.round(seconds / 60), 0);
}

function time(strings, at) {
  return new Date(at).toLocaleTimeString(strings.language, { hour: "2-digit", minute: "2-digit", hour12: false });
}

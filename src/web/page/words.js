// From figures to the strings that say them; the same on the stage, in the panel and after the call.

export function pathWords(strings, sample) {
  if (!sample || sample.relayed === null) return strings.unknown;
  return sample.relayed ? strings.relayOver(sample.protocol) : strings.direct;
}

export function percent(strings, share) {
  if (share === null) return strings.unknown;
  const value = share * 100;
  return strings.percent(value >= 9.95 ? value.toFixed(0) : value.toFixed(1));
}

export function milliseconds(strings, value) {
  return value === null ? strings.unknown : strings.milliseconds(Math.max(1, Math.round(value)));
}

/** The line over the picture: path, round trip, and the loss of the worse side. */
export function truth(strings, sample) {
  const known = [sample.lossIn, sample.lossOut].filter((loss) => loss !== null);
  const loss = known.length ? Math.max(...known) : null;
  return strings.truth(pathWords(strings, sample), milliseconds(strings, sample.roundTrip), percent(strings, loss));
}

function rate(strings, bits) {
  if (bits === null) return strings.unknown;
  return bits >= 1e6 ? strings.megabits((bits / 1e6).toFixed(1)) : strings.kilobits(Math.round(bits / 1000));
}

function flow(strings, picture, bits) {
  const speed = rate(strings, bits);
  return picture ? strings.pictureRate(picture.width, picture.height, speed) : `${strings.soundOnly}, ${speed}`;
}

export function connectionFacts(strings, sample, serverUp) {
  const server = [strings.factServer, serverUp ? strings.serverConnected : strings.serverLost];
  if (!sample) return [server];
  return [
    [strings.factPath, pathWords(strings, sample)],
    [strings.factRoundTrip, milliseconds(strings, sample.roundTrip)],
    [strings.factLoss, `${percent(strings, sample.lossOut)}, ${percent(strings, sample.lossIn)}`],
    [strings.factSending, flow(strings, sample.pictureOut, sample.rateOut)],
    [strings.factReceiving, flow(strings, sample.pictureIn, sample.rateIn)],
    [strings.factCodecs, sample.codecs || strings.unknown],
    server,
  ];
}

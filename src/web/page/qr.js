// A QR code (ISO/IEC 18004) for a link: byte mode, error correction M, versions 1 to 10, up to 213 bytes.
const CODEWORDS = [26, 44, 70, 100, 134, 172, 196, 242, 292, 346];
const CHECK = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5];
const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** Rows of booleans, true is dark; null if the text is too long. */
export function qr(text) {
  const bytes = new TextEncoder().encode(text);
  const version = CODEWORDS.findIndex((_, at) => bytes.length <= capacity(at + 1)) + 1;
  if (!version) return null;
  const words = interleave(encode(bytes, version), version);
  let best = null;
  for (let mask = 0; mask < MASKS.length; mask++) {
    const modules = draw(words, version, mask);
    const cost = penalty(modules);
    if (!best || cost < best.cost) best = { modules, cost };
  }
  return best.modules;
}

function dataWords(version) {
  return CODEWORDS[version - 1] - CHECK[version - 1] * BLOCKS[version - 1];
}

function capacity(version) {
  return dataWords(version) - (version < 10 ? 2 : 3);
}

function encode(bytes, version) {
  const bits = [];
  const push = (value, count) => {
    for (let bit = count - 1; bit >= 0; bit--) bits.push((value >>> bit) & 1);
  };
  push(0b0100, 4);
  push(bytes.length, version < 10 ? 8 : 16);
  for (const byte of bytes) push(byte, 8);
  const room = dataWords(version) * 8;
  push(0, Math.min(4, room - bits.length));
  push(0, (8 - (bits.length % 8)) % 8);
  for (let pad = 0xec; bits.length < room; pad ^= 0xec ^ 0x11) push(pad, 8);
  return Array.from({ length: room / 8 }, (_, at) => parseInt(bits.slice(at * 8, at * 8 + 8).join(""), 2));
}

function interleave(data, version) {
  const blocks = BLOCKS[version - 1], check = CHECK[version - 1];
  const short = Math.floor(data.length / blocks), long = data.length % blocks;
  const generator = generatorOf(check);
  const parts = [];
  for (let block = 0, at = 0; block < blocks; block++) {
    const length = short + (block >= blocks - long ? 1 : 0);
    const words = data.slice(at, (at += length));
    parts.push({ words, check: remainder(words, generator) });
  }
  const out = [];
  for (let at = 0; at <= short; at++) for (const { words } of parts) if (at < words.length) out.push(words[at]);
  for (let at = 0; at < check; at++) for (const part of parts) out.push(part.check[at]);
  return out;
}

// Reed-Solomon over GF(2^8 / 0x11d)
function multiply(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) {
    product = (product << 1) ^ ((product >>> 7) * 0x11d);
    product ^= ((b >>> bit) & 1) * a;
  }
  return product;
}

function generatorOf(degree) {
  const result = new Array(degree).fill(0);
  result[degree - 1] = 1;
  let root = 1;
  for (let step = 0; step < degree; step++) {
    for (let at = 0; at < degree; at++) {
      result[at] = multiply(result[at], root);
      if (at + 1 < degree) result[at] ^= result[at + 1];
    }
    root = multiply(root, 2);
  }
  return result;
}

function remainder(words, generator) {
  const result = new Array(generator.length).fill(0);
  for (const word of words) {
    const factor = word ^ result.shift();
    result.push(0);
    generator.forEach((coefficient, at) => { result[at] ^= multiply(coefficient, factor); });
  }
  return result;
}

function draw(words, version, mask) {
  const size = 17 + 4 * version;
  const dark = Array.from({ length: size }, () => new Array(size).fill(false));
  const fixed = Array.from({ length: size }, () => new Array(size).fill(false));
  const set = (x, y, value) => {
    dark[y][x] = value;
    fixed[y][x] = true;
  };
  for (let at = 0; at < size; at++) {
    set(6, at, at % 2 === 0);
    set(at, 6, at % 2 === 0);
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) finder(x, y, size, set);
  const centres = alignment(version, size);
  for (const x of centres) for (const y of centres) {
    const corner = (x === 6 && y === 6) || (x === 6 && y === size - 7) || (x === size - 7 && y === 6);
    if (!corner) square(x, y, set);
  }
  format(mask, size, set);
  if (version >= 7) versionBits(version, size, set);
  zigzag(words, size, dark, fixed);
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++)
    if (!fixed[y][x] && MASKS[mask](x, y)) dark[y][x] = !dark[y][x];
  return dark;
}

function finder(cx, cy, size, set) {
  for (let dy = -4; dy <= 4; dy++) for (let dx = -4; dx <= 4; dx++) {
    const x = cx + dx, y = cy + dy, ring = Math.max(Math.abs(dx), Math.abs(dy));
    if (x >= 0 && y >= 0 && x < size && y < size) set(x, y, ring !== 2 && ring !== 4);
  }
}

function square(cx, cy, set) {
  for (let dy = -2; dy <= 2; dy++) for (let dx = -2; dx <= 2; dx++)
    set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
}

function alignment(version, size) {
  if (version === 1) return [];
  return version < 7 ? [6, size - 7] : [6, (size - 1) / 2, size - 7];
}

function format(mask, size, set) {
  let rest = mask; // level M is 00
  for (let step = 0; step < 10; step++) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
  const bits = ((mask << 10) | rest) ^ 0x5412;
  const bit = (at) => ((bits >>> at) & 1) === 1;
  for (let at = 0; at <= 5; at++) set(8, at, bit(at));
  set(8, 7, bit(6));
  set(8, 8, bit(7));
  set(7, 8, bit(8));
  for (let at = 9; at < 15; at++) set(14 - at, 8, bit(at));
  for (let at = 0; at < 8; at++) set(size - 1 - at, 8, bit(at));
  for (let at = 8; at < 15; at++) set(8, size - 15 + at, bit(at));
  set(8, size - 8, true);
}

function versionBits(version, size, set) {
  let rest = version;
  for (let step = 0; step < 12; step++) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
  const bits = (version << 12) | rest;
  for (let at = 0; at < 18; at++) {
    const value = ((bits >>> at) & 1) === 1, a = size - 11 + (at % 3), b = Math.floor(at / 3);
    set(a, b, value);
    set(b, a, value);
  }
}

function zigzag(words, size, dark, fixed) {
  let at = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step++) for (let side = 0; side < 2; side++) {
      const x = right - side, y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
      if (fixed[y][x] || at >= words.length * 8) continue;
      dark[y][x] = ((words[at >>> 3] >>> (7 - (at & 7))) & 1) === 1;
      at++;
    }
  }
}

// The cost of a mask: long runs, blocks of one colour, what looks like a finder.
function penalty(modules) {
  const size = modules.length;
  const lines = [...modules, ...modules.map((_, x) => modules.map((row) => row[x]))].map((line) => line.map(Number).join(""));
  let cost = 0;
  for (const line of lines) {
    for (const run of line.match(/0{5,}|1{5,}/g) ?? []) cost += run.length - 2;
    cost += 40 * (line.match(/(?=00001011101|10111010000)/g) ?? []).length;
  }
  for (let y = 0; y + 1 < size; y++) for (let x = 0; x + 1 < size; x++) {
    const first = modules[y][x];
    if (modules[y][x + 1] === first && modules[y + 1][x] === first && modules[y + 1][x + 1] === first) cost += 3;
  }
  return cost;
}

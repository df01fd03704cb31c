/** Reads MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md), as far as JSON goes, and raw bytes. */

/** @param {ArrayBuffer} buffer @returns {any} bytes as `Uint8Array`. Throws `RangeError` where it cannot be read. */
export function decode(buffer) {
  return new Reader(buffer).read();
}

class Reader {
  #offset = 0;

  /** @param {ArrayBuffer} buffer */
  constructor(buffer) {
    this.buffer = buffer;
    this.view = new DataView(buffer);
  }

  /** @returns {any} */
  read() {
    const type = this.#number("Uint8", 1);
    if (type < 0x80) {
      return type;
    }
    if (type < 0x90) {
      return this.#map(type & 0x0f);
    }
    if (type < 0xa0) {
      return this.#array(type & 0x0f);
    }
    if (type < 0xc0) {
      return this.#text(type & 0x1f);
    }
    return type < 0xe0 ? this.#readTyped(type) : type - 0x100;
  }

  /** @param {number} type its first byte, from 0xc0 to 0xdf */
  #readTyped(type) {
    switch (type) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.#bytes(this.#number("Uint8", 1));
      case 0xc5: return this.#bytes(this.#number("Uint16", 2));
      case 0xc6: return this.#bytes(this.#number("Uint32", 4));
      case 0xca: return this.#number("Float32", 4);
      case 0xcb: return this.#number("Float64", 8);
      case 0xcc: return this.#number("Uint8", 1);
      case 0xcd: return this.#number("Uint16", 2);
      case 0xce: return this.#number("Uint32", 4);
      case 0xcf: return Number(this.#number("BigUint64", 8));
      case 0xd0: return this.#number("Int8", 1);
      case 0xd1: return this.#number("Int16", 2);
      case 0xd2: return this.#number("Int32", 4);
      case 0xd3: return Number(this.#number("BigInt64", 8));
      case 0xd9: return this.#text(this.#number("Uint8", 1));
      case 0xda: return this.#text(this.#number("Uint16", 2));
      case 0xdb: return this.#text(this.#number("Uint32", 4));
      case 0xdc: return this.#array(this.#number("Uint16", 2));
      case 0xdd: return this.#array(this.#number("Uint32", 4));
      case 0xde: return this.#map(this.#number("Uint16", 2));
      case 0xdf: return this.#map(this.#number("Uint32", 4));
      default: throw new RangeError(`MessagePack of type 0x${type.toString(16)} is not read here`);
    }
  }

  /** @param {string} kind as in the names of `DataView` @param {number} size in bytes */
  #number(kind, size) {
    this.#offset += size;
    return this.view[`get${kind}`](this.#offset - size);
  }

  /** @param {number} size */
  #bytes(size) {
    this.#offset += size;
    return new Uint8Array(this.buffer, this.#offset - size, size);
  }

  /** @param {number} size in bytes */
  #text(size) {
    return new TextDecoder().decode(this.#bytes(size));
  }

  /** @param {number} length */
  #array(length) {
    return Array.from({ length }, () => this.read());
  }

  /** @param {number} length */
  #map(length) {
    return Object.fromEntries(Array.from({ length }, () => [this.read(), this.read()]));
  }
}

// Keeps what must outlive a reload: JSON by name, in a storage of the browser.

export class Store {
  /** `area`: sessionStorage on the desk; the extension has one that outlives its panel. */
  constructor(area, prefix = "paydesk") {
    this.area = area;
    this.prefix = prefix;
  }

  /** What was kept under `name`, or null. */
  get(name) {
    try {
      return JSON.parse(this.area.getItem(`${this.prefix}.${name}`));
    } catch {
      return null;
    }
  }

  /** Keeps `value`; false where the browser has no room or keeps nothing at all. */
  set(name, value) {
    try {
      this.area.setItem(`${this.prefix}.${name}`, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  }

  remove(name) {
    try {
      this.area.removeItem(`${this.prefix}.${name}`);
    } catch {
      // What cannot be kept need not be forgotten.
    }
  }
}

// Work that is done at once and then every few seconds, as long as it is wanted and somebody looks.

export class Repeated {
  #timer = null;
  #wanted = false;
  #underWay = false;
  #again = false;

  constructor(everyS, work) {
    this.everyS = everyS;
    this.work = work;
  }

  begin() {
    this.#wanted = true;
    document.addEventListener("visibilitychange", this.now);
    this.now();
  }

  end() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.now);
  }

  /** Once more now, or right after what is under way: no older answer comes after a newer one. */
  now = async () => {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    this.#again = this.#underWay;
    if (this.#underWay) return;
    this.#underWay = true;
    try {
      await this.work();
    } finally {
      this.#underWay = false;
    }
    if (this.#again) this.now();
    else if (this.#wanted) this.#timer = setTimeout(this.now, this.everyS * 1000);
  };
}

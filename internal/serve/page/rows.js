// The lines of the live tail, newest first. They hold still while somebody reads them: the list is
// scrolled, pointed at or has the focus. What comes meanwhile waits behind a button.

import { byID, h, setAttribute, setText } from "./dom.js";
import * as format from "./format.js";

const most = 200; // lines shown, and lines waiting

export class Rows {
  constructor() {
    this.node = byID("tail-rows");
    this.newer = byID("tail-newer");
    this.waiting = []; // nodes, oldest first
    this.came = 0; // entries since the list holds still
    this.pointed = false;
    this.newer.addEventListener("click", () => {
      this.node.scrollTop = 0;
      this.release();
    });
    this.node.addEventListener("pointerenter", (event) => { this.pointed = event.pointerType === "mouse"; });
    this.node.addEventListener("pointerleave", () => {
      this.pointed = false;
      this.look();
    });
    this.node.addEventListener("focusout", () => setTimeout(() => this.look()));
    this.node.addEventListener("scroll", () => this.look());
  }

  clear() {
    this.node.hidden = false;
    this.node.replaceChildren();
    this.waiting = [];
    this.came = 0;
    this.tell();
  }

  get isRead() { return this.pointed || this.node.scrollTop > 0 || this.node === document.activeElement; }

  look() { if (this.waiting.length > 0 && !this.isRead) this.release(); }

  /** add adds lines, oldest first, that stand for so many entries. */
  add(nodes, entries) {
    this.waiting = this.waiting.concat(nodes);
    this.came += entries;
    if (!this.isRead || this.node.children.length === 0) return this.release();
    if (this.waiting.length > most) this.waiting = [leftOut("lines"), ...this.waiting.slice(1 - most)];
    this.tell();
  }

  release() {
    this.node.prepend(...this.waiting.slice(-most).reverse());
    while (this.node.children.length > most) this.node.lastChild.remove();
    this.waiting = [];
    this.came = 0;
    this.tell();
  }

  tell() {
    setText(this.newer, this.came ? `Show ${format.plural(this.came, "newer entry", "newer entries")}` : "");
    setAttribute(this.newer, "class", this.came ? "newer waits" : "newer");
    this.newer.disabled = this.came === 0;
  }
}

/** leftOut is a line that stands for entries that are not shown. */
export const leftOut = (what) => h("li", { class: "row break", role: "option", "aria-disabled": "true" }, `${what} left out here`);

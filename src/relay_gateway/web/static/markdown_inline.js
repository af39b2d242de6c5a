/**
 * The inline part of Markdown: code, emphasis, links, line breaks, as CommonMark has them. The text of
 * one paragraph goes in, DOM nodes come out, and nothing is ever read as HTML. For example:
 *
 *   inlineNodes("a *b*")    // a DocumentFragment: "a ", <em>b</em>
 *
 * A link leads to http, https or mailto; any other stays as it was written. An image becomes its words.
 * The cost is linear in the text's length.
 */

/** Elements within each other; what is deeper is shown without an element of its own. */
const MAX_DEPTH = 16;

/** Parentheses within each other in the address of a link. */
const MAX_PARENTHESES = 32;

const LINK = /^(https?|mailto):/i;
const PUNCTUATION = /^[\p{P}\p{S}]$/u;
const SPACE = /^\s$/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const PLAIN = /[^\\`*_[\]!\n]+/y;

export function inlineNodes(text) {
  return build(new Inline(text).parse(), 0);
}

/** A doubly linked list, so that what stands between two nodes moves in one step. */
class Nodes {
  first = null;
  last = null;

  append(node) {
    node.previous = this.last;
    node.next = null;
    if (this.last) this.last.next = node;
    else this.first = node;
    this.last = node;
    return node;
  }

  /** Takes all nodes between two out, into `parent.children`, and puts `parent` in their place. */
  wrap(before, after, parent) {
    parent.children = new Nodes();
    const [first, last] = [before.next, after ? after.previous : this.last];
    if (first !== after) {
      [parent.children.first, parent.children.last] = [first, last];
      first.previous = last.next = null;
    }
    [parent.previous, parent.next] = [before, after];
    before.next = parent;
    if (after) after.previous = parent;
    else this.last = parent;
  }

  remove(node) {
    if (node.previous) node.previous.next = node.next;
    else this.first = node.next;
    if (node.next) node.next.previous = node.previous;
    else this.last = node.previous;
  }
}

class Inline {
  #text;
  #at = 0;
  #nodes = new Nodes();
  /** Runs of * and _ that may yet become emphasis, the last one first. */
  #delimiters = null;
  /** Brackets that are open, the last one first. */
  #brackets = null;
  /** Lengths of runs of backticks that do not come any more. */
  #missing = new Set();

  constructor(text) {
    this.#text = text;
  }

  parse() {
    while (this.#at < this.#text.length) this.#step();
    this.#emphasize(null);
    return this.#nodes;
  }

  #step() {
    PLAIN.lastIndex = this.#at;
    const plain = PLAIN.exec(this.#text);
    if (plain) return this.#addText(plain[0]);
    const character = this.#text[this.#at];
    if (character === "\\") this.#escape();
    else if (character === "`") this.#code();
    else if (character === "\n") this.#lineBreak();
    else if (character === "[") this.#open("[");
    else if (character === "!" && this.#text[this.#at + 1] === "[") this.#open("![");
    else if (character === "]") this.#close();
    else if (character === "!") this.#addText("!");
    else this.#delimiterRun(character);
  }

  #addText(text) {
    this.#at += text.length;
    return this.#nodes.append({ text });
  }

  #escape() {
    const next = this.#text[this.#at + 1] ?? "";
    if (next === "\n") {
      this.#nodes.append({ tag: "br" });
      this.#skipLineEnd(this.#at + 1);
    } else if (ESCAPABLE.test(next)) {
      this.#nodes.append({ text: next });
      this.#at += 2;
    } else this.#addText("\\");
  }

  #lineBreak() {
    const last = this.#nodes.last;
    const isHard = last?.text?.endsWith("  ") ?? false;
    if (last?.text && !last.delimiter) last.text = last.text.replace(/ +$/, "");
    this.#nodes.append(isHard ? { tag: "br" } : { text: "\n" });
    this.#skipLineEnd(this.#at);
  }

  #skipLineEnd(at) {
    this.#at = at + 1;
    while (this.#text[this.#at] === " " || this.#text[this.#at] === "\t") this.#at += 1;
  }

  #code() {
    const run = /`+/y;
    run.lastIndex = this.#at;
    const [ticks] = run.exec(this.#text);
    const start = this.#at + ticks.length;
    const end = this.#endOfCode(ticks.length, start);
    if (end === -1) return this.#addText(ticks);
    let text = this.#text.slice(start, end).replaceAll("\n", " ");
    if (text.startsWith(" ") && text.endsWith(" ") && text.trim() !== "") text = text.slice(1, -1);
    this.#nodes.append({ tag: "code", children: single({ text }) });
    this.#at = end + ticks.length;
  }

  /** Each length that is missing is looked for once, so all code of a text costs one pass a length. */
  #endOfCode(length, start) {
    if (this.#missing.has(length)) return -1;
    const runs = /`+/g;
    runs.lastIndex = start;
    for (let run = runs.exec(this.#text); run; run = runs.exec(this.#text)) {
      if (run[0].length === length) return run.index;
    }
    this.#missing.add(length);
    return -1;
  }

  #delimiterRun(character) {
    let end = this.#at;
    while (this.#text[end] === character) end += 1;
    const { opens, closes } = this.#flanks(character, this.#at, end);
    const count = end - this.#at;
    const node = this.#addText(this.#text.slice(this.#at, end));
    node.delimiter = true;
    const delimiter = { node, character, count, length: count, opens, closes, before: this.#delimiters };
    if (this.#delimiters) this.#delimiters.after = delimiter;
    this.#delimiters = delimiter;
  }

  /** CommonMark 0.31, "Emphasis and strong emphasis": left- and right-flanking. */
  #flanks(character, start, end) {
    const before = characterBefore(this.#text, start);
    const after = end < this.#text.length ? String.fromCodePoint(this.#text.codePointAt(end)) : " ";
    const [spaceBefore, spaceAfter] = [SPACE.test(before), SPACE.test(after)];
    const [punctBefore, punctAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
    const left = !spaceAfter && (!punctAfter || spaceBefore || punctBefore);
    const right = !spaceBefore && (!punctBefore || spaceAfter || punctAfter);
    if (character === "*") return { opens: left, closes: right };
    return { opens: left && (!right || punctBefore), closes: right && (!left || punctAfter) };
  }

  #open(mark) {
    const node = this.#addText(mark);
    const isImage = mark === "![";
    this.#brackets = { node, isImage, below: this.#delimiters, active: true, before: this.#brackets };
  }

  #close() {
    const bracket = this.#brackets;
    const end = this.#at + 1;
    this.#brackets = bracket?.before ?? null;
    const target = bracket?.active ? readTarget(this.#text, end) : null;
    if (target === null) return this.#addText("]");
    this.#emphasize(bracket.below);
    const link = bracket.isImage ? { tag: "span", image: true } : { tag: "a", href: target.href };
    this.#nodes.wrap(bracket.node, null, link);
    this.#nodes.remove(bracket.node);
    this.#at = target.end;
    if (!bracket.isImage) this.#deactivate();
  }

  /** A link has no link within it. Those before it are closed once; each is visited once. */
  #deactivate() {
    for (let each = this.#brackets; each && (each.active || each.isImage); each = each.before) {
      if (!each.isImage) each.active = false;
    }
  }

  /** CommonMark 0.31, appendix "An algorithm for parsing nested emphasis and links". */
  #emphasize(bottom) {
    const limits = new Map();
    let closer = bottom ? bottom.after : this.#firstDelimiter();
    while (closer) {
      if (!closer.closes) {
        closer = closer.after;
        continue;
      }
      const key = `${closer.character}${closer.opens}${closer.length % 3}`;
      const opener = findOpener(closer, limits.has(key) ? limits.get(key) : bottom, bottom);
      if (opener) closer = this.#pair(opener, closer);
      else {
        limits.set(key, closer.before);
        const next = closer.after;
        if (!closer.opens) this.#drop(closer);
        closer = next;
      }
    }
    this.#delimiters = bottom;
    if (bottom) bottom.after = null;
  }

  #firstDelimiter() {
    let first = this.#delimiters;
    while (first?.before) first = first.before;
    return first;
  }

  #pair(opener, closer) {
    const used = opener.count >= 2 && closer.count >= 2 ? 2 : 1;
    opener.after = closer;
    closer.before = opener;
    for (const each of [opener, closer]) {
      each.count -= used;
      each.node.text = each.character.repeat(each.count);
    }
    this.#nodes.wrap(opener.node, closer.node, { tag: used === 2 ? "strong" : "em" });
    if (opener.count === 0) this.#drop(opener, true);
    if (closer.count > 0) return closer;
    const next = closer.after;
    this.#drop(closer, true);
    return next;
  }

  #drop(delimiter, withNode = false) {
    if (delimiter.before) delimiter.before.after = delimiter.after;
    if (delimiter.after) delimiter.after.before = delimiter.before;
    if (this.#delimiters === delimiter) this.#delimiters = delimiter.before;
    if (withNode) this.#nodes.remove(delimiter.node);
  }
}

function findOpener(closer, limit, bottom) {
  for (let each = closer.before; each && each !== limit && each !== bottom; each = each.before) {
    const isOdd =
      (closer.opens || each.closes) && closer.length % 3 !== 0 && (each.length + closer.length) % 3 === 0;
    if (each.character === closer.character && each.opens && !isOdd) return each;
  }
  return null;
}

function single(node) {
  const nodes = new Nodes();
  nodes.append(node);
  return nodes;
}

function characterBefore(text, at) {
  if (at === 0) return " ";
  const isPair = at > 1 && /[\uDC00-\uDFFF]/.test(text[at - 1]) && /[\uD800-\uDBFF]/.test(text[at - 2]);
  return isPair ? text.slice(at - 2, at) : text[at - 1];
}

/** Reads `(address "title")`; null if there is none, or none that may be followed. */
function readTarget(text, at) {
  if (text[at] !== "(") return null;
  const address = readAddress(text, skipSpace(text, at + 1));
  if (address === null || (address.href !== "" && !LINK.test(address.href))) return null;
  let end = skipSpace(text, address.end);
  if (end > address.end) end = skipSpace(text, endOfTitle(text, end));
  return text[end] === ")" ? { href: address.href, end: end + 1 } : null;
}

const SPACES = /[ \t\n]*/y;

function skipSpace(text, at) {
  SPACES.lastIndex = at;
  SPACES.exec(text);
  return SPACES.lastIndex;
}

const unescape = (text) => text.replace(/\\([!-/:-@[-`{-~])/g, "$1");

function readAddress(text, at) {
  if (text[at] === "<") {
    const inBrackets = /<((?:\\[^\n]|[^<>\\\n])*)>/y;
    inBrackets.lastIndex = at;
    const match = inBrackets.exec(text);
    return match && { href: unescape(match[1]), end: inBrackets.lastIndex };
  }
  const end = endOfAddress(text, at);
  return end === -1 ? null : { href: unescape(text.slice(at, end)), end };
}

function endOfAddress(text, at) {
  let depth = 0;
  for (let end = at; ; end += 1) {
    const character = text[end] ?? " ";
    if (character <= " " || character === "\x7f") return depth === 0 ? end : -1;
    if (character === "\\" && (text[end + 1] ?? " ") > " ") end += 1;
    else if (character === "(" && (depth += 1) > MAX_PARENTHESES) return -1;
    else if (character === ")" && (depth -= 1) < 0) return end;
  }
}

/** Where a title ends; `at` if there is none. */
function endOfTitle(text, at) {
  const title = /"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|\((?:\\[^]|[^()\\])*\)/y;
  title.lastIndex = at;
  return title.test(text) ? title.lastIndex : at;
}

function build(nodes, depth) {
  const fragment = document.createDocumentFragment();
  for (let node = nodes.first; node; node = node.next) {
    if (node.tag === undefined) fragment.append(node.text);
    else if (node.image) fragment.append(wordsOf(node));
    else if (depth >= MAX_DEPTH && node.children) fragment.append(build(node.children, depth));
    else fragment.append(elementOf(node, depth));
  }
  return fragment;
}

function elementOf(node, depth) {
  const element = document.createElement(node.tag);
  if (node.children) element.append(build(node.children, depth + 1));
  if (node.href) {
    element.href = node.href;
    element.rel = "noreferrer noopener";
    element.target = "_blank";
  }
  return element;
}

function wordsOf(image) {
  const element = document.createElement("span");
  element.className = "image";
  element.textContent = build(image.children, 0).textContent;
  return element;
}

/**
 * Shows Markdown while it is being written, as DOM nodes. The subset is in docs/page.md. For example:
 *
 *   const view = new MarkdownView(element);
 *   view.append("# Ra");
 *   view.append("in\n\nIt *fa");    // <h1>Rain</h1><p>It *fa</p>
 *
 * It reads line by line, as CommonMark's appendix describes. A line is read once, when it has ended. The
 * last one may be read several times, because more of it may come: what it drew is taken back first. So a
 * token costs what the last line and the last paragraph cost, and both have a limit. Blocks that have
 * ended are not touched again.
 */

import { inlineNodes } from "./markdown_inline.js";

/** Characters of a line or of a paragraph; what is longer goes on in a paragraph of its own. */
const LEAF_LIMIT = 4000;

/** Quotes and lists within each other; a deeper mark is text. */
const MAX_DEPTH = 20;

/** Columns of a table. With more, the table stays text: each row has all of them. */
const MAX_COLUMNS = 32;

const HEADING = /^(#{1,6})(?:[ \t]+|$)/;
const RULE = /^([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const FENCE = /^(`{3,})([^`]*)$|^(~{3,})(.*)$/;
const ITEM = /^(?:([-+*])|(\d{1,9})([.)]))(?=[ \t]|$)/;
const DELIMITER_ROW = /^[-|:][-|: \t]*$/;

export class MarkdownView {
  /** The lists, items and quotes that are open, outermost first; the first is the answer itself. */
  #open;
  #leaf = null;
  #partial = "";
  /** What was there before the partial line was drawn. */
  #saved = null;
  /** A line that is too long has been cut here. */
  #isWithinLine = false;

  constructor(element) {
    this.#open = [{ type: "root", element }];
  }

  append(text) {
    this.#restore();
    const lines = (this.#partial + text).split("\n");
    this.#partial = lines.pop();
    for (const line of lines) this.#readWhole(line);
    while (this.#partial.length > LEAF_LIMIT) this.#cutPartial();
    this.#save();
    if (this.#partial !== "") this.#readLine(this.#partial);
    this.#leaf?.draw();
  }

  #readWhole(line) {
    for (let rest = line; ; rest = rest.slice(LEAF_LIMIT)) {
      this.#readLine(rest.slice(0, LEAF_LIMIT));
      this.#isWithinLine = rest.length > LEAF_LIMIT;
      if (!this.#isWithinLine) break;
    }
  }

  #cutPartial() {
    this.#readLine(this.#partial.slice(0, LEAF_LIMIT));
    this.#isWithinLine = true;
    this.#partial = this.#partial.slice(LEAF_LIMIT);
  }

  #save() {
    this.#saved = {
      open: this.#open.map((each) => ({ container: { ...each }, last: lastTwo(each.element) })),
      leaf: this.#leaf,
      mark: this.#leaf?.mark(),
      isWithinLine: this.#isWithinLine,
    };
  }

  #restore() {
    if (this.#saved === null) return;
    const { open, leaf, mark, isWithinLine } = this.#saved;
    leaf?.reset(mark);
    for (const { container, last } of open) {
      const [before, end] = last; // the end is gone if a table has taken its place
      const kept = end?.parentNode === container.element ? end : before;
      while (container.element.lastChild !== kept) container.element.lastChild.remove();
      if (kept !== end) container.element.append(end);
    }
    this.#open = open.map(({ container }) => container);
    this.#leaf = leaf;
    this.#isWithinLine = isWithinLine;
  }

  /* One line. */

  #readLine(text) {
    if (this.#isWithinLine) return this.#continueLine(text);
    const line = new Line(text);
    const matched = this.#matchContainers(line);
    const isMatched = matched === this.#open.length;
    if (isMatched && this.#leaf instanceof Fence) {
      if (this.#leaf.add(line)) this.#closeLeaf();
    } else this.#readStarts(line, matched);
  }

  #continueLine(text) {
    if (this.#leaf instanceof Fence) this.#leaf.addRest(text);
    else this.#addParagraph(text, false);
  }

  /** How many of the open containers go on in this line. */
  #matchContainers(line) {
    let matched = 1;
    while (matched < this.#open.length && goesOn(this.#open[matched], line)) matched += 1;
    return matched;
  }

  #readStarts(line, matched) {
    let depth = matched;
    let isLazy = matched < this.#open.length;
    for (;;) {
      if (line.isBlank) return this.#blank(depth);
      // After a paragraph, what is indented by four is more of it.
      if (line.indent >= 4 && isParagraph(this.#leaf)) return this.#text(line, depth, isLazy);
      const container = this.#startContainer(line, depth, isLazy);
      if (container === null) break;
      depth = this.#open.length;
      isLazy = false;
    }
    if (this.#startLeaf(line, depth, isLazy)) return;
    this.#text(line, depth, isLazy);
  }

  #blank(depth) {
    this.#closeTo(depth);
    this.#closeLeaf();
    const last = this.#open.at(-1);
    if (last.type === "item" && !last.element.hasChildNodes()) last.isEmpty = true;
  }

  #startContainer(line, depth, isLazy) {
    if (this.#open.length >= MAX_DEPTH && depth === this.#open.length) return null;
    if (line.rest.startsWith(">")) return this.#startQuote(line, depth);
    if (RULE.test(line.rest.trimEnd())) return null;
    const match = ITEM.exec(line.rest);
    if (match === null || !this.#mayStartItem(line, match, depth, isLazy)) return null;
    return this.#startItem(line, match, depth);
  }

  #startQuote(line, depth) {
    this.#closeTo(depth);
    this.#leaveList();
    line.take(line.indent + 1);
    line.takeSpace();
    return this.#push({ type: "quote", element: document.createElement("blockquote") });
  }

  /** An item that is empty, or does not begin with 1, does not interrupt a paragraph. */
  #mayStartItem(line, [mark, , number], depth, isLazy) {
    if (!isParagraph(this.#leaf) || isLazy || isSibling(this.#open, depth)) return true;
    return line.rest.slice(mark.length).trim() !== "" && (number === undefined || Number(number) === 1);
  }

  #startItem(line, [mark, bullet, number, dot], depth) {
    this.#closeTo(depth);
    const kind = bullet ?? dot;
    if (this.#open.at(-1).type !== "list" || this.#open.at(-1).kind !== kind) this.#startList(kind, number);
    const before = line.indent + mark.length;
    line.take(before);
    const spaces = line.isBlank || line.indent > 4 ? 1 : line.indent;
    line.take(Math.min(spaces, line.indent));
    return this.#push({ type: "item", element: document.createElement("li"), indent: before + spaces });
  }

  #startList(kind, number) {
    this.#leaveList();
    const list = document.createElement(number === undefined ? "ul" : "ol");
    if (number !== undefined && Number(number) !== 1) list.start = Number(number);
    this.#push({ type: "list", element: list, kind });
  }

  #startLeaf(line, depth, isLazy) {
    if (!isLazy && depth === this.#open.length && this.#startTable(line)) return true;
    const rest = line.rest.trimEnd();
    const heading = HEADING.exec(rest);
    const fence = FENCE.exec(rest);
    if (fence) return this.#begin(depth, new Fence(line.indent, fence));
    if (RULE.test(rest)) return this.#begin(depth, new Rule());
    if (heading) return this.#begin(depth, new Heading(heading[1].length, rest.slice(heading[0].length)));
    return false;
  }

  #begin(depth, leaf) {
    this.#closeTo(depth);
    this.#add(leaf);
    if (!(leaf instanceof Fence)) this.#closeLeaf();
    return true;
  }

  #startTable(line) {
    if (!isParagraph(this.#leaf) || line.indent >= 4) return false;
    const header = this.#leaf.lastLine;
    const table = header.isLazy ? null : tableOf(header.text, line.rest.trimEnd());
    if (table === null) return false;
    this.#leaf.removeLastLine();
    this.#add(table);
    return true;
  }

  #text(line, depth, isLazy) {
    if (isLazy && isParagraph(this.#leaf)) return this.#addParagraph(line.rest, true);
    this.#closeTo(depth);
    this.#leaveList();
    if (this.#leaf instanceof Table) this.#leaf.add(line.rest);
    else this.#addParagraph(line.rest, false);
  }

  #addParagraph(text, isLazy) {
    if (!isParagraph(this.#leaf) || this.#leaf.isFull) {
      if (!isParagraph(this.#leaf)) this.#leaveList();
      this.#add(new Paragraph());
    }
    this.#leaf.add(text, isLazy);
  }

  /* What is open. */

  #push(container) {
    this.#closeLeaf();
    this.#open.at(-1).element.append(container.element);
    this.#open.push(container);
    return container;
  }

  #add(leaf) {
    this.#closeLeaf();
    this.#leaveList();
    this.#open.at(-1).element.append(leaf.element);
    this.#leaf = leaf;
  }

  #closeTo(depth) {
    if (depth === this.#open.length) return;
    this.#closeLeaf();
    this.#open.length = depth;
  }

  #closeLeaf() {
    this.#leaf?.draw();
    this.#leaf = null;
  }

  /** Nothing but an item stands in a list. */
  #leaveList() {
    if (this.#open.at(-1).type !== "list") return;
    this.#closeLeaf();
    this.#open.pop();
  }
}

const lastTwo = ({ lastChild }) => [lastChild?.previousSibling ?? null, lastChild];
const isParagraph = (leaf) => leaf instanceof Paragraph;
const isSibling = (open, depth) => open[depth - 1].type === "list";

function goesOn(container, line) {
  if (container.type === "list") return true;
  if (container.type === "quote") {
    if (!line.rest.startsWith(">")) return false;
    line.take(line.indent + 1);
    line.takeSpace();
    return true;
  }
  if (line.isBlank) return !container.isEmpty && container.element.hasChildNodes();
  if (line.indent < container.indent) return false;
  line.take(container.indent);
  return true;
}

/** A line, and how much of it has been read. A tab is as wide as the next stop at four columns. */
class Line {
  constructor(text) {
    const [space] = /^[ \t]*/.exec(text);
    this.#text = space.includes("\t") ? expanded(space) + text.slice(space.length) : text;
    this.#measure();
  }

  #text;
  indent = 0;
  rest = "";

  get isBlank() {
    return this.rest.trim() === "";
  }

  take(columns) {
    this.#text = this.#text.slice(columns);
    this.#measure();
  }

  takeSpace() {
    if (this.#text.startsWith(" ")) this.take(1);
  }

  /** The text without that much of its indentation. */
  without(columns) {
    return this.#text.slice(Math.min(columns, this.indent));
  }

  #measure() {
    const [space] = /^[ \t]*/.exec(this.#text);
    if (space.includes("\t")) this.#text = expanded(space) + this.#text.slice(space.length);
    this.indent = /^ */.exec(this.#text)[0].length;
    this.rest = this.#text.slice(this.indent);
  }
}

function expanded(space) {
  let text = "";
  for (const each of space) text += each === "\t" ? " ".repeat(4 - (text.length % 4)) : " ";
  return text;
}

/* Blocks of text. Each can go back to a mark, so that a partial line leaves no trace. */

class Paragraph {
  element = document.createElement("p");
  #lines = [];
  #size = 0;
  #drawn = null;

  get isFull() {
    return this.#size > LEAF_LIMIT;
  }

  get lastLine() {
    return this.#lines.at(-1);
  }

  add(text, isLazy) {
    this.#lines.push({ text, isLazy });
    this.#size += text.length + 1;
  }

  removeLastLine() {
    this.#size -= this.#lines.pop().text.length + 1;
    if (this.#lines.length === 0) this.element.remove();
  }

  mark() {
    return { lines: [...this.#lines], size: this.#size };
  }

  reset({ lines, size }) {
    this.#lines = [...lines];
    this.#size = size;
  }

  draw() {
    const text = this.#lines.map((line) => line.text).join("\n").trim();
    if (text === this.#drawn) return;
    this.#drawn = text;
    this.element.replaceChildren(inlineNodes(text));
  }
}

class Heading {
  constructor(level, text) {
    this.element = document.createElement(`h${level}`);
    const words = text.replace(/(^|[ \t]+)#+[ \t]*$/, "").trim();
    this.element.append(inlineNodes(words));
  }

  draw() {}
}

class Rule {
  element = document.createElement("hr");
  draw() {}
}

/** Code; in pieces, because a browser lays out a piece as a whole. */
class Fence {
  element = document.createElement("pre");
  #code = document.createElement("code");
  #indent;
  #end;
  #text = null;
  #isFirst = true;

  constructor(indent, [, ticks, info, tildes, otherInfo]) {
    const fence = ticks ?? tildes;
    this.#indent = indent;
    this.#end = new RegExp(`^${fence[0]}{${fence.length},}[ \\t]*$`);
    const [language] = (info ?? otherInfo).trim().split(/\s+/);
    if (language) this.#code.dataset.language = language;
    this.element.append(this.#code);
  }

  /** Takes a line; true if it is the last. */
  add(line) {
    if (this.#end.test(line.rest)) return true;
    const text = line.without(this.#indent);
    this.addRest(this.#isFirst ? text : `\n${text}`);
    this.#isFirst = false;
    return false;
  }

  addRest(text) {
    if (this.#text === null || this.#text.length > LEAF_LIMIT) {
      const piece = document.createElement("span");
      this.#text = piece.appendChild(document.createTextNode(""));
      this.#code.append(piece);
    }
    this.#text.appendData(text);
  }

  mark() {
    return { text: this.#text, length: this.#text?.length, isFirst: this.#isFirst };
  }

  reset({ text, length, isFirst }) {
    while (this.#code.lastChild !== (text?.parentNode ?? null)) this.#code.lastChild.remove();
    if (text && text.length > length) text.deleteData(length, text.length - length);
    this.#text = text;
    this.#isFirst = isFirst;
  }

  draw() {}
}

class Table {
  element = document.createElement("div");
  #rows = document.createElement("tbody");
  #aligns;

  constructor(cells, aligns) {
    this.#aligns = aligns;
    const table = document.createElement("table");
    const head = document.createElement("thead");
    head.append(this.#row("th", cells));
    table.append(head);
    this.element.className = "table";
    this.element.tabIndex = 0; // it scrolls sideways, also by keys
    this.element.append(table);
    table.append(this.#rows);
  }

  add(text) {
    this.#rows.append(this.#row("td", cellsOf(text)));
  }

  #row(tag, cells) {
    const row = document.createElement("tr");
    this.#aligns.forEach((align, index) => {
      const cell = document.createElement(tag);
      if (align !== "") cell.className = `align-${align}`;
      cell.append(inlineNodes((cells[index] ?? "").trim()));
      row.append(cell);
    });
    return row;
  }

  mark() {
    return this.#rows.lastChild;
  }

  reset(last) {
    while (this.#rows.lastChild !== last) this.#rows.lastChild.remove();
  }

  draw() {}
}

function tableOf(header, delimiters) {
  if (!header.includes("|") || !DELIMITER_ROW.test(delimiters) || /^-[ \t]/.test(delimiters)) return null;
  if (delimiters.length < 2) return null;
  const marks = delimiters.split("|").map((mark) => mark.trim());
  if (marks[0] === "") marks.shift();
  if (marks.at(-1) === "") marks.pop();
  const cells = cellsOf(header);
  const isRow = marks.every((mark) => /^:?-+:?$/.test(mark)) && marks.length === cells.length;
  return isRow && 0 < marks.length && marks.length <= MAX_COLUMNS ? new Table(cells, marks.map(alignOf)) : null;
}

function alignOf(mark) {
  if (mark.endsWith(":")) return mark.startsWith(":") ? "center" : "right";
  return mark.startsWith(":") ? "left" : "";
}

/** The cells of a row; `\|` is no border. */
function cellsOf(text) {
  const cells = text.trim().replaceAll("\\|", "\0").split("|").map((cell) => cell.replaceAll("\0", "|"));
  if (cells[0] === "") cells.shift();
  if (cells.at(-1) === "") cells.pop();
  return cells;
}

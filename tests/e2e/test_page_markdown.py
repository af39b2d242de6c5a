"""The page's renderer of Markdown beside markdown-it-py, for the subset in docs/page.md."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.browsing import Visit

pytestmark = pytest.mark.browser

RULES = [
    *("table", "fence", "blockquote", "hr", "list", "heading", "paragraph"),
    *("newline", "escape", "backticks", "emphasis", "link", "image", "balance_pairs"),
]
LINK = re.compile("(https?|mailto):", re.IGNORECASE)

PIECES = st.sampled_from(
    [
        *(
            "\n",
            "\n",
            "\n\n",
            "\n> ",
            "\n- ",
            "\n* ",
            "\n1. ",
            "\n2) ",
            "\n# ",
            "\n### ",
            "\n```\n",
        ),
        *(
            "\n```py\n",
            "\n~~~\n",
            "\n---\n",
            "\n|a|b|\n|-|:-:|\n",
            "\n|",
            "|",
            "\n  ",
            "\n    ",
            "> ",
        ),
        *(
            "- ",
            "*",
            "**",
            "***",
            "_",
            "__",
            "`",
            "``",
            "[",
            "](http://a.b)",
            "](javascript:x)",
            "!",
        ),
        *(
            "](<https://c d>)",
            "](mailto:e 'f')",
            "\\",
            "  \n",
            "\\\n",
            "word",
            " ",
            "a b",
            "#",
            "<b>",
        ),
        *("\u00e9", "\U0001f680", ".", "(", ")"),
    ]
)
DOCUMENTS = st.lists(PIECES, max_size=25).map("".join)

# Where markdown-it-py leaves CommonMark. An item that is empty, with a blank line after it, ends
# the list. A row of a table may begin as an item or a heading does. A backslash hides spaces.
_EMPTY_ITEM = r"^[ >]*(?:.*[-+*]|.*\d[.)])[ \t>]*\n[ >]*$"
_ROW_OF_AN_ITEM = r"^[ >]*(?:#|[-+*]|\d+[.)]).*\|.*\n[-:|> ]*-"
UNLIKE = re.compile(rf"{_EMPTY_ITEM}|{_ROW_OF_AN_ITEM}|\\ +\n", re.MULTILINE)

# Renders a document whole, cut in two at each character, and character by character. Gives the
# first as a tree, and how many of the others differ from it.
RENDER = """async (text) => {
    const { MarkdownView } = await import(new URL("static/markdown.js", document.baseURI));
    const rendered = (...parts) => {
        const element = document.createElement("div");
        const view = new MarkdownView(element);
        for (const part of parts) view.append(part);
        return element;
    };
    const tree = (node) => {
        if (node.nodeType === Node.TEXT_NODE) return node.data;
        const children = Array.from(node.childNodes, tree);
        const tag = node.localName;
        if (tag === "div") return children[0];
        if (tag === "span") return node.textContent;
        if (tag === "code") return [tag, [node.textContent.replace(/ +/g, " ")]];
        if (tag === "pre") return [tag, node.textContent];
        const attribute = { a: "href", ol: "start" }[tag];
        const given = attribute && node.getAttribute(attribute);
        const align = node.className.replace("align-", "");
        return [tag, ...[given, align].filter(Boolean), children];
    };
    const [whole, cut] = [rendered(text), []];
    for (let at = 1; at < text.length; at++) cut.push(rendered(text.slice(0, at), text.slice(at)));
    cut.push(rendered(...text));
    const children = Array.from(whole.childNodes, tree);
    return [children, cut.filter((each) => each.innerHTML !== whole.innerHTML).length];
}"""


def markdown_it() -> MarkdownIt:
    """Make a parser of the subset."""
    parser = MarkdownIt("zero", {"maxNesting": 100}).enable(RULES)
    parser.validateLink = lambda url: LINK.match(url) is not None  # type: ignore[method-assign]
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    return parser


def expected_tree(text: str) -> list[Any]:
    """Give what markdown-it-py makes of it, in the shape that RENDER gives."""
    stack: list[list[Any]] = [[]]
    # It drops a last line of spaces that has no end, which may be one of code.
    whole = text if text.endswith("\n") else f"{text}\n"
    for token in markdown_it().parse(whole):
        _put(token, stack)
    return merged(stack[0])


def _put(token: Token, stack: list[list[Any]]) -> None:
    if token.nesting == 1:
        align = str(token.attrs.get("style", "")).removeprefix("text-align:")
        given = [str(token.attrs[name]) for name in ("href", "start") if token.attrs.get(name)]
        children: list[Any] = []
        stack[-1].append([token.tag, *given, *filter(None, [align]), children])
        stack.append(children)
    elif token.nesting == -1:
        stack.pop()
    elif token.type == "inline":
        for child in token.children or []:
            _put(child, stack)
    else:
        stack[-1].append(_leaf(token))


def _leaf(token: Token) -> Any:
    match token.type:
        case "fence":
            return ["pre", token.content.removesuffix("\n")]
        case "code_inline":
            # It keeps the indentation of lines within code, and CommonMark does not.
            return ["code", [re.sub(" +", " ", token.content)]]
        case "hr" | "hardbreak":
            return [token.tag, []]
        case _:
            return _words(token)


def _words(token: Token) -> str:
    if token.type == "image":
        return "".join(map(_words, token.children or []))
    return "\n" if token.type == "softbreak" else token.content


def merged(nodes: Any) -> list[Any]:
    """Join texts that stand beside each other, and drop what is empty."""
    result: list[Any] = []
    for node in nodes:
        if isinstance(node, list):
            parts: list[Any] = node  # pyright: ignore[reportUnknownVariableType] - of JSON
            *head, children = parts
            tree = [
                *head,
                merged(children) if isinstance(children, list) else children,
            ]
            if tree != ["tbody", []]:
                result.append(tree)
        elif node and result and isinstance(result[-1], str):
            result[-1] += node
        elif node:
            result.append(node)
    return result


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the page keeps nothing
)
@given(DOCUMENTS)
@example("# Rain\n\nIt *falls* **down**, `drop` by ``dr`op``.\n\n- one\n- two\n  1. deep\n")
@example("> said\nlazily\n2) two\n\n> word\n- ")
@example("|a|b|\n|:-|-:|\n|1|2|\n|3|\n\n```py\nprint(1)\n```\nend")
@example("```\nunclosed\n\n fence")
def test_document_whole_and_cut_at_every_character(opened: Visit, text: str) -> None:
    assume(UNLIKE.search(text) is None)
    tree, differing = opened.page.evaluate(RENDER, text)
    assert merged(tree) == expected_tree(text)
    assert differing == 0


HOSTILE = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>\n" * 200,
    "links": "[a](javascript:x) [b](data:x) [c](JaVaScRiPt:x) <a href='javascript:x'>\n\n" * 200,
    "images": "![a](http://elsewhere.test/a.png)\n" * 300,
    "quotes": ">" * 10_000,
    "quotes, line by line": "> > > > > > > > > > > > x\n" * 400,
    "lists": "".join(f"{'  ' * (n % 200)}- x\n" for n in range(400)),
    "a long line": "word " * 4000,
    "a long line without a space": "x" * 20_000,
    "a long paragraph": "a *b* `c`\n" * 2000,
    "an unclosed fence": "```\n" + "code\n" * 4000,
    "backticks": "".join("`" * n + " " for n in range(1, 180)),
    "asterisks": "*" * 10_000 + "a " + "**a *b " * 1500,
    "brackets": "[" * 5000 + "](" * 5000,
    "parentheses": "[a](" + "(" * 10_000,
    "titles": "[a](http://b '" * 1500,
    "columns": "|" * 4000 + "\n" + "|-" * 2000 + "|\n" + "|\n" * 4000,
    "rows": "|a|b|\n|-|-|\n" + "|1|2|\n" * 3000,
    "backslashes": "\\" * 20_000,
}

# Appends a document in pieces of ten characters. Gives what it has made, and the
# time in which nine of ten appends were done: a busy machine makes a few of them late.
STRESS = """async (text) => {
    const { MarkdownView } = await import(new URL("static/markdown.js", document.baseURI));
    const element = document.createElement("div");
    const view = new MarkdownView(element);
    const times = [];
    for (let at = 0; at < text.length; at += 10) {
        const started = performance.now();
        view.append(text.slice(at, at + 10));
        times.push(performance.now() - started);
    }
    const depth = (node) => 1 + Math.max(0, ...Array.from(node.children, depth));
    const links = Array.from(element.querySelectorAll("[href], [src]"), (each) => each.href);
    const tags = new Set(Array.from(element.querySelectorAll("*"), (each) => each.localName));
    const time = times.sort((a, b) => a - b)[Math.floor(times.length * 0.9)];
    return { time, links, depth: depth(element), tags: Array.from(tags) };
}"""
SAFE_TAGS = {
    *("p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "hr"),
    *("em", "strong", "a", "br", "span", "div", "table", "thead", "tbody", "tr", "th", "td"),
}
# Milliseconds, generous for a busy machine.
APPEND_TIME = 100


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_answer_is_harmless_and_has_a_bounded_cost(opened: Visit, text: str) -> None:
    made = opened.page.evaluate(STRESS, text)
    assert set(made["tags"]) <= SAFE_TAGS
    assert all(link.startswith("http://b") for link in made["links"])
    assert made["depth"] <= 60
    assert made["time"] < APPEND_TIME

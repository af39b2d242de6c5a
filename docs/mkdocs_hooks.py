"""What the site needs beyond MkDocs: patterns in the navigation, and pages of source files.

For example, ``reference/*.md`` in the ``nav`` of mkdocs.yml stands for all pages in that folder,
the index first. And the link ``../src/relay_gateway/relay/relay.py`` of a page leads to a page that
shows this file, because the repository has no public address to link to.
"""

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

#: A warning fails a strict build.
_log = logging.getLogger("mkdocs.hooks")

#: The start of a link, and its target, if that may be outside of docs.
_LINK = re.compile(r"(\]\(|^\[[^\]]+\]:\s+)(\.\./[^)#\s]+)", re.MULTILINE)
_LANGUAGES = {
    ".html": "html",
    ".js": "js",
    ".md": "md",
    ".mjs": "js",
    ".proto": "protobuf",
    ".py": "python",
    ".toml": "toml",
}


def on_config(config: MkDocsConfig) -> None:
    """Put the pages that there are in the place of each pattern of the navigation."""
    config.nav = _expanded(config.nav, Path(config.docs_dir))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each source file that a page links to."""
    root = Path(config.config_file_path).parent
    for path in sorted({path for file in files for path in _linked_files(file)}):
        if not (root / path).is_file():
            _log.warning("a page links to %s, which is no file of the repository", path)
            continue
        content = _shown(path, (root / path).read_text(encoding="utf-8"))
        files.append(File.generated(config, _page_of(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to source files to their pages, and let the search find a trap by its symptoms."""
    del config, files
    if "symptoms" in page.meta:
        page.meta["tags"] = page.meta["symptoms"]  # the search ranks tags first, and shows them

    def replaced(match: re.Match[str]) -> str:
        path = _path_in_repository(page.file, match[2])
        if path is None:
            return match[0]
        here = posixpath.dirname(page.file.src_uri)
        return match[1] + posixpath.relpath(_page_of(path), here or ".")

    return _LINK.sub(replaced, markdown)


def _page_of(path: str) -> str:
    """Name the page of a source file; MkDocs leaves out names that begin with a dot."""
    return f"source/{'/'.join(part.lstrip('.') for part in path.split('/'))}.md"


def _expanded(entries: Any, docs: Path) -> Any:
    if isinstance(entries, dict):
        return {title: _expanded(entry, docs) for title, entry in entries.items()}
    if isinstance(entries, list):
        found = [page for entry in entries for page in _pages(entry, docs)]
        return [page for page in found if page not in ({}, [])]
    return list(_pages(entries, docs)) if "*" in entries else entries


def _pages(entry: Any, docs: Path) -> Iterator[Any]:
    """Give the pages that an entry of the navigation stands for; a section stands for itself."""
    if not isinstance(entry, str):
        section = _expanded(entry, docs)
        if any(section.values()):
            yield section
    elif "*" in entry:
        # "traps/index.md" comes before its neighbours, and the others by their names.
        paths = sorted(docs.glob(entry), key=lambda path: (path.name != "index.md", path.name))
        yield from (path.relative_to(docs).as_posix() for path in paths)
    else:
        yield entry


def _linked_files(file: File) -> Iterator[str]:
    if file.is_documentation_page():
        for match in _LINK.finditer(file.content_string):
            if path := _path_in_repository(file, match[2]):
                yield path


def _path_in_repository(file: File, target: str) -> str | None:
    """Give a link's target from the root of the repository, unless it is within docs."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(file.src_uri), target))
    return None if path.startswith("docs/") else path


def _shown(path: str, text: str) -> str:
    language = _LANGUAGES.get(Path(path).suffix, "text")
    front = "---\nsearch:\n  exclude: true\nhide: [toc]\n---\n"
    # Four backticks, because a file may hold a block with three.
    block = f'````{language} title="{path}" linenums="1"\n{text}\n````'
    return f"{front}\n# {Path(path).name}\n\n{block}\n"

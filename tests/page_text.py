"""The text and elements of an HTML page."""

import html.parser
import json
import re


class Text(html.parser.HTMLParser):
    """The text of a page outside of style and scripts, and the names of its elements."""

    def __init__(self, page):
        super().__init__()
        self.words, self.tags, self.inside, self.attributes = [], [], "", []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.words.append(data)


def page_of(folder):
    """Returns what report.html of a directory shows."""
    return Text((folder / "report.html").read_text(encoding="utf-8"))


def data_of(page):
    """Returns the data that the script of a page reads: of a file, or of report.html in a directory."""
    path = page / "report.html" if page.is_dir() else page
    pattern = r'<script type="application/json" id="\w+-data">(.*?)</script>'
    (found,) = re.findall(pattern, path.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(found)

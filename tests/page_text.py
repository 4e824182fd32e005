"""The text and elements of an HTML page."""

import html.parser


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

"""A page of HTML as a browser takes it in."""

import base64
from html.parser import HTMLParser


class Page(HTMLParser):
    """What of a page leads outside, the media in it, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.media: dict[str, list[bytes]] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "href", "srcset", "action", "poster", "data"} and value is not None:
                if value.startswith("data:"):
                    self.media.setdefault(tag, []).append(base64.b64decode(value.split(",", 1)[1]))
                elif not value.startswith("#"):
                    self.outside.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.text += data

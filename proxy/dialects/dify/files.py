"""The files of a create request: images by their address. There is no upload here, and no other kind of file."""

from typing import Any, Final
from urllib.parse import urlsplit

from proxy.dialects.dify.errors import invalid_param

TYPES: Final = ("image", "document", "audio", "video", "custom")
MOST_FILES: Final = 10
MOST_URL: Final = 8192
"""Characters of an address."""


def read_images(found: Any) -> tuple[str, ...]:
    """The addresses of the images in `files`; null and absent are none.

    Raises:
        Refusal: 400 `invalid_param`, with the item and the field at fault.
    """
    if found is None:
        return ()
    if not isinstance(found, list):
        raise invalid_param("files must be an array or null.", "files")
    if len(found) > MOST_FILES:
        raise invalid_param(f"files must have at most {MOST_FILES} items.", "files")
    return tuple(_image(item, f"files[{place}]") for place, item in enumerate(found))


def _image(item: Any, at: str) -> str:
    if not isinstance(item, dict):
        raise invalid_param(f"{at} must be an object with type, transfer_method and url.", at)
    kind, method, url = item.get("type"), item.get("transfer_method"), item.get("url")
    if kind not in TYPES:
        raise invalid_param(f"{at}.type must be one of {', '.join(TYPES)}.", f"{at}.type")
    if method == "local_file":
        message = f"{at}.transfer_method: local_file is not served here, there are no uploads; use remote_url and url."
        raise invalid_param(message, f"{at}.transfer_method")
    if method != "remote_url":
        raise invalid_param(f"{at}.transfer_method must be remote_url.", f"{at}.transfer_method")
    if item.get("upload_file_id"):
        raise invalid_param(f"{at} must have either url or upload_file_id, and only url is served.", at)
    if kind != "image":
        raise invalid_param(f"{at}.type: only image is served, other files can't be passed on.", f"{at}.type")
    if not isinstance(url, str) or not _is_address(url):
        raise invalid_param(f"{at}.url must be an http or https address.", f"{at}.url")
    return url


def _is_address(url: str) -> bool:
    if len(url) > MOST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False

"""
Values that must not reach a log.

Options pass through to librdkafka and libpq, which repeat a wrong value in their errors. It may be a password that
stands at the wrong option. So every option's value is taken out of a library's words.
"""

import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "***"
SHORTEST: Final = 4  # characters of a value that is hidden; below 8 only where it stands as a word of its own
LONG: Final = 8
# What the usual options say; each is more useful when it is seen. Numbers are, too.
_PLAIN: Final = re.compile(
    r"[\d.]+|true|false|all|none|any|require|prefer|allow|disable|verify-ca|verify-full|(sasl_)?(ssl|plaintext)|https"
    r"|plain|gssapi|oauthbearer|scram-sha-(256|512)|read-(only|write)|primary|(prefer-)?standby"
    r"|(/[\w.-]+)+\.(pem|crt|cer|key|p12|jks|conf)",
    re.IGNORECASE,
)

_secrets: set[str] = set()


def keep_secret(values: Iterable[object]) -> None:
    """Hide these values from now on."""
    texts = {value for value in values if isinstance(value, str) and len(value) >= SHORTEST}
    _secrets.update(text for text in texts if not _PLAIN.fullmatch(text))


def without_secrets(text: str) -> str:
    """Return the text with each known secret replaced by stars."""
    for secret in sorted(_secrets, key=len, reverse=True):
        if len(secret) >= LONG:
            text = text.replace(secret, HIDDEN)
        elif secret in text:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text

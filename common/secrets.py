"""
Values that must not reach a log.

librdkafka and libpq repeat a wrong option's value in their errors. It may be a password that was set at the wrong
option. So the values of all options are removed from their messages.
"""

import re
from collections.abc import Iterable
from typing import Final

HIDDEN: Final = "***"
SHORTEST: Final = 4  # characters of a value that is hidden; one below 8 only as a whole word
LONG: Final = 8
# Usual values of options, which are useful in an error. Numbers are, too.
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

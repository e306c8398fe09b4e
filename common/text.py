"""Makes text from outside, such as a message's fields or a server's message, safe to print."""


def visible(text: str, *, keep: str = "") -> str:
    r"""
    Return the text with all unprintable characters escaped, an escape character as `\x1b`.

    A terminal would execute an escape sequence, and reorder text after a bidirectional override. A customer's name may
    contain both.

    Args:
        text: Any string, lone surrogates included.
        keep: Characters to leave as they are: line breaks, where the text has several lines.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode("ascii") for sign in text
    )

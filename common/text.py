"""Text from outside, such as a message's fields or a server's words, as people may see it."""


def visible(text: str, *, keep: str = "") -> str:
    r"""
    Return the text with each character escaped that is not printable, an escape character as `\x1b`.

    A terminal would obey an escape sequence, and show text in another order after a bidirectional override. Both can
    stand in a customer's name.

    Args:
        text: Any string, lone surrogates included.
        keep: Characters to leave as they are: line breaks, where the text has several lines.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode("ascii") for sign in text
    )

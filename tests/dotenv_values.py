"""Values as they may be written in `.env`: what they mean to every reader, or that the readers disagree."""

from typing import Final

# As written, and as it is meant.
ALIKE: Final = {
    "plain": "plain",
    "'pa$word'": "pa$word",
    "'${word}'": "${word}",
    "a b": "a b",
    "'a b'": "a b",
    "it's": "it's",
    '"it\'s"': "it's",
    r"'it\'s'": "it's",
    'say"hi': 'say"hi',
    r"back\slash": r"back\slash",
    r"'back\slash'": r"back\slash",
    "'a #b'": "a #b",
    "a#b": "a#b",
    "a # comment": "a",
    "'a' # comment": "a",
    "x=y": "x=y",
    '{"a": "b"}': '{"a": "b"}',
    "`tick`": "`tick`",
    "100%!~": "100%!~",
    "münchen": "münchen",
}
# docker compose expands the variable, reads the backslash otherwise, or takes what follows for another line.
UNLIKE: Final = (
    "pa$word",
    '"pa$word"',
    "${word}",
    "pa$$word",
    r"'word\\'",
    r'"word\t"',
    "'word'more",
    '"wo""rd"',
    "'word",
    " # word",
    "word\t#no",
)

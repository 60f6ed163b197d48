"""Reads Lua 5.1 just enough to change it: tokens, statements, conditions and operators, each with its place.

Law: strings and comments are never mistaken for code, because the whole text is parsed (Lua 5.1 manual, 2.1 and 8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<skip>\s+|--\[(?P<c>=*)\[.*?\](?P=c)\]|--[^\n]*)
    |(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|\[(?P<s>=*)\[.*?\](?P=s)\])
    |(?P<number>0x[0-9A-Fa-f]+|\d+(?:\.\d+)?)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<operator>\.\.\.|\.\.|==|~=|<=|>=|[-+*/%^\#<>=(){}\[\];:,.])""",
    re.VERBOSE | re.DOTALL,
)

_BINARY = {"+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or"}
_ENDS = {"end", "else", "elseif", "until", ""}


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the text; `kind`: string, number, name or operator (keywords are names)."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Part:
    """A place that can be changed.

    `what`: call, assignment, return, break, condition (of if), loop (condition of while), binary, not, minus, number,
    truth or rounding (the callee of a call of min, max, floor or ceil). `within`: the function it is in; `first` and
    `last`: where the statement, or head of a statement, that holds it begins and ends.
    """

    what: str
    start: int
    end: int
    within: str
    first: int
    last: int


def tokens(text: str) -> list[Token]:
    """The words of a text, without spaces and comments. Raises ValueError for what is no Lua."""
    out, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"no Lua at {text[at : at + 20]!r}")
        kind = str(found.lastgroup)
        for name in ("skip", "string", "number", "name", "operator"):
            if found.group(name) is not None:
                kind = name
        if kind != "skip":
            out.append(Token(kind, found.group(), at, found.end()))
        at = found.end()
    return out


def parts(text: str) -> list[Part]:
    """Everything in a file that can be changed, in the order of the text."""
    parser = _Parser(text)
    parser.block()
    if parser.word:
        raise ValueError(f"unexpected {parser.word!r}")
    return sorted(parser.parts, key=lambda part: (part.start, part.end))


class _Parser:
    """Recursive descent over the grammar of the manual, section 8; it checks no more than it needs."""

    def __init__(self, text: str) -> None:
        self.tokens = tokens(text)
        self.at = 0
        self.functions: list[str] = []
        self.found: list[tuple[str, int, int]] = []
        self.parts: list[Part] = []

    @property
    def word(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    @property
    def next_word(self) -> str:
        return self.tokens[self.at + 1].text if self.at + 1 < len(self.tokens) else ""

    @property
    def kind(self) -> str:
        return self.tokens[self.at].kind if self.at < len(self.tokens) else ""

    def take(self, *expected: str) -> Token:
        token = self.tokens[self.at]
        if expected and token.text not in expected:
            raise ValueError(f"{token.text!r} where {expected} should be")
        self.at += 1
        return token

    def note(self, what: str, token: Token) -> None:
        self.found.append((what, token.start, token.end))

    def close(self, start: int) -> None:
        """What was noted belongs to the head or statement from token `start` to here."""
        first, last = self.tokens[start].start, self.tokens[self.at - 1].end
        within = self.functions[-1] if self.functions else ""
        self.parts += [Part(what, begin, end, within, first, last) for what, begin, end in self.found]
        self.found = []

    def block(self) -> None:
        while self.word not in _ENDS:
            self.statement()

    def statement(self) -> None:
        start, word = self.at, self.word
        match word:
            case ";":
                self.take()
            case "if":
                self.branches()
            case "while":
                self.take()
                self.condition("loop", start)
                self.body("do")
            case "do":
                self.body("do")
            case "for":
                self.take()
                while self.word not in ("=", "in"):
                    self.take()
                self.take()
                self.expressions()
                self.close(start)
                self.body("do")
            case "repeat":
                self.take()
                self.block()
                self.take("until")
                self.condition("loop", self.at - 1)
            case "function":
                self.take()
                self.function(self.name())
            case "local" if self.next_word == "function":
                self.take()
                self.take()
                self.function(self.take().text)
            case "local":
                self.take()
                self.names()
                if self.word == "=":
                    self.take()
                    self.expressions()
                self.close(start)
            case "return":
                self.take()
                if self.word not in _ENDS and self.word != ";":
                    self.expressions()
                self.whole("return", start)
            case "break":
                self.take()
                self.whole("break", start)
            case _:
                self.expression_statement(start)

    def expression_statement(self, start: int) -> None:
        self.suffixed()
        if self.word not in ("=", ","):
            self.whole("call", start)
            return
        while self.word == ",":
            self.take()
            self.suffixed()
        self.take("=")
        self.expressions()
        self.whole("assignment", start)

    def whole(self, what: str, start: int) -> None:
        self.found.append((what, self.tokens[start].start, self.tokens[self.at - 1].end))
        self.close(start)

    def branches(self) -> None:
        start = self.at
        self.take("if")
        self.condition("condition", start)
        self.take("then")
        self.block()
        while self.word == "elseif":
            start = self.at
            self.take()
            self.condition("condition", start)
            self.take("then")
            self.block()
        if self.word == "else":
            self.take()
            self.block()
        self.take("end")

    def condition(self, what: str, start: int) -> None:
        begin = self.at
        self.expression()
        self.found.append((what, self.tokens[begin].start, self.tokens[self.at - 1].end))
        self.close(start)

    def body(self, opening: str) -> None:
        self.take(opening)
        self.block()
        self.take("end")

    def name(self) -> str:
        name = self.take().text
        while self.word in (".", ":"):
            name += self.take().text + self.take().text
        return name

    def names(self) -> None:
        self.take()
        while self.word == ",":
            self.take()
            self.take()

    def function(self, name: str) -> None:
        # the parts of a function are its own; what surrounds it is closed later
        outer, self.found = self.found, []
        self.functions.append(name)
        self.take("(")
        while self.word != ")":
            self.take()
        self.take(")")
        self.block()
        self.take("end")
        self.functions.pop()
        self.found = outer

    def expressions(self) -> None:
        self.expression()
        while self.word == ",":
            self.take()
            self.expression()

    def expression(self) -> None:
        while self.word in ("not", "-", "#"):
            if self.word != "#":
                self.note("not" if self.word == "not" else "minus", self.tokens[self.at])
            self.take()
        self.operand()
        while self.word in _BINARY and self.kind != "string":
            self.note("binary", self.take())
            self.expression()

    def operand(self) -> None:
        if self.kind == "number":
            self.note("number", self.take())
        elif self.word in ("true", "false"):
            self.note("truth", self.take())
        elif self.kind == "string" or self.word in ("nil", "..."):
            self.take()
        elif self.word == "{":
            self.table()
        elif self.word == "function":
            self.take()
            self.function(self.functions[-1] if self.functions else "")
        else:
            self.suffixed()

    def suffixed(self) -> None:
        start = self.at
        if self.word == "(":
            self.take()
            self.expression()
            self.take(")")
        else:
            self.take()
        while True:
            if self.word == ".":
                self.take()
                self.take()
            elif self.word == "[":
                self.take()
                self.expression()
                self.take("]")
            elif self.word == ":":
                self.take()
                self.take()
                self.arguments()
            elif self.word in ("(", "{") or self.kind == "string":
                callee = self.tokens[start : self.at]
                if [t.text for t in callee[:-1]] in ([], ["math", "."]) and callee[-1].text in (
                    "min",
                    "max",
                    "floor",
                    "ceil",
                ):
                    self.found.append(("rounding", callee[0].start, callee[-1].end))
                self.arguments()
            else:
                return

    def arguments(self) -> None:
        if self.word == "{":
            self.table()
        elif self.kind == "string":
            self.take()
        else:
            self.take("(")
            if self.word != ")":
                self.expressions()
            self.take(")")

    def table(self) -> None:
        self.take("{")
        while self.word != "}":
            if self.word == "[":
                self.take()
                self.expression()
                self.take("]")
                self.take("=")
            elif self.kind == "name" and self.next_word == "=":
                self.take()
                self.take()
            self.expression()
            if self.word in (",", ";"):
                self.take()
        self.take("}")

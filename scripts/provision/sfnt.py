"""Just enough of TrueType and OpenType to tell whether a face can draw the letters A to Z, and its family."""

import struct

LETTERS = range(ord("A"), ord("Z") + 1)


class Face:
    """One font file."""

    def __init__(self, content):
        self.content = content
        self.tables = {}
        (count,) = struct.unpack_from(">H", content, 4)
        for index in range(count):
            tag, _, offset, length = struct.unpack_from(">4sIII", content, 12 + 16 * index)
            self.tables[tag.decode("latin-1")] = (offset, length)

    def family(self):
        """The typographic family if there is one, else the plain one: so that weights share a family."""
        names = {}
        start, _ = self.tables["name"]
        _, count, strings = struct.unpack_from(">HHH", self.content, start)
        for index in range(count):
            platform, _, language, name, length, offset = struct.unpack_from(">HHHHHH", self.content, start + 6 + 12 * index)
            raw = self.content[start + strings + offset:][:length]
            if platform == 3 and language == 0x409:
                names[name] = raw.decode("utf-16-be")
            elif platform == 1 and language == 0:
                names.setdefault(name, raw.decode("mac-roman"))
        return names.get(16) or names[1]

    def draws_latin_capitals(self):
        """Whether every letter has a glyph of its own: symbol faces map none, or all to one."""
        glyphs = [self.glyph(letter) for letter in LETTERS]
        return all(glyphs) and len(set(glyphs)) == len(glyphs)

    def glyph(self, character):
        start, _ = self.tables["cmap"]
        (count,) = struct.unpack_from(">H", self.content, start + 2)
        for index in range(count):
            platform, encoding, offset = struct.unpack_from(">HHI", self.content, start + 4 + 8 * index)
            unicode = platform == 0 or (platform == 3 and encoding in (1, 10))
            if unicode and struct.unpack_from(">H", self.content, start + offset)[0] == 4:
                return self.segment_glyph(start + offset, character)
        return 0

    def segment_glyph(self, table, character):
        """Looks a character up in a format 4 table."""
        (doubled,) = struct.unpack_from(">H", self.content, table + 6)
        ends, starts = table + 14, table + 16 + doubled
        deltas, ranges = starts + doubled, starts + 2 * doubled
        for segment in range(0, doubled, 2):
            first, last, delta, step = (
                struct.unpack_from(">H", self.content, base + segment)[0] for base in (starts, ends, deltas, ranges))
            if first <= character <= last:
                if step == 0:
                    return (character + delta) & 0xFFFF
                place = ranges + segment + step + 2 * (character - first)
                (glyph,) = struct.unpack_from(">H", self.content, place)
                return (glyph + delta) & 0xFFFF if glyph else 0
        return 0

"""Reads what callgrind writes (https://valgrind.org/docs/manual/cl-format.html); see `instructions`."""

import re
from collections import Counter

# Legacy mangling ends each name in a hash that changes with every build.
HASH = re.compile(r"::h[0-9a-f]{16}")
# The clock of the metrics, which measures itself at the start for so long, not for so much: it is left out with all it calls.
UNCOUNTED = "quanta::Calibration::calibrate"
# In the paths of its sources.
STANDARD = "/rustc/"
# callgrind's mark of a function that runs again below itself.
AGAIN = re.compile(r"'\d+$")
NAME = re.compile(r"\((\d+)\)(?: (.*))?")


class Profile:
    """Instructions by function, alone and with what it calls, and by place in the source."""

    def __init__(self, alone, inclusive, places):
        self.alone = alone
        self.inclusive = inclusive
        # By source file and binary: what was inlined counts where it was written, but the standard library's where it was used.
        self.places = places

    @property
    def total(self):
        return sum(self.alone.values())

    def minus(self, other):
        """What this run spent beyond the other one."""
        def subtract(mine, others):
            return Counter({name: mine[name] - others[name] for name in mine.keys() | others.keys()})
        return Profile(subtract(self.alone, other.alone), subtract(self.inclusive, other.inclusive),
                       subtract(self.places, other.places))

    def parts(self, part_of):
        """Sums of places, by what `part_of` makes of each."""
        sums = Counter()
        for (file, binary), count in self.places.items():
            sums[part_of(file, binary)] += count
        return sums

    @classmethod
    def read(cls, path):
        """Lines of a cost are `position cost`; one behind `calls=` is what that call cost with all below it."""
        names = {"file": {}, "fn": {}, "ob": {}}
        alone, inclusive, places = Counter(), Counter(), Counter()
        totals, left_out = None, 0
        home = file = called_file = binary = function = callee = ""
        is_call = False

        def name(kind, text):
            number, written = NAME.fullmatch(text).groups()
            if written is not None:
                names[kind][number] = HASH.sub("", written)
            return names[kind][number]

        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                line = line.rstrip("\n")
                if line[:1].isdigit() or line[:1] in "+-*" and line:
                    count = int(line.split()[1])
                    if is_call:
                        if function == UNCOUNTED:
                            left_out += count
                            alone[callee] -= count
                            places[called_file, binary] -= count
                        # What runs again below itself is in its own cost already.
                        if callee != function and not AGAIN.search(function):
                            inclusive[function] += count
                        is_call, called_file = False, file
                    elif function == UNCOUNTED:
                        left_out += count
                    else:
                        if not AGAIN.search(function):
                            inclusive[function] += count
                        alone[AGAIN.sub("", function)] += count
                        places[home if STANDARD in file else file, binary] += count
                    continue
                key, _, value = line.partition("=")
                if key == "fl":
                    home = file = called_file = name("file", value)
                elif key in ("fi", "fe"):
                    file = called_file = name("file", value)
                elif key in ("cfi", "cfl"):
                    called_file = name("file", value)
                elif key == "fn":
                    function = name("fn", value)
                elif key == "cfn":
                    callee = name("fn", value)
                elif key == "ob":
                    binary = name("ob", value)
                elif key == "cob":
                    name("ob", value)
                elif key == "calls":
                    is_call = True
                elif line.startswith("totals:"):
                    totals = int(line.split()[1])
        if totals != sum(alone.values()) + left_out:
            raise ValueError(f"{path}: costs sum up to {sum(alone.values()) + left_out}, callgrind says {totals}")
        return cls(alone, inclusive, places)

"""The cases of faults.sh on one board: faults.py BOARD ELF FOLDER.

In: firmware, a folder of image.sh. Out: a line for each case, and status 1 if one fails. Every case
is a run of its own: a card, an operator who pulls and changes it, and what must be said.
"""

import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

from fat import BLOCK, FIRST_BLOCK, PARTITION_TYPE, Fat32, first_block

HERE = pathlib.Path(__file__).parent
# QEMU's name of the card's drive, and how the image lies on the card.
BOARDS = {
    "raspi3b": ("sd0", "fat32"),
    "ast2600-evb": ("sd2", "raw"),
    "lm3s6965evb": ("sd0", "fat32"),
}
PROMPT = "The captain looked at the sea, and"
TOKENS = 12
STEP = re.compile(r"^ *\d+ +\d+ [0-9a-f]{8} \".*\"$", re.M)
# Longest wait for a line.
PATIENCE = 60


class Failed(Exception):
    """A case did not go as it must."""


class Run:
    """A board that runs, its operator at the serial line and at the slot."""

    def __init__(self, case, board, elf, card):
        self.drive = BOARDS[board][0]
        self.folder = pathlib.Path(case)
        self.card(card)
        environment = dict(
            os.environ,
            RIPPLE_CARD=str(self.folder),
            QEMU_SERIAL=f"unix:{case}/serial,server=on,wait=off",
            QEMU_ARGS=f"-S -monitor unix:{case}/monitor,server=on,wait=off",
        )
        self.process = subprocess.Popen(
            [HERE / "run.sh", board, elf], env=environment, stdin=subprocess.DEVNULL
        )
        self.text, self.seen = "", 0
        self.serial = self.line = None

    def power(self):
        """Takes the serial line and the monitor; the board is held."""
        self.serial = self.connect("serial", 1)
        self.line = self.connect("monitor", PATIENCE)
        self.answer()

    def connect(self, name, timeout):
        """A connection to one of QEMU's sockets, when it is there."""
        link = socket.socket(socket.AF_UNIX)
        for _ in range(300):
            try:
                link.connect(f"{self.folder}/{name}")
                link.settimeout(timeout)
                return link
            except OSError:
                time.sleep(0.1)
        raise Failed(f"QEMU has no {name} socket")

    def card(self, contents):
        """Makes the host's file of the card, or changes it in place under a board that runs."""
        path = self.folder / "card.img"
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.write(contents)
            file.truncate()

    def answer(self):
        """Reads the monitor up to its prompt."""
        text = b""
        while not text.endswith(b"(qemu) "):
            text += self.line.recv(4096)

    def monitor(self, command):
        """Gives the monitor a command, and waits until it is carried out."""
        self.line.sendall(command.encode() + b"\n")
        self.answer()

    def go(self):
        """Starts the board, which was powered but held."""
        self.monitor("cont")

    def pull(self):
        """Pulls the card."""
        self.monitor(f"eject -f {self.drive}")

    def put(self, contents=None):
        """Puts the card in, with other contents if some are given."""
        if contents is not None:
            self.card(contents)
        self.monitor(f"change {self.drive} {self.folder}/card.img raw")

    def type(self, line):
        """Types a line."""
        self.serial.sendall(line.encode() + b"\n")

    def wait(self, pattern):
        """Waits for text that was not waited for before."""
        until = time.monotonic() + PATIENCE
        while not (found := re.compile(pattern, re.M).search(self.text, self.seen)):
            if time.monotonic() > until:
                raise Failed(f"no `{pattern}` within {PATIENCE} s")
            try:
                got = self.serial.recv(4096)
            except TimeoutError:
                continue
            if not got:
                raise Failed(f"QEMU ended before `{pattern}`")
            self.text += got.decode(errors="replace").replace("\r", "")
        self.seen = found.end()

    def story(self):
        """Asks for a story, every step of it traced."""
        self.wait("^> ")
        for line in ["/gap 8", f"/tokens {TOKENS}", "/trace", PROMPT]:
            self.type(line)

    def wait_steps(self, count):
        """Waits for that many more steps."""
        for _ in range(count):
            self.wait(STEP.pattern)

    def mend(self, bench, pulls=True, asked=True):
        """Puts in the good card and has the story told from its beginning.

        `asked`: whether it was asked for before, so that steps are traced already.
        """
        self.wait("^press Enter to try again")
        if pulls:
            self.pull()
            self.put(bench.card)
        self.type("")
        if asked:
            self.wait("^> ")
            self.type(PROMPT)
        else:
            self.story()
        self.end()

    def end(self):
        """Ends the story and the program, which must succeed."""
        self.wait("^end     as many as asked for")
        self.wait("^> ")
        self.leave()

    def leave(self):
        """Ends the program, which must succeed."""
        self.serial.sendall(b"\x04")
        if status := self.process.wait(PATIENCE):
            raise Failed(f"the program ended with status {status}")

    def steps(self):
        """The steps so far: position, token, checksum of the logits, text."""
        return STEP.findall(self.text)

    def stop(self):
        """Ends QEMU, if the case has not."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for link in [self.serial, self.line]:
            if link:
                link.close()


class Bench:
    """What the cases need to know of a board: its card, and where the image is on it."""

    def __init__(self, board, elf, folder):
        self.board, self.elf = board, elf
        self.card = (folder / "card.img").read_bytes()
        self.image = first_block(self.card) * BLOCK
        if BOARDS[board][1] == "fat32":
            volume = Fat32(bytearray(self.card))
            self.image = volume.place(volume.first)
        self.end = self.image + (folder / "model.img").stat().st_size
        # What a run without faults says: where the FFN begins, and every step.
        self.ffn, self.good = 0, []

    def damaged(self, share):
        """The card with a bit turned in each block of the last `share` of the FFN."""
        card = bytearray(self.card)
        blocks = int((self.end - self.ffn) // BLOCK * share)
        for block in range(1, blocks + 1):
            card[self.end - block * BLOCK + 100] ^= 0x10
        return card

    def half(self):
        """A card that ends within the image: the greatest power of two."""
        return self.card[: 1 << (self.end - 1).bit_length() - 1]

    def play(self, name, card, case):
        """Runs one case; whether it went as it must."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            run = None
            try:
                run = Run(folder, self.board, self.elf, card)
                run.power()
                case(run, self)
                if not self.good:
                    mapped = re.search(r"([\d,]+) mapped", run.text)[1]
                    self.ffn = self.image + int(mapped.replace(",", ""))
                    self.good = run.steps()
                known = {line.split()[0]: line for line in self.good}
                for line in run.steps():
                    if line != known.get(line.split()[0]):
                        raise Failed(f"not a step of the run without faults: {line}")
                print(f"{self.board}: {name}: ok, {time.monotonic() - began:.0f} s", flush=True)
                return True
            except (Failed, OSError) as error:
                text = run.text if run else ""
                print(f"{self.board}: {name}: FAILED: {error}\n{text}", file=sys.stderr)
                return False
            finally:
                if run:
                    run.stop()


def good(run, _):
    """No fault."""
    run.go()
    run.story()
    run.end()


def absent(run, _):
    """No card at the start: it is waited for."""
    run.pull()
    run.go()
    run.wait("^error   mount: no card$")
    run.wait("^waiting for the card$")
    run.put()
    run.story()
    run.end()


def pulled(run, _):
    """The card is pulled in the middle of the text, twice, and comes back."""
    run.go()
    run.story()
    for steps in [4, 6]:
        run.wait_steps(steps)
        run.pull()
        run.wait(r"^error   step: the device failed at block \d+: (NoCard|Timeout)$")
        run.wait("^waiting for the card$")
        run.put()
        run.wait("^the card is back$")
        run.wait("^retry   1$")
    run.end()


def exchanged(run, bench):
    """Another card comes back: the text ends; the first card is opened again."""
    run.go()
    run.story()
    run.wait_steps(4)
    run.pull()
    run.wait("^waiting for the card$")
    other = bytearray(bench.card)
    other[bench.image:bench.image + BLOCK] = bytes(BLOCK)
    run.put(other)
    run.wait("^the card holds something else now$")
    run.wait("^error   open: not a Ripple image: ")
    run.mend(bench)


def damaged_meanwhile(run, bench):
    """All of the FFN is damaged in the middle of the text: found, and never computed with."""
    run.go()
    run.story()
    run.wait_steps(4)
    run.card(bench.damaged(1))
    for attempt in [1, 2, 3]:
        run.wait(r"^error   step: record \d+ of the table at block \d+ arrived damaged$")
        run.wait(f"^retry   {attempt}$")
    run.wait(r"^error   step: record \d+ of the table at block \d+ arrived damaged$")
    run.wait(r"^error   open: record \d+ of the table at block \d+ is damaged: copy the image again$")
    run.card(bench.card)
    run.mend(bench, pulls=False)


def damaged_in_part(run, bench):
    """Records of the last layer are damaged: found when a step needs one."""
    run.go()
    run.story()
    for attempt in [1, 2, 3]:
        run.wait(r"^error   step: record \d+ of the table at block \d+ arrived damaged$")
        run.wait(f"^retry   {attempt}$")
    run.wait(r"^error   step: record \d+ of the table at block \d+ arrived damaged$")
    run.wait("^> ")
    run.leave()


def refused(message):
    """A card that cannot be opened: why is said, again on Enter, until it is another card."""

    def case(run, bench):
        run.go()
        run.wait(f"^error   {message}$")
        run.wait("^press Enter to try again")
        run.type("")
        run.wait(f"^error   {message}$")
        run.mend(bench, asked=False)

    return case


def in_pieces(pieces):
    """A file in pieces that can be listed is read like one in one piece."""

    def case(run, _):
        run.go()
        run.wait(f" in {pieces} pieces, ")
        run.story()
        run.end()

    return case


def everywhere(bench):
    """Name, card, run: what can happen to any card."""
    damaged = r"open: record \d+ of the table at block \d+ is damaged: copy the image again"
    return [
        ("no card at the start", bench.card, absent),
        ("pulled twice", bench.card, pulled),
        ("exchanged", bench.card, exchanged),
        ("damaged meanwhile", bench.card, damaged_meanwhile),
        ("damaged in part", bench.damaged(1 / 8), damaged_in_part),
        ("damaged", bench.damaged(1), refused(damaged)),
    ]


def on_fat32(bench):
    """What can happen to an image that is a file."""

    def changed(change):
        card = bytearray(bench.card)
        change(Fat32(card))
        return card

    short = r"open: the image is cut short: it needs \d+ blocks, the device has \d+; copy it again"
    return [
        ("file cut short", changed(lambda v: v.cut(v.bytes // 2)), refused(short)),
        ("card cut short", bench.half(),
         refused(r"calibration: read at block \d+: (beyond the end of the device|no answer in time)")),
        ("file missing", changed(Fat32.remove),
         refused("mount: no file of that name in the root directory")),
        ("chain damaged", changed(lambda v: v.link(v.first + 5, 0)),
         refused(r"mount: the cluster chain is damaged at cluster \d+")),
        ("3 pieces", changed(lambda v: v.scatter(3)), in_pieces(3)),
        ("7 pieces", changed(lambda v: v.scatter(7)), in_pieces(7)),
        ("9 pieces", changed(lambda v: v.scatter(9)),
         refused("mount: the file is in more than 8 pieces")),
        ("no volume", set_table(bench.card, PARTITION_TYPE, 0),
         refused("mount: no FAT file system on the card")),
    ]


def on_raw(bench):
    """What can happen to an image in a partition of its own."""
    short = r"open: the image is cut short: it needs \d+ blocks, the device has \d+; copy it again"
    return [
        ("partition cut short", set_table(bench.card, FIRST_BLOCK + 4, 2000), refused(short)),
        ("card cut short", bench.half(),
         refused(r"calibration: read at block \d+: (beyond the end of the device|no answer in time)")),
        ("partition missing", set_table(bench.card, PARTITION_TYPE, 0),
         refused(r"mount: no raw partition \(type 0xDA\) on the card")),
    ]


def set_table(card, at, value):
    """The card with another number in its partition table."""
    card = bytearray(card)
    struct.pack_into("<I", card, at, value)
    return card


def main():
    """Plays every case; status 1 if one fails."""
    board, elf, folder = sys.argv[1:]
    bench = Bench(board, elf, pathlib.Path(folder))
    if not bench.play("no fault", bench.card, good):
        return 1
    more = {"fat32": on_fat32, "raw": on_raw}[BOARDS[board][1]]
    results = [bench.play(*case) for case in everywhere(bench) + more(bench)]
    print(f"{board}: {sum(results)} of {len(results)} faults went as they must")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Runs the console session of the README: walkthrough.py README HEADING.

In: the first ```console block below the heading. Lines with `$ ` are commands, run one after another in
one folder; lines with `> ` are what is typed at the program's own `> ` prompt. Out: status 1 if a command
fails, or a line that the README shows is not said, in order. Where `[...]` stands, anything may; lines
with `# ` are the machine's own.
"""

import re
import subprocess
import sys
import threading

PATIENCE = 600


def session(readme, heading):
    """The commands: what is run, what is typed, what is to be seen."""
    text = open(readme, encoding="utf-8").read()
    block = text.split(f"\n## {heading}\n", 1)[1].split("```console\n", 1)[1].split("\n```", 1)[0]
    commands = []
    for line in block.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], [], []))
        elif line.startswith("> "):
            commands[-1][1].append(line[2:])
            commands[-1][2].append(line)
        elif line and not line.startswith("# "):
            commands[-1][2].append(line)
    return commands


def run(shell, command, typed):
    """What `command` says, and whether it failed; what is typed waits for the prompt."""
    program = subprocess.Popen(
        ["bash", "-c", f"set -e; {shell}\n{command}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    watch = threading.Timer(PATIENCE, program.kill)
    watch.start()
    said = b""
    for line in [*typed, "\x04"] if typed else []:
        while not said.endswith(b"> ") and (byte := program.stdout.read(1)):
            said += byte
        program.stdin.write(line.encode() + (b"\n" if line != "\x04" else b""))
        program.stdin.flush()
        said += program.stdout.read(1)
    program.stdin.close()
    said += program.stdout.read()
    status = program.wait()
    watch.cancel()
    return said.decode(errors="replace").replace("\r", ""), status


def main():
    shell = ""
    for command, typed, shown in session(*sys.argv[1:]):
        print(f"$ {command}", flush=True)
        said, status = run(shell, command, typed)
        print(said, flush=True)
        if status:
            sys.exit(f"`{command}` failed with status {status}")
        rest = said
        for line in shown:
            pattern = ".*".join(re.escape(part) for part in line.split("[...]"))
            found = re.search(pattern, rest)
            if not found:
                sys.exit(f"`{command}` did not say: {line}")
            rest = rest[found.end():]
        if command.startswith(("cd ", "export ")):
            shell += f"{command}; "


main()

"""The child process of `math_equal`: a JSON pair [gold, answer] in, `1`, `0` or `error` out, a line each."""

import json
import resource
import sys

MEMORY_LIMIT = 4 << 30  # bytes of address space: 10**(10**9) must end here, not in the machine's swap


def main() -> None:
    """Answer comparisons until standard input ends."""
    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    print("ready", flush=True)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        try:
            # The parent keeps the time; math-verify's own alarm is off.
            left, right = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (gold, answer))
            same = bool(left) and bool(right) and verify(left, right, timeout_seconds=None)
            print("1" if same else "0", flush=True)
        except Exception:  # RecursionError and MemoryError are among them
            print("error", flush=True)


if __name__ == "__main__":
    main()

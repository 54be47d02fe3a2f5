"""Checks a recorded history: /usr/bin/python3 tests/elle/check_history.py FILE [MODEL]. Status 1: MODEL is violated."""

import sys

import checker
import history


def main():
    report = checker.check(history.load(sys.argv[1]))
    model = sys.argv[2] if len(sys.argv) > 2 else "strict serializable"
    for anomaly in report.anomalies:
        print(anomaly)
    print(f"{report.transactions} transactions, {report.edges} dependencies; in keeping with: {', '.join(report.models()) or 'nothing'}")
    return 1 if report.violations(model) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Drives `gapless-producer bench` against one broker, over lingers, rates and partitions; see linger.sh."""

import argparse
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import linger_plot

LINGERS = ["0", "5ms", "auto"]
KEYS = "10000"  # spread over all partitions: without keys one partition after the other would be filled
WARM_UP_SECONDS = 0.5
TICKS = os.sysconf("SC_CLK_TCK")
# As many as go; not a point of the curves, but a line of the table.
MOST = 0

COLUMNS = ["round", "partitions", "due", "linger", "records_per_second", "p50_ms", "p99_ms", "behind_ms",
           "requests_per_second", "records_per_batch", "batch_fill", "producer_cpu", "broker_cpu"]


def numbers(text):
    return [int(number) for number in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("target/linger"), help="directory for what is written")
    parser.add_argument("--binaries", type=Path, default=Path("target/release"), metavar="DIR")
    parser.add_argument("--draw", type=Path, metavar="CSV", help="measure nothing, draw this")
    parser.add_argument("--rounds", type=int, default=3, help="each point so often; the median counts")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each point, warm-up apart")
    parser.add_argument("--partitions", type=numbers, default=[1, 16, 1000])
    parser.add_argument("--rates", type=numbers, default=[100, 1000, 5000, 20000, 100000, 300000, MOST],
                        help=f"records due a second; {MOST}: as many as go")
    parser.add_argument("--durability", default="fsync", choices=["fsync", "os"])
    return parser.parse_args()


class Broker:
    """A broker on a directory and ports of its own."""

    def __init__(self, binaries, directory, durability):
        self.process = subprocess.Popen(
            [binaries / "gapless-broker", "--data-dir", directory, "--listen", "127.0.0.1:0",
             "--http-listen", "127.0.0.1:0", "--durability", durability],
            stdout=subprocess.PIPE, stderr=open(Path(directory) / "broker.log", "w"), text=True)
        ready = self.process.stdout.readline().split()
        addresses = dict(word.split("=", 1) for word in ready if "=" in word)
        if "kafka" not in addresses:
            sys.exit(f"the broker does not start: {(Path(directory) / 'broker.log').read_text()}")
        self.address = addresses["kafka"]

    def cpu_seconds(self):
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def measure(broker, settings, partitions, due, linger):
    """One run; the values of COLUMNS behind the round."""
    seconds = settings.seconds
    command = [str(settings.binaries / "gapless-producer"), "bench", "--bootstrap-server", broker.address,
               "--topic", f"curve-{partitions}", "--partitions", str(partitions), "--keys", KEYS, "--linger", linger,
               "--warm-up", f"{WARM_UP_SECONDS * 1000:.0f}ms", "--duration", f"{seconds * 1000:.0f}ms",
               "--output", "json", "--quiet"]
    if due != MOST:
        command += ["--rate", str(due)]
    cpu = broker.cpu_seconds()
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cpu = broker.cpu_seconds() - cpu
    if ran.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {ran.returncode}\n{ran.stderr}")
    found = json.loads(ran.stdout)
    latency, measured = found["latency_ms"], found["seconds"]
    return {
        "partitions": partitions, "due": due, "linger": linger,
        "records_per_second": found["records_per_second"],
        "p50_ms": latency["p50"], "p99_ms": latency["p99"], "behind_ms": found["behind_ms"],
        "requests_per_second": found["requests"] / measured,
        "records_per_batch": found["records_per_batch"], "batch_fill": found["batch_fill"],
        "producer_cpu": sum(found["cpu_seconds"].values()) / measured,
        # The broker works in the warm-up too.
        "broker_cpu": cpu / (measured + WARM_UP_SECONDS),
    }


def measure_all(settings):
    """Rounds outside, lingers inside: A B C A B C. Each row is written as soon as it is there."""
    settings.out.mkdir(parents=True, exist_ok=True)
    path = settings.out / "linger.csv"
    with tempfile.TemporaryDirectory(prefix="gapless-linger-") as directory, open(path, "w", newline="") as out:
        broker = Broker(settings.binaries, directory, settings.durability)
        rows = csv.DictWriter(out, COLUMNS)
        rows.writeheader()
        try:
            for number in range(settings.rounds):
                for partitions in settings.partitions:
                    for due in settings.rates:
                        # Who goes first changes: the first one meets what the last point left behind.
                        for linger in LINGERS[number % 3:] + LINGERS[:number % 3]:
                            row = measure(broker, settings, partitions, due, linger)
                            rows.writerow({"round": number, **row})
                            out.flush()
                            print(f"{partitions} partitions, {due or 'most'}/s, {linger}: "
                                  f"p50 {row['p50_ms']:.2f} ms, p99 {row['p99_ms']:.2f} ms, "
                                  f"{row['requests_per_second']:.0f} requests/s", flush=True)
        finally:
            broker.stop()
    return path


def medians(path):
    """By partitions, rate and linger: the median of each figure over the rounds, and the range of p99."""
    points = {}
    with open(path, newline="") as rows:
        for row in csv.DictReader(rows):
            point = points.setdefault((int(row["partitions"]), int(row["due"]), row["linger"]), [])
            point.append({name: float(row[name]) for name in COLUMNS[4:]})
    return [
        {"partitions": partitions, "due": due, "linger": linger, "rounds": len(rows),
         **{name: statistics.median(row[name] for row in rows) for name in COLUMNS[4:]},
         "p99_ms_range": [pick(row["p99_ms"] for row in rows) for pick in (min, max)]}
        for (partitions, due, linger), rows in points.items()
    ]


def main():
    settings = parse()
    path = settings.draw or measure_all(settings)
    points = medians(path)
    path.with_suffix(".json").write_text(json.dumps(points, indent=1) + "\n")
    path.with_suffix(".svg").write_text(linger_plot.svg([point for point in points if point["due"] != MOST]))
    print(f"{path}, {path.with_suffix('.json')}, {path.with_suffix('.svg')}")
    for point in points:
        if point["due"] == MOST:
            per_million = (point["producer_cpu"] + point["broker_cpu"]) / point["records_per_second"] * 1e6
            print(f"{point['partitions']} partitions, as many as go, {point['linger']}: "
                  f"{point['records_per_second']:.0f}/s, {point['requests_per_second']:.0f} requests/s, "
                  f"{per_million:.2f} CPU seconds of both ends a million")


main()

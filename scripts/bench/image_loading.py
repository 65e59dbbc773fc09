"""Loading of a folder of JPEGs: Gauntlet's loader against torchvision's ImageFolder in a DataLoader with Pillow, on the same cores.

    cargo build --release -p gauntlet-data --example image_loading
    python scripts/bench/image_loading.py --binary target/release/examples/image_loading

Needs torch, torchvision, pillow and foolbox, whose twenty ImageNet images are cut, scaled to 500×375 and compressed in many ways into a temporary
folder. Both sides shuffle, decode, transform and give batches of floats; each runs in processes of its own, in turns, `--rounds` times, and the
fastest round counts (the machine may be busy). Memory is the largest sum over the processes of a side of what each holds alone plus its share of what
they hold together (PSS), sampled while it runs.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

SIDE, RESIZE, BATCH = 224, 256, 64


def make_folder(root, count):
    import foolbox
    from PIL import Image

    sources = sorted((pathlib.Path(foolbox.__file__).parent / "data").glob("imagenet_*.jpg"))
    draw = random.Random(0)
    for number in range(count):
        image = Image.open(sources[number % len(sources)]).convert("RGB")
        width, height = image.size
        share = draw.uniform(0.7, 1)
        across, down = int(width * share), int(height * share)
        left, top = draw.randint(0, width - across), draw.randint(0, height - down)
        folder = root / f"class-{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        image = image.crop((left, top, left + across, top + down)).resize((500, 375), Image.BICUBIC)
        image.save(folder / f"{number}.jpg", quality=draw.choice([85, 90, 95]))


def peer(root, what, workers, epochs):
    """The other side, in a process of its own."""
    import torch
    from torchvision import datasets, transforms

    torch.set_num_threads(1)
    train = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip()]
    evaluation = [transforms.Resize(RESIZE), transforms.CenterCrop(SIDE)]
    steps = transforms.Compose((train if what == "train" else evaluation) + [transforms.ToTensor()])
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(root, steps), batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=True
    )
    images = 0
    start = time.perf_counter()
    for _ in range(epochs):
        for pixels, _labels in loader:
            images += len(pixels)
    print(json.dumps({"images": images, "seconds": time.perf_counter() - start}))


def memory(pid):
    """PSS of a process and those below it, in bytes."""
    total = 0
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += memory(int(child))
    except OSError:
        pass  # It ended meanwhile.
    return total


def measure(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.05)
    output = process.stdout.read()
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed")
    result = json.loads(output)
    return result["images"] / result["seconds"], peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", help="the built example `image_loading`")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2, help="threads of ours and workers of the DataLoader")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        root, what, workers, epochs = arguments.peer
        peer(root, what, int(workers), int(epochs))
        return
    if not arguments.binary:
        parser.error("--binary is missing")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        make_folder(pathlib.Path(folder), arguments.images)
        threads, epochs = str(arguments.threads), str(arguments.epochs)
        for what in ["train", "eval"]:
            ours = [arguments.binary, folder, what, threads, str(BATCH), epochs]
            theirs = [sys.executable, __file__, "--peer", folder, what, threads, epochs]
            measured = [(measure(ours), measure(theirs)) for _ in range(arguments.rounds)]
            best = [max(side[0] for side in sides) for sides in zip(*measured)]
            peak = [max(side[1] for side in sides) for sides in zip(*measured)]
            rows.append({"transform": what, "ours": best[0], "torchvision": best[1], "ratio": best[0] / best[1],
                         "ours_bytes": peak[0], "torchvision_bytes": peak[1]})
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{'transform':<10}{'ours/s':>9}{'torchvision/s':>15}{'ratio':>7}{'ours MiB':>10}{'torchvision MiB':>17}")
    for row in rows:
        print(f"{row['transform']:<10}{row['ours']:>9.0f}{row['torchvision']:>15.0f}{row['ratio']:>7.2f}"
              f"{row['ours_bytes'] / 2**20:>10.0f}{row['torchvision_bytes'] / 2**20:>17.0f}")


if __name__ == "__main__":
    main()

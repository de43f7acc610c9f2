"""Makes more documents: python3 make.py 1000 inbox/many"""
import os
import sys

VENDORS = ["Alder Paper", "Birch & Sons", "Cedar Print", "Dogwood Office", "Elm Transport", "Fir Supplies"]


def main(count, directory):
    os.makedirs(directory, exist_ok=True)
    for n in range(count):
        vendor, total = VENDORS[n % len(VENDORS)], 10 + n * 7 % 990 + n % 100 / 100
        with open(os.path.join(directory, "%06d.txt" % n), "w") as f:
            f.write("From: %s\nDate: 2026-%02d-%02d\n\nInvoice number %d for goods that were delivered in good order.\n\nTotal: EUR %.2f\n"
                    % (vendor, n % 12 + 1, n % 28 + 1, n, total))


main(int(sys.argv[1]), sys.argv[2])

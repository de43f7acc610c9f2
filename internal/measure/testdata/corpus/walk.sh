# Goes through directories: much kernel, no data. The first time it waits for the disk.
i=0
while [ $i -lt 4 ]; do find /usr -xdev -name "$1.none" 2>/dev/null; i=$((i + 1)); done

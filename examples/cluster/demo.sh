#!/usr/bin/env bash
# Three nodes whose own servers make a cluster, a run, and one node killed with kill -9 in the middle. Exit code 0 means that every total is true.
set -euo pipefail
tandem=$(realpath "${1:-bin/tandem}")
python=${TANDEM_PYTHON:-python3}
cd "$(dirname "$0")"
tmp=$(mktemp -d)
pids=()
ended() {
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	for p in "${pids[@]}"; do wait "$p" 2>/dev/null || true; done
	rm -rf "$tmp"
}
trap ended EXIT
trap 'exit 130' INT TERM

ports=($("$python" -c '
import socket
all = [socket.socket() for _ in range(6)]
for s in all: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in all))'))
mkdir "$tmp/flow"
cp flow.yaml work.py "$tmp/flow"
export XDG_CACHE_HOME="$tmp/cache"
servers=""
for i in 0 1 2; do
	routes=""
	for j in 0 1 2; do [ $j = $i ] || routes="$routes,nats://127.0.0.1:${ports[3 + j]}"; done
	TANDEM_HOME="$tmp/home$i" "$tandem" node --name "n$i" --labels net --store "$tmp/n$i" --listen "127.0.0.1:${ports[i]}" --cluster "127.0.0.1:${ports[3 + i]}" --routes "${routes#,}" \
		>"$tmp/n$i.log" 2>&1 &
	pids+=($!)
	servers="$servers,nats://127.0.0.1:${ports[i]}"
done
servers=${servers#,}
for i in 0 1 2; do
	for _ in $(seq 600); do grep -q "^node n$i" "$tmp/n$i.log" && break; sleep 0.1; done
	grep "^node n$i" "$tmp/n$i.log" || { echo "node n$i did not start:"; cat "$tmp/n$i.log"; exit 1; }
done

out="$tmp/flow/out.jsonl"
export TANDEM_HOME="$tmp/home"
"$tandem" submit "$tmp/flow/flow.yaml" --nats "$servers" --progress none >"$tmp/submit.log" 2>&1 &
run=$!
pids+=("$run")
lines() { if [ -f "$out" ]; then wc -l <"$out"; else echo 0; fi; }
for _ in $(seq 1200); do
	[ "$(lines)" -ge 300 ] && break
	kill -0 "$run" 2>/dev/null || { echo "the run ended before a node could be killed:"; cat "$tmp/submit.log"; exit 1; }
	sleep 0.05
done
before=$(lines)
[ "$before" -ge 300 ] || { echo "the run does not get on: $before lines"; cat "$tmp"/*.log; exit 1; }
kill -9 "${pids[1]}"
echo "node n1 killed with kill -9 after $before lines"
code=0
wait "$run" || code=$?
cat "$tmp/submit.log"
[ "$code" = 0 ] || { echo "tandem submit ended with exit code $code"; exit 1; }
"$python" - "$out" "$before" <<'CHECK'
import hashlib, json, sys

def want(n):
    digest = str(n).encode()
    for _ in range(3000):
        digest = hashlib.sha256(digest).digest()
    return digest.hex()[:12]

seen, wrong = {}, []
for line in open(sys.argv[1]):
    item = json.loads(line)
    seen[item["id"]] = seen.get(item["id"], 0) + 1
    if item["outcome"] != "ok" or item["value"] != want(int(item["id"])):
        wrong.append(item["id"])
missing = [n for n in range(1, 1501) if str(n) not in seen]
twice = [i for i, n in seen.items() if n > 1]
print(f"{sum(seen.values())} lines for 1500 items: {len(missing)} lost, {len(twice)} twice, {len(wrong)} wrong")
if missing or twice or wrong or len(seen) != 1500 or int(sys.argv[2]) >= 1500:
    print("NOT TRUE:", missing[:5], twice[:5], wrong[:5])
    sys.exit(1)
print("true totals: every item has one line, and it is right; one of three nodes was killed in the middle")
CHECK

# Hundreds of processes, each too short to be followed.
i=0
while [ $i -lt $((250 + $1 % 50)) ]; do awk 'BEGIN { for (i = 0; i < 60000; i++) x += i }'; i=$((i + 1)); done

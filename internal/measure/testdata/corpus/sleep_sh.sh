i=0
while [ $i -lt 6 ]; do sleep 0.4$1; i=$((i + 1)); done

awk -v s=$1 'BEGIN { for (i = 0; i < 4000000; i++) print (i * 7919 + s) % 100003 }' | sort -n | uniq -c | tail -n 1

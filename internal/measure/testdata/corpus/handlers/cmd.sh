# The corpus's commands.
case $1 in
cpu) head -c 12000000 /dev/zero | sha256sum ;;
wait) sleep 0.1 ;;
mixed)
	head -c 3000000 /dev/zero | sha256sum
	sleep 0.03
	;;
esac

# Runs every fuzz target of the tree for FUZZTIME, one after the other.
set -eu
list=$(go test -list '^Fuzz' ./...)
targets=
echo "$list" | while read -r first second _; do
	case $first in
	Fuzz*) targets="$targets $first" ;;
	ok)
		for target in $targets; do
			echo "fuzz $second $target ${FUZZTIME:-20s}"
			go test -run='^$' -fuzz="^$target\$" -fuzztime="${FUZZTIME:-20s}" "$second" </dev/null
		done
		targets=
		;;
	esac
done

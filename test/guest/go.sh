#!/bin/sh
# Stands in for Go in the guest: "go build ... -o FILE PACKAGE" copies the
# program that was built on the host. Everything else fails.
if [ "$1" != build ]; then
	echo "go $*: the test guest has no Go" >&2
	exit 2
fi
while [ $# -gt 1 ]; do
	if [ "$1" = -o ]; then out=$2; fi
	shift
done
case "$1" in
./*) package=${PWD#/tests/}/${1#./} ;;
*) package=${1#github.com/unifaas/unifaas/} ;;
esac
if [ ! -e "/programs/$package/program" ]; then
	echo "go build $1: add $package to the task's builds in test/guest/jobs.go" >&2
	exit 1
fi
mkdir -p "$(dirname "$out")" && cp "/programs/$package/program" "$out"

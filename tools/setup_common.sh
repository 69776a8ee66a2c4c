# Sourced by the set-up scripts: one set-up at a time, a log, and the seconds it took (the demo tells them apart).
mkdir -p build
setup_log=build/setup.log
exec 9>build/setup.lock
flock 9

# record_setup SECONDS WHAT
record_setup() {
    echo "set-up: $1 s ($2)" >&2
    echo "$1" >>build/setup_seconds
}
